// One end of a socket over which lines of JSON go in both directions.

import { rmSync } from "node:fs";

export class Channel implements Disposable {
  readonly #path: string;
  readonly #listener: { stop(force?: boolean): void };
  readonly #socket: PromiseWithResolvers<{ write(data: string): number }> = Promise.withResolvers();
  #unsent = "";
  #flush: () => void = () => {};

  /** Listens at `path` for the one who connects; each message of theirs goes to `hear`. */
  constructor(path: string, hear: (message: Record<string, unknown>) => void) {
    this.#path = path;
    const decoder = new TextDecoder();
    let rest = "";
    this.#listener = Bun.listen({
      unix: path,
      socket: {
        open: (socket) => {
          this.#flush = () => {
            const bytes = Buffer.from(this.#unsent);
            const sent = socket.write(bytes);
            this.#unsent = bytes.subarray(Math.max(0, sent)).toString();
          };
          this.#socket.resolve(socket);
        },
        drain: () => this.#flush(),
        data: (_, bytes) => {
          const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
          rest = lines.pop() ?? "";
          for (const line of lines) {
            const message = parsed(line);
            if (message !== undefined) hear(message);
          }
        },
      },
    });
  }

  async send(message: unknown): Promise<void> {
    await this.#socket.promise;
    // ASCII alone, so that a partly written line can be cut anywhere.
    const text = JSON.stringify(message).replace(
      /[^\0-\x7f]/g,
      (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
    this.#unsent += `${text}\n`;
    this.#flush();
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
    rmSync(this.#path, { force: true });
  }
}

function parsed(line: string): Record<string, unknown> | undefined {
  if (line.trim() === "") return undefined;
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
