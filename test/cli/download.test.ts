// URLs as sources of `bun-aio copy` and `verify`: from a server that drops connections, changes its file, or is slow to
// come back.

import { describe, expect, test } from "bun:test";
import { createCipheriv } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { run } from "../support/child.ts";
import { bunAio, CTRL_C, Session } from "../support/command.ts";
import { testUnless, without } from "../support/conditions.ts";
import { TempDir } from "../support/temp.ts";

/** Bytes that cannot be compressed. */
const IMAGE = createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16)).update(
  Buffer.alloc(1_000_001),
);

interface Answers {
  body: Uint8Array;
  /** Bytes after which a connection is dropped; those after it are not. */
  drops?: number[];
  headers?: string[];
  /** Whether parts are sent. Default true. */
  parts?: boolean;
  /** Instead of answers, after the first. */
  statuses?: string[];
  /** Called before each answer, with its number from 0. */
  before?: (server: Answers, count: number) => void;
}

/** A web server that is nothing but what a test needs, so that it can drop connections at any byte. */
class BadServer implements AsyncDisposable {
  /** The heads of the requests. */
  readonly requests: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(readonly answers: Answers) {
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async start(answers: Answers): Promise<BadServer> {
    const it = new BadServer(answers);
    const { promise, resolve } = Promise.withResolvers<void>();
    it.#server.listen(0, "127.0.0.1", resolve);
    await promise;
    return it;
  }

  url(name = "image"): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}/${name}`;
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (data) => this.#answer(socket, data.toString("latin1")));
  }

  #answer(socket: Socket, request: string): void {
    const count = this.requests.push(request) - 1;
    const { answers } = this;
    answers.before?.(answers, count);
    const status = count === 0 ? undefined : answers.statuses?.shift();
    if (status !== undefined) {
      socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      return;
    }
    const { body, headers = [], parts = true } = answers;
    const range = /^range: bytes=(\d+)-(\d*)/im.exec(request);
    const condition = /^if-range: (.*)\r/im.exec(request)?.[1];
    const isPart =
      parts &&
      range !== null &&
      (condition === undefined || headers.some((header) => header.endsWith(condition)));
    const start = isPart ? Number(range[1]) : 0;
    const end =
      isPart && range[2] !== "" ? Math.min(Number(range[2]) + 1, body.length) : body.length;
    const head = [
      isPart ? "HTTP/1.1 206 Partial Content" : "HTTP/1.1 200 OK",
      `Content-Length: ${end - start}`,
      ...(isPart ? [`Content-Range: bytes ${start}-${end - 1}/${body.length}`] : []),
      ...headers,
      "Connection: close",
    ];
    socket.write(`${head.join("\r\n")}\r\n\r\n`);
    const drop = answers.drops?.shift();
    const sent = body.subarray(start, drop === undefined ? end : Math.min(start + drop, end));
    socket.write(sent, () => (drop === undefined ? socket.end() : socket.destroySoon()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    await promise;
  }
}

function expectBytes(path: string, bytes: Uint8Array): void {
  expect(Buffer.compare(readFileSync(path), bytes)).toBe(0);
}

describe("a URL", () => {
  test("is copied, verified and compared, and its size is known", async () => {
    using dir = new TempDir();
    await using server = await BadServer.start({ body: IMAGE });
    const { end, stdout, stderr } = await bunAio([
      ...["copy", server.url(), dir.file("out"), "--verify", "--hash"],
    ]);
    expect(end).toBe(0);
    expectBytes(dir.file("out"), IMAGE);
    const digest = new Bun.CryptoHasher("sha256").update(IMAGE).digest("hex");
    expect(stdout).toBe(`${digest}  ${server.url()}\n`);
    expect(stderr).toMatch(/^copy 100% 977 KiB of 977 KiB/m);
    const compared = await bunAio(["verify", server.url(), dir.file("out")]);
    expect([compared.end, compared.stdout]).toEqual([0, expect.stringContaining("identical")]);
    const part = ["--skip", "1000", "--seek", "0", "--length", "5000", "--yes"];
    expect((await bunAio(["copy", server.url(), dir.file("part"), ...part])).end).toBe(0);
    expectBytes(dir.file("part"), IMAGE.subarray(1000, 6000));
  });

  test("goes on by Range where the connection was dropped, of the same version only", async () => {
    using dir = new TempDir();
    const headers = ['ETag: "one"', "Accept-Ranges: bytes"];
    const drops = [300_000, 0, 5, 100_000];
    await using server = await BadServer.start({ body: IMAGE, headers, drops });
    const { end, stderr } = await bunAio(["copy", server.url(), dir.file("out"), "--verify"]);
    expect([end, stderr]).toEqual([0, expect.stringContaining("connection lost after")]);
    expectBytes(dir.file("out"), IMAGE);
    const ranges = server.requests.map((request) => /^range: (.*)\r/im.exec(request)?.[1]);
    // What had not been read of a connection that was dropped may be lost with it.
    expect(ranges.slice(1)).toEqual(Array(4).fill(expect.stringMatching(/^bytes=\d+-1000000$/)));
    for (const request of server.requests.slice(1)) expect(request).toMatch(/^if-range: "one"\r/im);
  });

  test("goes on after answers that pass, and with a date for an ETag", async () => {
    using dir = new TempDir();
    const date = "Sun, 01 Nov 2026 10:00:00 GMT";
    await using server = await BadServer.start({
      ...{ body: IMAGE, headers: ['ETag: W/"weak"', `Last-Modified: ${date}`], drops: [500_000] },
      statuses: ["503 Service Unavailable", "429 Too Many Requests"],
    });
    expect((await bunAio(["copy", server.url(), dir.file("out"), "-q"])).end).toBe(0);
    expectBytes(dir.file("out"), IMAGE);
    expect(server.requests).toHaveLength(4);
    expect(server.requests[3]).toMatch(/^if-range: Sun, 01 Nov 2026 10:00:00 GMT\r/im);
  });

  test("a server without Range sends it again, and what is there is passed over", async () => {
    using dir = new TempDir();
    const answers = { body: IMAGE, headers: ['ETag: "one"'], drops: [500_000], parts: false };
    await using server = await BadServer.start(answers);
    expect((await bunAio(["copy", server.url(), dir.file("out"), "-q"])).end).toBe(0);
    expectBytes(dir.file("out"), IMAGE);
  });

  test("two versions are never mixed: the copy fails, and what is printed does the rest", async () => {
    for (const [before, after] of [
      [{ headers: ['ETag: "one"'] }, { headers: ['ETag: "two"'] }],
      [{ headers: ['ETag: W/"one"'] }, { headers: ['ETag: W/"two"'] }],
      [{}, { body: IMAGE.subarray(0, 900_000) }],
      [{}, { parts: false }],
      [{}, { statuses: ["404 Not Found"] }],
    ] satisfies [Partial<Answers>, Partial<Answers>][]) {
      using dir = new TempDir();
      await using server = await BadServer.start({
        ...{ body: IMAGE, drops: [500_000], ...before },
        before: (answers, count) => {
          if (count === 1) Object.assign(answers, after);
        },
      });
      const { end, stdout, stderr } = await bunAio([
        "copy",
        server.url(),
        dir.file("out"),
        ...["--verify", "--bs", "64k"],
      ]);
      expect([end, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(
        /was lost after \d+ KiB and cannot be resumed|the server answers 404 Not Found/,
      );
      expect(stderr).toMatch(
        /To continue from there:\n.* copy http:\S+ \S+ --from \d+ --.*--verify/,
      );
    }
  });

  test("that is missing, or has no server: nothing is written", async () => {
    using dir = new TempDir();
    await using server = await BadServer.start({ body: IMAGE });
    const nobody = server.url();
    await server[Symbol.asyncDispose]();
    await using other = await BadServer.start({
      body: IMAGE,
      before: (answers) => {
        answers.body = new Uint8Array(0);
      },
    });
    await using missing = Bun.serve({ port: 0, fetch: () => new Response("", { status: 404 }) });
    for (const [url, words] of [
      [nobody, nobody],
      [`${missing.url}image`, "the server answers 404"],
    ] as const) {
      const { end, stderr } = await bunAio(["copy", url, dir.file("out")]);
      expect([end, stderr]).toEqual([1, expect.stringContaining(words)]);
      expect(stderr).not.toContain("verbose");
      expect(existsSync(dir.file("out"))).toBe(false);
    }
    expect((await bunAio(["copy", other.url(), dir.file("empty"), "-q"])).end).toBe(0);
    expect(statSync(dir.file("empty")).size).toBe(0);
  });

  test("of an archive is unpacked, also after dropped connections", async () => {
    using dir = new TempDir();
    const body = gzipSync(IMAGE);
    await using server = await BadServer.start({
      body,
      headers: ['ETag: "x"'],
      drops: [1, 70_000],
    });
    const { end, stderr } = await bunAio(["copy", server.url("image.gz"), dir.file("out")]);
    expect([end, stderr]).toEqual([0, expect.stringContaining("(gzip); --raw copies it as it is")]);
    expect(stderr).toMatch(/^copy 100% 977 KiB /m);
    expectBytes(dir.file("out"), IMAGE);
  });

  testUnless(without("zip"), "of a zip archive needs a server that sends parts", async () => {
    using dir = new TempDir();
    dir.file("image", IMAGE);
    expect((await run(["zip", "-q", "a.zip", "image"], { cwd: dir.path })).end).toBe(0);
    const body = readFileSync(dir.file("a.zip"));
    await using server = await BadServer.start({ body, headers: ['ETag: "x"'] });
    expect((await bunAio(["copy", server.url(), dir.file("out"), "-q"])).end).toBe(0);
    expectBytes(dir.file("out"), IMAGE);
    await using whole = await BadServer.start({ body, parts: false });
    const { end, stderr } = await bunAio(["copy", whole.url(), dir.file("none")]);
    expect([end, stderr]).toEqual([
      1,
      expect.stringContaining("the server does not support range requests"),
    ]);
    expect(existsSync(dir.file("none"))).toBe(false);
  });

  test("Ctrl-C ends it, and what is printed downloads the rest only", async () => {
    using dir = new TempDir();
    const LARGE = Buffer.concat(Array.from({ length: 20 }, () => IMAGE));
    const answers: Answers = { body: LARGE, headers: ['ETag: "x"', "Accept-Ranges: bytes"] };
    await using server = await BadServer.start({
      ...answers,
      drops: [15_000_000],
      statuses: Array.from({ length: 9 }, () => "503 Busy"),
    });
    await using session = new Session([
      "copy",
      server.url(),
      dir.file("out"),
      "--yes",
      "--bs",
      "64k",
    ]);
    await session.until(/connection lost/);
    session.type(CTRL_C);
    expect(await session.end()).toBe(130);
    const command = /To continue from there:\r\n +(.*?)\r\n/.exec(session.screen)?.[1] ?? "";
    const from = Number(/ --from (\d+)/.exec(command)?.[1]);
    expect(from).toBeGreaterThan(0);
    server.answers.statuses = [];
    const { length } = server.requests;
    expect((await run(["sh", "-c", command])).end).toBe(0);
    expectBytes(dir.file("out"), LARGE);
    expect(server.requests.slice(length).at(-1)).toMatch(
      new RegExp(`^range: bytes=${from}-`, "im"),
    );
  });
});
