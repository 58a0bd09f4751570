// `Ring`: one engine with its queue, for one JavaScript thread. Most programs never name it: files use
// `Ring.default()`. The work is done in proactor.ts.

import { readFileSync } from "node:fs";
import { argumentType, argumentValue } from "../common/argument_errors.ts";
import { checkInteger, checkOptions, type IoOptions } from "../common/arguments.ts";
import { noteClosed, noteOpened } from "../common/leaks.ts";
import { systemError } from "../errors/io_error.ts";
import { backendName, refusedText } from "../errors/status.ts";
import * as abi from "../native/abi.gen.ts";
import { type Operation, runBatch } from "./batch.ts";
import type { DeviceParameters } from "./open_ring.ts";
import { Proactor } from "./proactor.ts";
import { type RingStats, readStats } from "./statistics.ts";

/** How operations reach the kernel. */
export type BackendName = "io_uring" | "posix_aio" | "threads" | "simulated";

/** The backend of a ring, and its size. */
export interface RingOptions {
  /**
   * `auto` (the default) takes the best backend that the system allows; `backendReason` says what was refused. A
   * backend given by name is used, or `Ring.open` throws. The environment variable BUN_AIO_BACKEND replaces `auto`.
   * On Linux, reads of at most 64 KiB that the page cache can answer are made at once, on this thread (preadv2(2)
   * with RWF_NOWAIT): by `io_uring` one at a time, by `threads` all of them if `auto` fell back to it.
   */
  backend?: BackendName | "auto" | undefined;
  /** Operations in the kernel at once, 1 to 4096; default 128. Further ones wait in JavaScript, without limit. */
  queueDepth?: number | undefined;
  /**
   * How long the ring polls for completions, in microseconds from 0 to 1000; default 50; 0: never. It polls once
   * per event-loop turn after operations were handed over or came back, then sleeps on the wake descriptor. Polling
   * blocks nothing. It is done for up to eight operations in flight, and stops where the device is too slow for it
   * to pay.
   */
  pollMicroseconds?: number | undefined;
}

/** bench/README.md, `--rows loop,zram --depths 1`. */
const POLL_MICROSECONDS_DEFAULT = 50;
const POLL_MICROSECONDS_MAX = 1000;

const BACKENDS: Readonly<Record<string, number>> = {
  auto: abi.Backend.automatic,
  io_uring: abi.Backend.ioUring,
  posix_aio: abi.Backend.posixAio,
  threads: abi.Backend.threads,
};

let defaultRing: Ring | undefined;

const cores = new WeakMap<Ring, Proactor>();

/** The proactor of a ring. */
export function proactorOf(ring: Ring): Proactor {
  const proactor = cores.get(ring);
  if (proactor === undefined) throw new Error("bun-aio: internal error: no Ring");
  return proactor;
}

/**
 * A queue of operations and its way to the kernel. Files use `Ring.default()` unless they are opened with another: most
 * programs need none of their own.
 */
export class Ring implements AsyncDisposable {
  readonly #proactor: Proactor;
  /** How operations reach the kernel. */
  readonly backend: BackendName;
  /** Why this backend was chosen. */
  readonly backendReason: string;
  /** Operations in the kernel at once. */
  readonly queueDepth: number;

  /** Use `Ring.open` or `Ring.default`. @internal */
  constructor(proactor: Proactor, reason: string) {
    if (!(proactor instanceof Proactor)) {
      throw argumentType("Ring", "opened by Ring.open or Ring.default", proactor);
    }
    this.#proactor = proactor;
    cores.set(this, proactor);
    this.backend = backendName(proactor.backend) as BackendName;
    this.backendReason = reason;
    this.queueDepth = proactor.queueDepth;
  }

  /** This thread's ring, opened at first use and again after it was closed or lost (docs/backends.md). */
  static default(): Ring {
    if (defaultRing === undefined || defaultRing.#proactor.closing)
      defaultRing = Ring.#open(undefined);
    return defaultRing;
  }

  /**
   * Opens a separate ring: for another backend, or for a queue that other work cannot fill.
   *
   * @throws IoError when the backend named is refused; TypeError, RangeError for wrong options.
   */
  static open(options?: RingOptions): Ring {
    const ring = Ring.#open(options);
    noteOpened("ring", ring.#proactor, () => `${ring.backend}, queue depth ${ring.queueDepth}`);
    return ring;
  }

  static #open(options: RingOptions | undefined): Ring {
    checkOptions("Ring.open", options, ["backend", "queueDepth", "pollMicroseconds"]);
    const { backend, forced } = chooseBackend(options?.backend);
    const depth = options?.queueDepth ?? abi.QUEUE_DEPTH_DEFAULT;
    const queueDepth = checkInteger("options.queueDepth", depth, 1, abi.QUEUE_DEPTH_MAX);
    const poll = options?.pollMicroseconds ?? POLL_MICROSECONDS_DEFAULT;
    const pollMicroseconds = checkInteger(
      "options.pollMicroseconds",
      poll,
      0,
      POLL_MICROSECONDS_MAX,
    );
    const proactor = new Proactor({ backend, queueDepth, pollMicroseconds });
    return new Ring(proactor, reason(proactor, forced));
  }

  /**
   * Starts reads, writes, vectors and syncs on any files of this ring with one call. Resolves when all have
   * settled, with one result for each, in order, as `Promise.allSettled` does; syncs settle with 0. A wrong or
   * failed entry does not affect the others, except that a sync rejects when a write before it, on the same file,
   * failed. An entry whose `file` belongs to another ring rejects with `ERR_INVALID_ARG_VALUE`.
   *
   * `signal` and `timeout` (ms) apply to every entry. The promise itself rejects only when `operations` is no array
   * or the options are wrong (TypeError, RangeError).
   */
  batch(
    operations: readonly Operation[],
    options?: IoOptions,
  ): Promise<PromiseSettledResult<number>[]> {
    return runBatch(this, operations, options);
  }

  /** Counters since the ring was opened, and what is in flight now. */
  stats(): RingStats {
    return readStats(this.#proactor);
  }

  /**
   * Refuses new operations, waits for those in flight, then frees the kernel's resources. A second call returns the
   * same promise. Files of the ring stay open but can only be closed.
   */
  close(): Promise<void> {
    noteClosed(this.#proactor);
    return this.#proactor.close();
  }

  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Opens a ring over a device in memory, for `bun-aio/testing`. */
export function openSimulated(device: DeviceParameters): Ring {
  const backend = abi.Backend.simulated;
  const proactor = new Proactor({ backend, queueDepth: abi.QUEUE_DEPTH_DEFAULT, device });
  return new Ring(proactor, "simulated: a device of bun-aio/testing");
}

function chooseBackend(asked: unknown): { backend: number; forced: string | undefined } {
  const environment = process.env["BUN_AIO_BACKEND"];
  const fromEnvironment =
    (asked === undefined || asked === "auto") && environment !== undefined && environment !== "";
  const name = fromEnvironment ? environment : (asked ?? "auto");
  const backend =
    typeof name === "string" && Object.hasOwn(BACKENDS, name) ? BACKENDS[name] : undefined;
  if (backend !== undefined) {
    // `auto` forces nothing: the reason is still what was refused.
    const chosen = fromEnvironment ? `BUN_AIO_BACKEND=${name}` : "chosen by its name";
    const forced = name === "auto" ? undefined : chosen;
    return { backend, forced };
  }
  const where = fromEnvironment ? "BUN_AIO_BACKEND" : "options.backend";
  throw argumentValue(where, `must be one of ${Object.keys(BACKENDS).join(", ")}`, name);
}

function reason(proactor: Proactor, forced: string | undefined): string {
  const name = backendName(proactor.backend);
  if (forced !== undefined) return `${name}: ${forced}`;
  const { refused } = proactor;
  if (refused === undefined) return `${name}: the best this system has`;
  const { code, reason: words } = systemError(refused.errno);
  return `${refusedText(refused)}: ${code} (${words})${circumstance(refused.errno)}; using ${name}`;
}

/** The usual causes of a refused io_uring_setup (io_uring_setup(2)). */
function circumstance(errno: number): string {
  const { code } = systemError(errno);
  if (process.platform !== "linux") return "";
  const disabled = readDisabled();
  if (disabled !== undefined && disabled !== "0") return `, kernel.io_uring_disabled=${disabled}`;
  if (code === "EPERM" || code === "EACCES")
    return ", perhaps a sandbox's seccomp filter (Docker's default has one)";
  if (code === "ENOSYS") return ", the kernel is too old or hides the call";
  if (code === "ENOMEM") return ", perhaps the limit of locked memory (ulimit -l)";
  return "";
}

function readDisabled(): string | undefined {
  try {
    return readFileSync("/proc/sys/kernel/io_uring_disabled", "utf8").trim();
  } catch {
    return undefined;
  }
}
