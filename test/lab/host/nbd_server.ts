// Serves a disk by the NBD protocol (as the nbd project documents it) on a Unix socket, as QEMU's client speaks it.

import type { VolatileDisk } from "./volatile_disk.ts";

const OPTION_MAGIC = 0x49484156454f5054n;
const REPLY_MAGIC = 0x3e889045565a9n;
const REQUEST_MAGIC = 0x25609513;
const SIMPLE_REPLY_MAGIC = 0x67446698;
const FIXED_NEWSTYLE = 1;
const Option = { exportName: 1, abort: 2, info: 6, go: 7 } as const;
const Reply = { ack: 1, info: 3, unsupported: 0x80000001 } as const;
const Command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6 } as const;
/** Has flags, flush, FUA, trim, write zeroes. */
const EXPORT_FLAGS = 1 | (1 << 2) | (1 << 3) | (1 << 5) | (1 << 6);
const COMMAND_FUA = 1;
const EIO = 5;

/** Anything that data can be written to, later if it takes no more now. */
interface Sink {
  write(data: Uint8Array): number;
  end(): void;
  terminate(): void;
}

export interface NbdServer {
  /** Breaks the connection in the middle of whatever it carries; the client may connect again. */
  drop(): void;
}

export function serveNbd(path: string, disk: VolatileDisk): NbdServer {
  const connections = new Map<Sink, Connection>();
  Bun.listen({
    unix: path,
    socket: {
      open: (socket) => {
        connections.set(socket, new Connection(socket, disk));
      },
      data: (socket, bytes) => connections.get(socket)?.take(bytes),
      drain: (socket) => connections.get(socket)?.flush(),
      close: (socket) => {
        connections.delete(socket);
      },
    },
  }).unref();
  return {
    drop: () => {
      for (const [sink] of connections) sink.terminate();
      connections.clear();
    },
  };
}

class Connection {
  readonly #sink: Sink;
  readonly #disk: VolatileDisk;
  #received: Buffer = Buffer.alloc(0);
  #unsent: Buffer = Buffer.alloc(0);
  /** Takes what has come, and says how many bytes it needs first. */
  #state: "flags" | "options" | "requests" = "flags";

  constructor(sink: Sink, disk: VolatileDisk) {
    this.#sink = sink;
    this.#disk = disk;
    const greeting = Buffer.alloc(18);
    greeting.write("NBDMAGIC");
    greeting.writeBigUInt64BE(OPTION_MAGIC, 8);
    greeting.writeUInt16BE(FIXED_NEWSTYLE, 16);
    this.#send(greeting);
  }

  take(bytes: Uint8Array): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    while (this.#step());
  }

  flush(): void {
    const sent = this.#sink.write(this.#unsent);
    this.#unsent = this.#unsent.subarray(Math.max(0, sent));
  }

  #send(...parts: Uint8Array[]): void {
    this.#unsent = Buffer.concat([this.#unsent, ...parts]);
    this.flush();
  }

  /** The next bytes, or undefined while they have not all come. */
  #next(length: number): Buffer | undefined {
    if (this.#received.length < length) return undefined;
    const taken = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return taken;
  }

  #step(): boolean {
    if (this.#state === "requests") return this.#request();
    if (this.#state === "options") return this.#option();
    if (this.#next(4) === undefined) return false;
    this.#state = "options";
    return true;
  }

  #option(): boolean {
    if (this.#received.length < 16) return false;
    const length = this.#received.readUInt32BE(12);
    const message = this.#next(16 + length);
    if (message === undefined) return false;
    const option = message.readUInt32BE(8);
    if (option === Option.exportName || option === Option.abort) {
      this.#sink.end();
      return false;
    }
    if (option === Option.go || option === Option.info) {
      const info = Buffer.alloc(12);
      info.writeBigUInt64BE(BigInt(this.#disk.size), 2);
      info.writeUInt16BE(EXPORT_FLAGS, 10);
      this.#answer(option, Reply.info, info);
      this.#answer(option, Reply.ack);
      if (option === Option.go) this.#state = "requests";
    } else {
      this.#answer(option, Reply.unsupported);
    }
    return true;
  }

  #answer(option: number, type: number, data: Buffer = Buffer.alloc(0)): void {
    const header = Buffer.alloc(20);
    header.writeBigUInt64BE(REPLY_MAGIC);
    header.writeUInt32BE(option, 8);
    header.writeUInt32BE(type, 12);
    header.writeUInt32BE(data.length, 16);
    this.#send(header, data);
  }

  #request(): boolean {
    if (this.#received.length < 28) return false;
    if (this.#received.readUInt32BE(0) !== REQUEST_MAGIC) throw new Error("not a request of NBD");
    const type = this.#received.readUInt16BE(6);
    const length = this.#received.readUInt32BE(24);
    const message = this.#next(28 + (type === Command.write ? length : 0));
    if (message === undefined) return false;
    if (type === Command.disconnect) {
      this.#sink.end();
      return false;
    }
    const offset = Number(message.readBigUInt64BE(16));
    const isDurable = (message.readUInt16BE(4) & COMMAND_FUA) !== 0;
    const data = this.#serve(type, offset, length, message.subarray(28), isDurable);
    const reply = Buffer.alloc(16);
    reply.writeUInt32BE(SIMPLE_REPLY_MAGIC);
    reply.writeUInt32BE(data === undefined ? EIO : 0, 4);
    message.copy(reply, 8, 8, 16);
    this.#send(reply, data ?? new Uint8Array());
    return true;
  }

  /** What follows the reply; undefined if it failed. */
  #serve(
    type: number,
    offset: number,
    length: number,
    data: Uint8Array,
    isDurable: boolean,
  ): Uint8Array | undefined {
    const nothing = new Uint8Array();
    switch (type) {
      case Command.read:
        return this.#disk.read(offset, length);
      case Command.write:
        return this.#disk.write(offset, data, isDurable) ? nothing : undefined;
      case Command.writeZeroes:
        return this.#disk.write(offset, new Uint8Array(length), isDurable) ? nothing : undefined;
      case Command.flush:
        return this.#disk.flush() ? nothing : undefined;
      case Command.trim:
        return nothing;
      default:
        return undefined;
    }
  }
}
