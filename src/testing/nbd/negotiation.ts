// The first half of a conversation: what is exported, and how requests are answered. There is one export, of any
// name.

import type { Channel } from "./channel.ts";
import { Disconnected } from "./channel.ts";
import {
  ALLOCATION,
  ALLOCATION_ID,
  Handshake,
  Info,
  MAGIC,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  Option,
  OptionReply,
  PAYLOAD_BYTES_MAX,
  u16,
  u32,
  u64,
} from "./protocol.ts";

/** What a client is told of the device. */
export interface Export {
  /** Bytes. */
  readonly size: number;
  /** Bits of `ExportFlag`. */
  readonly flags: number;
  /** Bytes. */
  readonly sectorSize: number;
  readonly preferredSize: number;
}

/** What was agreed on. */
export interface Agreement {
  readonly structured: boolean;
  /** Whether `Command.blockStatus` may be asked. */
  readonly allocation: boolean;
}

/** Options are short: a client that sends more means harm, or another protocol. */
const OPTION_BYTES_MAX = 64 * 1024;

/** Resolves when requests begin; undefined if the client is satisfied. Throws `Disconnected`. */
export async function negotiate(channel: Channel, of: Export): Promise<Agreement | undefined> {
  const known = Handshake.fixed | Handshake.noZeroes;
  await channel.send(u64(MAGIC), u64(OPTION_MAGIC), u16(known));
  const flags = (await channel.read(4)).readUInt32BE();
  if ((flags & ~known) !== 0) throw new Disconnected();
  return await new Negotiation(channel, of, (flags & Handshake.noZeroes) !== 0).run();
}

class Negotiation {
  readonly #channel: Channel;
  readonly #export: Export;
  readonly #noZeroes: boolean;
  #structured = false;
  #allocation = false;

  constructor(channel: Channel, of: Export, noZeroes: boolean) {
    this.#channel = channel;
    this.#export = of;
    this.#noZeroes = noZeroes;
  }

  async run(): Promise<Agreement | undefined> {
    while (true) {
      const head = await this.#channel.read(16);
      if (head.readBigUInt64BE(0) !== OPTION_MAGIC) throw new Disconnected();
      const option = head.readUInt32BE(8);
      const length = head.readUInt32BE(12);
      if (length > OPTION_BYTES_MAX) throw new Disconnected();
      const data = await this.#channel.read(length);
      if (option === Option.abort) {
        await this.#reply(option, OptionReply.ack);
        return undefined;
      }
      if (await this.#answer(option, data)) {
        return { structured: this.#structured, allocation: this.#allocation };
      }
    }
  }

  /** Returns whether requests begin. */
  async #answer(option: number, data: Buffer): Promise<boolean> {
    switch (option) {
      case Option.exportName:
        // It has no other answer.
        await this.#channel.send(u64(this.#export.size), u16(this.#export.flags));
        if (!this.#noZeroes) await this.#channel.send(Buffer.alloc(124));
        return true;
      case Option.list:
        if (data.length > 0) await this.#reply(option, OptionReply.invalid);
        else {
          // One export, whose name is empty.
          await this.#reply(option, OptionReply.server, u32(0));
          await this.#reply(option, OptionReply.ack);
        }
        return false;
      case Option.info:
      case Option.go:
        return (await this.#describe(option, data)) && option === Option.go;
      case Option.structuredReply:
        this.#structured ||= data.length === 0;
        await this.#reply(option, data.length === 0 ? OptionReply.ack : OptionReply.invalid);
        return false;
      case Option.listMetaContext:
      case Option.setMetaContext:
        await this.#contexts(option, data);
        return false;
      default:
        await this.#reply(option, OptionReply.unsupported);
        return false;
    }
  }

  async #reply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Promise<void> {
    const head = [u64(OPTION_REPLY_MAGIC), u32(option), u32(type), u32(data.length)];
    await this.#channel.send(...head, data);
  }

  async #describe(option: number, data: Buffer): Promise<boolean> {
    const { size, flags, sectorSize, preferredSize } = this.#export;
    const nameBytes = data.length < 6 ? 0 : data.readUInt32BE(0);
    const isWhole =
      data.length >= 6 &&
      nameBytes <= data.length - 6 &&
      data.length === 6 + nameBytes + 2 * data.readUInt16BE(4 + nameBytes);
    if (!isWhole) {
      await this.#reply(option, OptionReply.invalid);
      return false;
    }
    const about = [u16(Info.export), u64(size), u16(flags)];
    await this.#reply(option, OptionReply.info, Buffer.concat(about));
    const sizes = [sectorSize, preferredSize, PAYLOAD_BYTES_MAX].map(u32);
    await this.#reply(option, OptionReply.info, Buffer.concat([u16(Info.blockSize), ...sizes]));
    await this.#reply(option, OptionReply.ack);
    return true;
  }

  async #contexts(option: number, data: Buffer): Promise<void> {
    const queries = this.#structured ? queriesIn(data) : undefined;
    if (queries === undefined) return this.#reply(option, OptionReply.invalid);
    const isList = option === Option.listMetaContext;
    const wanted =
      queries.includes(ALLOCATION) ||
      (isList && (queries.length === 0 || queries.includes("base:")));
    if (!isList) this.#allocation = wanted;
    if (wanted) {
      const found = [u32(isList ? 0 : ALLOCATION_ID), Buffer.from(ALLOCATION)];
      await this.#reply(option, OptionReply.metaContext, Buffer.concat(found));
    }
    await this.#reply(option, OptionReply.ack);
  }
}

/** The names after the export's; undefined if the lengths do not add up. */
function queriesIn(data: Buffer): string[] | undefined {
  let at = 0;
  const u32 = (): number => {
    const value = at + 4 <= data.length ? data.readUInt32BE(at) : Number.NaN;
    at += 4;
    return value;
  };
  const text = (): string => {
    const length = u32();
    at += length;
    return data.toString("utf8", at - length, at);
  };
  text();
  const count = u32();
  const queries: string[] = [];
  while (queries.length < count && at <= data.length) queries.push(text());
  return at === data.length ? queries : undefined;
}
