// The bytes of one connection, both ways: reads of exact length, writes that wait for the socket to take them.

import type { Socket } from "bun";

/** What waits to be read, in bytes, before the socket is paused. */
const PENDING_BYTES_MAX = 1024 * 1024;

/** Data up to this length is copied behind its head. */
const JOINED_BYTES_MAX = 4096;

/** The client has gone, or said something that nothing can follow. */
export class Disconnected extends Error {}

export class Channel {
  readonly #socket: Socket<unknown>;
  readonly #incoming: Uint8Array[] = [];
  #incomingBytes = 0;
  #wanted = 0;
  #arrived: (() => void) | undefined;
  #outgoing: Uint8Array[] = [];
  #sent: (() => void)[] = [];
  #isOver = false;

  constructor(socket: Socket<unknown>) {
    this.#socket = socket;
  }

  // The socket's events --------------------------------------------------------------------------

  receive(bytes: Uint8Array): void {
    // Copied: the memory is the socket's.
    this.#incoming.push(bytes.slice());
    this.#incomingBytes += bytes.byteLength;
    if (this.#incomingBytes >= this.#wanted) this.#arrived?.();
    if (this.#incomingBytes >= this.#wanted + PENDING_BYTES_MAX) this.#socket.pause();
  }

  drain(): void {
    while (this.#outgoing.length > 0) {
      const [first] = this.#outgoing as [Uint8Array];
      const taken = first.byteLength === 0 ? 0 : this.#socket.write(first);
      if (taken < 0) {
        this.over();
        return;
      }
      if (taken < first.byteLength) {
        this.#outgoing[0] = first.subarray(taken);
        return;
      }
      this.#outgoing.shift();
    }
    for (const sent of this.#sent.splice(0)) sent();
  }

  /** The connection is closed. */
  over(): void {
    this.#isOver = true;
    this.#outgoing = [];
    this.#arrived?.();
    for (const sent of this.#sent.splice(0)) sent();
  }

  // For the conversation -------------------------------------------------------------------------

  /** The next `count` bytes, the caller's from then on. Throws `Disconnected` if they never come. */
  async read(count: number): Promise<Buffer<ArrayBuffer>> {
    this.#wanted = count;
    while (this.#incomingBytes < count) {
      if (this.#isOver) throw new Disconnected();
      this.#socket.resume();
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
      this.#arrived = undefined;
    }
    this.#wanted = 0;
    return this.#take(count);
  }

  #take(count: number): Buffer<ArrayBuffer> {
    const out = Buffer.alloc(count);
    let at = 0;
    while (at < count) {
      const [first] = this.#incoming as [Uint8Array];
      const part = first.subarray(0, count - at);
      out.set(part, at);
      at += part.byteLength;
      if (part.byteLength === first.byteLength) this.#incoming.shift();
      else this.#incoming[0] = first.subarray(part.byteLength);
    }
    this.#incomingBytes -= count;
    return out;
  }

  /** Resolves when the socket has taken everything, or is closed. */
  send(...parts: readonly Uint8Array[]): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    const waits = this.#outgoing.length > 0;
    this.#outgoing.push(...joined(parts));
    const sent = new Promise<void>((resolve) => this.#sent.push(resolve));
    if (!waits) this.drain();
    return sent;
  }

  close(): void {
    this.#socket.end();
  }
}

/** What is short goes out together, and at once. */
function joined(parts: readonly Uint8Array[]): Uint8Array[] {
  const data = parts.at(-1);
  if (data === undefined || data.byteLength <= JOINED_BYTES_MAX) return [Buffer.concat(parts)];
  return [Buffer.concat(parts.slice(0, -1)), data];
}
