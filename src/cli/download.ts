// A source on a web server. When a connection is lost, the rest is asked for by Range (RFC 9110, section 14), and only
// of the same version of the file, which its ETag or the time of its last change tells.

import { setTimeout as pause } from "node:timers/promises";
import type { Bytes } from "../common/arguments.ts";
import { messageOf } from "../common/shown.ts";
import { failure, Stop } from "./exit.ts";
import { type ByteStream, streamOf } from "./streams.ts";
import { printable, warn } from "./terminal.ts";
import { formatSize } from "./units.ts";

/** Attempts one after the other that bring no byte: then it fails, after about 25 s. */
const FAILURES_MAX = 8;
const FIRST_PAUSE_MS = 100;
/** A server that sends nothing for so long counts as lost. */
const SILENCE_MS = 30_000;
/** Answers after which another attempt may have more luck (RFC 9110, section 15). */
const PASSING = [408, 425, 429, 500, 502, 503, 504];

export function isUrl(path: string): boolean {
  return /^https?:\/\//i.test(path);
}

/** What tells versions of a file apart. */
interface Version {
  readonly etag: string | undefined;
  readonly changed: string | undefined;
  readonly size: number | undefined;
}

export class Download {
  /** Bytes it has; undefined if the server does not say. */
  readonly size: number | undefined;
  /** Whether the server has said that it sends parts. */
  readonly sendsParts: boolean;
  readonly #url: string;
  readonly #stop: AbortSignal;
  readonly #version: Version;
  /** The first answer, until its bytes are taken. */
  #first: Response | undefined;

  private constructor(url: string, stop: AbortSignal, first: Response) {
    this.#url = url;
    this.#stop = stop;
    this.#first = first;
    this.#version = versionOf(first);
    this.size = this.#version.size;
    this.sendsParts = first.headers.get("accept-ranges") === "bytes";
  }

  /** `stop` ends it and all that is read from it. */
  static async open(url: string, stop: AbortSignal): Promise<Download> {
    const first = await request(url, {}, stop).catch((error: unknown) => {
      throw stop.aborted ? error : failure(`${printable(url)}: ${wordsOf(error)}`);
    });
    if (first.status === 200) return new Download(url, stop, first);
    throw refusedBy(first, url);
  }

  stream(start: number, end: number = this.size ?? Infinity): ByteStream {
    return streamOf(this.#bytes(start, end));
  }

  /** A part of it. @throws Stop if the server sends only the whole. */
  async read(start: number, end: number): Promise<Bytes> {
    const answer = await this.#ask(start, end);
    if (answer.status === 206) return new Uint8Array(await answer.arrayBuffer());
    await answer.body?.cancel();
    throw failure(
      `${printable(this.#url)}: the server does not support range requests, which a zip archive needs`,
      "Download it first",
    );
  }

  async *#bytes(start: number, end: number): AsyncGenerator<Bytes> {
    let at = start;
    let failures = 0;
    let answer = start === 0 ? this.#first : undefined;
    if (start === 0) this.#first = undefined;
    while (at < end) {
      try {
        for await (const part of from(at, answer ?? (await this.#rest(at, end)))) {
          at += part.byteLength;
          failures = 0;
          yield part;
        }
        if (at >= end || end === Infinity) return;
        throw new Error("the response ended early");
      } catch (error) {
        if (this.#stop.aborted || error instanceof Stop) throw error;
        if (++failures > FAILURES_MAX) throw lost(this.#url, at, error);
        if (failures === 1) warn(`connection lost after ${formatSize(at)}: ${wordsOf(error)}`);
        answer = undefined;
        await pause(FIRST_PAUSE_MS * 2 ** (failures - 1), undefined, { signal: this.#stop });
      }
    }
  }

  /** An answer with a range, or with the same version from its beginning. */
  async #rest(start: number, end: number): Promise<Response> {
    const answer = await this.#ask(start, end);
    if (answer.status === 206) return answer;
    const { etag, changed } = this.#version;
    const isKnown = start === 0 || (etag ?? changed) !== undefined;
    if (isKnown && isSame(this.#version, versionOf(answer))) return answer;
    throw this.#changed(start);
  }

  /** Asks for a range: the answer has that (206), or the whole of some version (200). */
  async #ask(start: number, end: number): Promise<Response> {
    await this.#first?.body?.cancel();
    this.#first = undefined;
    const { etag, changed } = this.#version;
    // A weak ETag is no condition for a range.
    const condition = etag?.startsWith('"') === true ? etag : changed;
    const range = `bytes=${start}-${end === Infinity ? "" : end - 1}`;
    const headers = { range, ...(condition === undefined ? {} : { "if-range": condition }) };
    const answer = await request(this.#url, headers, this.#stop);
    if (PASSING.includes(answer.status)) throw new Error(statusOf(answer));
    if (answer.status === 200) return answer;
    if (answer.status !== 206) throw refusedBy(answer, this.#url);
    const begins = Number(/^bytes (\d+)-/.exec(contentRange(answer))?.[1]);
    if (begins === start && isSame(this.#version, versionOf(answer))) return answer;
    throw this.#changed(start);
  }

  #changed(at: number): Stop {
    return failure(
      `${printable(this.#url)} was lost after ${formatSize(at)} and cannot be resumed: ` +
        "the server has another version of the file, or does not identify versions",
    );
  }
}

async function request(
  url: string,
  headers: Record<string, string>,
  stop: AbortSignal,
): Promise<Response> {
  const silent = new AbortController();
  const asked = fetch(url, {
    headers: { ...headers, "accept-encoding": "identity" },
    signal: AbortSignal.any([stop, silent.signal]),
    // The bytes of the file itself: what is packed is recognised by content.
    decompress: false,
  });
  return await inTime(asked).catch((error: unknown) => {
    silent.abort();
    throw error;
  });
}

/** The bytes from `at` on of an answer, which may begin earlier. */
async function* from(at: number, answer: Response): AsyncGenerator<Bytes> {
  const reader = answer.body?.getReader();
  let left = answer.status === 206 ? 0 : at;
  try {
    while (reader !== undefined) {
      const { done, value } = await inTime(reader.read());
      if (done) return;
      if (value.byteLength > left) yield value.subarray(left);
      left = Math.max(0, left - value.byteLength);
    }
  } finally {
    await reader?.cancel().catch(() => {});
  }
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`the server sent nothing for ${SILENCE_MS / 1000} s`)),
    SILENCE_MS,
  );
  try {
    return await Promise.race([answer, promise]);
  } finally {
    clearTimeout(timer);
  }
}

function versionOf(answer: Response): Version {
  const total =
    answer.status === 206
      ? /\/(\d+)$/.exec(contentRange(answer))?.[1]
      : answer.headers.get("content-length");
  return {
    etag: answer.headers.get("etag") ?? undefined,
    changed: answer.headers.get("last-modified") ?? undefined,
    size: typeof total === "string" ? Number(total) : undefined,
  };
}

function contentRange(answer: Response): string {
  return answer.headers.get("content-range") ?? "";
}

/** Whether nothing that is known of both differs. */
function isSame(a: Version, b: Version): boolean {
  const names = ["etag", "changed", "size"] as const;
  return names.every((name) => (a[name] ?? b[name]) === (b[name] ?? a[name]));
}

function refusedBy(answer: Response, url: string): Stop {
  return failure(`${printable(url)}: ${statusOf(answer)}`);
}

function statusOf({ status, statusText }: Response): string {
  return `the server answers ${status}${statusText === "" ? "" : ` ${statusText}`}`;
}

function lost(url: string, at: number, error: unknown): Stop {
  const where = `${printable(url)} was lost after ${formatSize(at)}`;
  return failure(`${where}: ${wordsOf(error)}`);
}

/** Without the advice for programmers that Bun adds. */
function wordsOf(error: unknown): string {
  return messageOf(error)
    .replace(/ For more information.*$/, "")
    .replace(/\.$/, "");
}
