// A disk that comes over the network, from a server in the machine.

export interface NetworkDisk {
  readonly name: string;
  /** Why it cannot be had here, or undefined. */
  readonly missing: string | undefined;
  /** Why its connection must not be lost for good with operations in flight, or undefined. */
  readonly fragile: string | undefined;
  /** As the library names it. */
  readonly transport: string | null;
  /** Bytes. */
  readonly size: number;
  /** The file that the server has the disk in. */
  readonly file: string;
  /** What serves it, and whose end is that of the connection. */
  readonly server: readonly string[];
  /** The path of the disk. `patience`: seconds for which operations wait for a connection that is lost. */
  connect(patience: number): Promise<string>;
  /** Gives the disk up, with a server or without. */
  disconnect(): Promise<void>;
}

/** A server that can hang, and whose connections break when it ends. */
export class Server implements AsyncDisposable {
  readonly #command: string[];
  #child: Bun.Subprocess;

  constructor({ server }: NetworkDisk) {
    this.#command = [...server];
    this.#child = this.#start();
  }

  /** From now on no operation ends, until it goes on. */
  hang(): void {
    this.#child.kill("SIGSTOP");
  }

  goOn(): void {
    this.#child.kill("SIGCONT");
  }

  async end(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  async restart(): Promise<void> {
    await this.end();
    this.#child = this.#start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  #start(): Bun.Subprocess {
    return Bun.spawn(this.#command, { stdout: "inherit", stderr: "inherit" });
  }
}

/** A disk as long as it is connected. */
export class Connection implements AsyncDisposable {
  readonly path: string;
  readonly #disk: NetworkDisk;

  private constructor(disk: NetworkDisk, path: string) {
    this.#disk = disk;
    this.path = path;
  }

  static async open(disk: NetworkDisk, patience: number): Promise<Connection> {
    return new Connection(disk, await disk.connect(patience));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#disk.disconnect();
  }
}
