// `serveNbd`: a device, for programs in any language.

import { unlinkSync } from "node:fs";
import type { Socket, SocketListener, TCPSocketListener } from "bun";
import { argumentType, argumentValue } from "../../common/argument_errors.ts";
import { checkInteger, checkOptions } from "../../common/arguments.ts";
import { noteClosed, noteOpened } from "../../common/leaks.ts";
import { BlockDevice } from "../../device/block_device.ts";
import { openFileOf } from "../../file/open_file.ts";
import { Channel, Disconnected } from "./channel.ts";
import { type Export, negotiate } from "./negotiation.ts";
import { ExportFlag } from "./protocol.ts";
import { Requests } from "./requests.ts";

/** Where `serveNbd` listens. */
export interface ServeNbdOptions {
  /** Path of a Unix socket to listen at; it must not exist, and is removed at the end. */
  socket?: string | undefined;
  /** TCP port to listen at, on `host`; 0 for a free one. */
  port?: number | undefined;
  /** Default "127.0.0.1": NBD has no passwords, so anybody who can connect can read and write. */
  host?: string | undefined;
}

/** Serves a device until it is disposed of. */
export interface NbdServer extends AsyncDisposable {
  /** For `nbdinfo`, `qemu-img` and the like: `nbd://127.0.0.1:PORT` or `nbd+unix:///?socket=PATH`. */
  readonly uri: string;
  /** The TCP port; undefined for a Unix socket. */
  readonly port: number | undefined;
  /** Stops listening, disconnects clients, and waits for their requests. The device stays open. Twice is once. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Serves a device over the NBD protocol (fixed newstyle; structured replies, flush, FUA, trim, write zeroes, block
 * status in `base:allocation`), so that a program in any language can be tested against a disk that fails, loses its
 * power or is slow: `nbd-client`, `qemu-img`, `qemu-nbd`, `nbdcopy`, `mkfs` on the kernel's client. Any
 * `BlockDevice` will do: simulated with fault rules, an overlay, an image, a real one. The name of the export is
 * ignored.
 *
 * Clients are told the logical sector size, but need not keep to it: partial sectors are read, modified and written
 * back. A flush covers the writes of all connections. An error of the device reaches the client as the nearest error
 * of the protocol, with the message where it asked for structured replies. A client that breaks the protocol is
 * disconnected.
 *
 * Listens when it returns. Throws TypeError and RangeError for wrong arguments, and Bun's error if the address is
 * taken or not allowed.
 *
 * @example
 * ```ts
 * import { serveNbd, simulatedDevice } from "bun-aio/testing";
 *
 * await using disk = await simulatedDevice({ size: 64 << 20 });
 * await using server = serveNbd(disk, { port: 0 });
 * console.log(server.uri); // for nbdcopy, qemu-img, nbd-client
 * ```
 */
export function serveNbd(device: BlockDevice, options: ServeNbdOptions): NbdServer {
  if (!(device instanceof BlockDevice)) throw argumentType("device", "a BlockDevice", device);
  checkOptions("serveNbd", options, ["socket", "port", "host"]);
  const { socket: path, port, host = "127.0.0.1" } = options ?? {};
  if ((path === undefined) === (port === undefined)) {
    throw argumentValue("options", "must have either socket or port", options);
  }
  if (path !== undefined && typeof path !== "string") {
    throw argumentType("options.socket", "a string", path);
  }
  if (typeof host !== "string") throw argumentType("options.host", "a string", host);
  if (path !== undefined) return new Server(device, { unix: path });
  return new Server(device, {
    hostname: host,
    port: checkInteger("options.port", port, 0, 65_535),
  });
}

interface Conversation {
  channel: Channel;
}

class Server implements NbdServer {
  readonly uri: string;
  readonly port: number | undefined;
  readonly #device: BlockDevice;
  readonly #conversations = new Map<Channel, Promise<void>>();
  readonly #listener: SocketListener<Conversation>;
  readonly #path: string | undefined;
  #ending: Promise<void> | undefined;
  /** An error that no client can cause; thrown at the end. */
  #failure: unknown;

  constructor(device: BlockDevice, at: { unix: string } | { hostname: string; port: number }) {
    this.#device = device;
    if ("unix" in at) {
      this.#listener = Bun.listen({ ...at, socket: this.#events });
      this.#path = at.unix;
      this.uri = `nbd+unix:///?socket=${encodeURIComponent(at.unix)}`;
    } else {
      const tcp: TCPSocketListener<Conversation> = Bun.listen({ ...at, socket: this.#events });
      this.#listener = tcp;
      this.port = tcp.port;
      const host = at.hostname.includes(":") ? `[${at.hostname}]` : at.hostname;
      this.uri = `nbd://${host}:${tcp.port}`;
    }
    noteOpened("server", this, () => `of '${device.path ?? `fd ${device.fd}`}' over NBD`);
  }

  readonly #events = {
    open: (socket: Socket<Conversation>): void => {
      const channel = new Channel(socket);
      socket.data = { channel };
      const talk = this.#talk(channel).finally(() => this.#conversations.delete(channel));
      this.#conversations.set(channel, talk);
    },
    data: (socket: Socket<Conversation>, bytes: Uint8Array): void =>
      socket.data.channel.receive(bytes),
    drain: (socket: Socket<Conversation>): void => socket.data.channel.drain(),
    close: (socket: Socket<Conversation>): void => socket.data?.channel.over(),
    error: (socket: Socket<Conversation>): void => socket.data?.channel.over(),
  };

  /** Never rejects. */
  async #talk(channel: Channel): Promise<void> {
    try {
      const of = exportOf(this.#device);
      const agreement = await negotiate(channel, of);
      if (agreement !== undefined) {
        await new Requests(channel, this.#device, of, agreement).serve();
      }
    } catch (error) {
      if (!(error instanceof Disconnected)) this.#failure ??= error;
    } finally {
      channel.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<void> {
    noteClosed(this);
    this.#listener.stop();
    for (const channel of this.#conversations.keys()) {
      channel.over();
      channel.close();
    }
    await Promise.all(this.#conversations.values());
    this.#removeSocket();
    if (this.#failure !== undefined) throw this.#failure;
  }

  #removeSocket(): void {
    if (this.#path === undefined) return;
    try {
      unlinkSync(this.#path);
    } catch {
      // Bun, or somebody else, has removed it.
    }
  }
}

function exportOf(device: BlockDevice): Export {
  const { size, logicalSectorSize, physicalSectorSize, optimalIoSize, rotational } =
    device.geometry;
  const { hasFlags, readOnly, flush, fua, trim, writeZeroes, df, multiConn } = ExportFlag;
  const { writable } = openFileOf(device).state;
  const sectorSize = logicalSectorSize ?? 512;
  const preferred = Math.max(optimalIoSize ?? 0, physicalSectorSize ?? 0, 4096, sectorSize);
  return {
    size,
    flags:
      hasFlags |
      (writable ? flush | fua | trim | writeZeroes : readOnly) |
      (rotational === true ? ExportFlag.rotational : 0) |
      df |
      multiConn,
    sectorSize,
    // The protocol wants a power of two that no payload exceeds.
    preferredSize:
      Number.isInteger(Math.log2(preferred)) && preferred <= 2 ** 25 ? preferred : 4096,
  };
}
