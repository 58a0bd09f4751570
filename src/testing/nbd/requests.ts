// The second half of a conversation: requests, answered in the order in which they end.

import { CancelScope } from "../../cancellation/scope.ts";
import type { BlockDevice } from "../../device/block_device.ts";
import { IoError } from "../../errors/io_error.ts";
import { openFileOf } from "../../file/open_file.ts";
import { allocBuffer } from "../../memory/alloc_buffer.ts";
import { type Channel, Disconnected } from "./channel.ts";
import type { Agreement, Export } from "./negotiation.ts";
import {
  ALLOCATION_ID,
  CHUNK_DONE,
  CHUNK_MAGIC,
  Chunk,
  Command,
  CommandFlag,
  ExportFlag,
  HOLE_AND_ZERO,
  NbdError,
  PAYLOAD_BYTES_MAX,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  u16,
  u32,
  u64,
} from "./protocol.ts";

interface Request {
  readonly flags: number;
  readonly command: number;
  readonly cookie: bigint;
  readonly offset: number;
  readonly length: number;
  /** Of a write. */
  readonly data: Buffer<ArrayBuffer> | undefined;
}

/** Thrown to answer with an error of the protocol. */
class Refusal extends Error {
  readonly number: number;

  constructor(number: number, reason: string) {
    super(reason);
    this.number = number;
  }
}

/** Data of all requests that are being answered; the next ones wait in the socket. */
const IN_FLIGHT_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX;
const IN_FLIGHT_MAX = 128;
/** Zeroes written at a time, where no hole may be made. */
const ZERO_BYTES = 1024 * 1024;
/** Of one answer to `Command.blockStatus`. */
const EXTENTS_MAX = 1024;

export class Requests {
  readonly #channel: Channel;
  readonly #device: BlockDevice;
  readonly #export: Export;
  readonly #agreement: Agreement;
  readonly #running = new Set<Promise<void>>();
  #bytes = 0;

  constructor(channel: Channel, device: BlockDevice, of: Export, agreement: Agreement) {
    this.#channel = channel;
    this.#device = device;
    this.#export = of;
    this.#agreement = agreement;
  }

  /** Resolves when the client says that it is done; throws `Disconnected` if it goes without. */
  async serve(): Promise<void> {
    try {
      while (true) {
        const request = await this.#next();
        if (request.command === Command.disconnect) return;
        const bytes = request.length > PAYLOAD_BYTES_MAX ? 0 : request.length;
        this.#bytes += bytes;
        const running = this.#answer(request).finally(() => {
          this.#bytes -= bytes;
          this.#running.delete(running);
        });
        this.#running.add(running);
        while (this.#running.size >= IN_FLIGHT_MAX || this.#bytes >= IN_FLIGHT_BYTES_MAX) {
          await Promise.race(this.#running);
        }
      }
    } finally {
      await Promise.all(this.#running);
    }
  }

  async #next(): Promise<Request> {
    const head = await this.#channel.read(28);
    if (head.readUInt32BE(0) !== REQUEST_MAGIC) throw new Disconnected();
    const command = head.readUInt16BE(6);
    const length = head.readUInt32BE(24);
    // What follows a payload that is not read cannot be understood.
    if (command === Command.write && length > PAYLOAD_BYTES_MAX) throw new Disconnected();
    return {
      flags: head.readUInt16BE(4),
      command,
      cookie: head.readBigUInt64BE(8),
      offset: Number(head.readBigUInt64BE(16)),
      length,
      data: command === Command.write ? await this.#channel.read(length) : undefined,
    };
  }

  async #answer(request: Request): Promise<void> {
    let parts: readonly Uint8Array[];
    try {
      parts = await this.#carryOut(request);
    } catch (error) {
      parts = this.#refused(request, error);
    }
    await this.#channel.send(...parts);
  }

  /** The answer to a request that succeeds. */
  async #carryOut(request: Request): Promise<readonly Uint8Array[]> {
    this.#check(request);
    const { command, offset, length, flags, data } = request;
    const device = this.#device;
    switch (command) {
      case Command.read: {
        const bytes = allocBuffer(Math.max(length, 1)).subarray(0, length);
        await device.readExactAt(bytes, offset);
        return this.#data(request, bytes);
      }
      case Command.write:
        if (length > 0) await this.#write(data as Uint8Array, offset);
        break;
      case Command.flush:
        await device.syncData();
        break;
      case Command.trim:
        await this.#trim(offset, length);
        break;
      case Command.writeZeroes:
        await this.#zero(request);
        break;
      default:
        return this.#chunk(request, Chunk.blockStatus, await this.#extents(request));
    }
    if ((flags & CommandFlag.fua) !== 0 && command !== Command.flush) await device.syncData();
    return this.#done(request);
  }

  #check({ command, offset, length, flags }: Request): void {
    const { size } = this.#export;
    const known = Object.values(Command).includes(command as 0) && command !== Command.disconnect;
    const isStatus = command === Command.blockStatus;
    if (!known || (isStatus && !this.#agreement.allocation)) {
      throw new Refusal(NbdError.EINVAL, `unknown command ${command}`);
    }
    if ((flags & ~FLAGS_OF[command as keyof typeof FLAGS_OF]) !== 0) {
      throw new Refusal(NbdError.EINVAL, `unknown flags ${flags}`);
    }
    const changes = CHANGES.has(command);
    if (changes && (this.#export.flags & ExportFlag.readOnly) !== 0) {
      throw new Refusal(NbdError.EPERM, "the export is read-only");
    }
    if (command === Command.flush) return;
    if (offset + length > size) {
      const number = changes && command !== Command.trim ? NbdError.ENOSPC : NbdError.EINVAL;
      throw new Refusal(number, `beyond the end of the export (${size} bytes)`);
    }
    if (command === Command.read && length > PAYLOAD_BYTES_MAX) {
      throw new Refusal(NbdError.EOVERFLOW, `more than ${PAYLOAD_BYTES_MAX} bytes`);
    }
    if (isStatus && length === 0) throw new Refusal(NbdError.EINVAL, "of no bytes");
  }

  /** Any range: clients need not respect the sector size. */
  #write(data: Uint8Array, offset: number): Promise<void> {
    return openFileOf(this.#device).writeAnywhere(data, offset, new CancelScope(undefined));
  }

  /** The sectors within the range; trimming the others would do too much. */
  async #trim(offset: number, length: number): Promise<void> {
    const { start, end } = this.#within(offset, length);
    if (start < end) await this.#device.discard(start, end - start);
  }

  #within(offset: number, length: number): { start: number; end: number } {
    const { sectorSize } = this.#export;
    const start = Math.ceil(offset / sectorSize) * sectorSize;
    const end = Math.floor((offset + length) / sectorSize) * sectorSize;
    return start < end ? { start, end } : { start: offset + length, end: offset + length };
  }

  async #zero({ offset, length, flags }: Request): Promise<void> {
    const { start, end } = this.#within(offset, length);
    await this.#writeZeroes(offset, start);
    if (start === end) return;
    if ((flags & CommandFlag.noHole) !== 0) await this.#writeZeroes(start, end);
    else await this.#device.writeZeroes(start, end - start);
    await this.#writeZeroes(end, offset + length);
  }

  async #writeZeroes(start: number, end: number): Promise<void> {
    const zeroes = new Uint8Array(Math.min(ZERO_BYTES, Math.max(0, end - start)));
    for (let at = start; at < end; at += zeroes.byteLength) {
      await this.#write(zeroes.subarray(0, end - at), at);
    }
  }

  /** Extents as `Chunk.blockStatus` lists them; they may cover less than what was asked. */
  async #extents({ offset, length, flags }: Request): Promise<Buffer> {
    const end = offset + length;
    const most = (flags & CommandFlag.reqOne) !== 0 ? 1 : EXTENTS_MAX;
    const extents: [number, number][] = [];
    let at = offset;
    for await (const data of this.#device.dataRanges({ start: offset, end })) {
      if (data.offset > at) extents.push([data.offset - at, HOLE_AND_ZERO]);
      extents.push([data.length, 0]);
      at = data.offset + data.length;
      if (extents.length >= most) break;
    }
    if (at < end && extents.length < most) extents.push([end - at, HOLE_AND_ZERO]);
    const told = extents.slice(0, most);
    return Buffer.concat([ALLOCATION_ID, ...told.flat()].map(u32));
  }

  // Answers ----------------------------------------------------------------------------------------

  #data(request: Request, bytes: Uint8Array): readonly Uint8Array[] {
    if (!this.#agreement.structured) return [simple(request, 0), bytes];
    return this.#chunk(request, Chunk.data, u64(request.offset), bytes);
  }

  #done(request: Request): readonly Uint8Array[] {
    return this.#agreement.structured ? this.#chunk(request, Chunk.none) : [simple(request, 0)];
  }

  #refused(request: Request, error: unknown): readonly Uint8Array[] {
    const number = error instanceof Refusal ? error.number : numberOf(error);
    if (!this.#agreement.structured) return [simple(request, number)];
    const text = Buffer.from(error instanceof Error ? error.message : String(error));
    const words = text.subarray(0, 4000);
    return this.#chunk(request, Chunk.error, u32(number), u16(words.length), words);
  }

  #chunk({ cookie }: Request, type: number, ...payload: Uint8Array[]): readonly Uint8Array[] {
    const length = u32(payload.reduce((sum, part) => sum + part.byteLength, 0));
    return [u32(CHUNK_MAGIC), u16(CHUNK_DONE), u16(type), u64(cookie), length, ...payload];
  }
}

const { fua, noHole, df, reqOne } = CommandFlag;
const FLAGS_OF = {
  [Command.read]: fua | df,
  [Command.write]: fua,
  [Command.flush]: fua,
  [Command.trim]: fua,
  [Command.writeZeroes]: fua | noHole,
  [Command.blockStatus]: fua | reqOne,
} as const;

const CHANGES: ReadonlySet<number> = new Set([Command.write, Command.trim, Command.writeZeroes]);

function simple({ cookie }: Request, error: number): Buffer {
  return Buffer.concat([u32(SIMPLE_REPLY_MAGIC), u32(error), u64(cookie)]);
}

/** The error of the protocol that comes closest; EIO for all others. */
const CLOSEST: Readonly<Record<string, number>> = {
  EPERM: NbdError.EPERM,
  EACCES: NbdError.EPERM,
  EROFS: NbdError.EPERM,
  ENOSPC: NbdError.ENOSPC,
  EFBIG: NbdError.ENOSPC,
  EDQUOT: NbdError.ENOSPC,
  ENOMEM: NbdError.ENOMEM,
  EINVAL: NbdError.EINVAL,
  ERR_MISALIGNED: NbdError.EINVAL,
  EOPNOTSUPP: NbdError.ENOTSUP,
  ENOTSUP: NbdError.ENOTSUP,
  EBADF: NbdError.ESHUTDOWN,
  ERR_RING_CLOSED: NbdError.ESHUTDOWN,
};

function numberOf(error: unknown): number {
  const number = error instanceof IoError ? CLOSEST[error.code] : undefined;
  return number ?? NbdError.EIO;
}
