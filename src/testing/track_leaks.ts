// `trackLeaks`: fails a test that leaves something open. common/leaks.ts reports what is opened and closed; this
// file keeps what was opened since tracking began.

import {
  type OperationSource,
  openSources,
  type ResourceKind,
  type Tracker,
  trackers,
} from "../common/leaks.ts";
import { recordCalls } from "../errors/call_site.ts";
import { pause } from "../native/clock.ts";
import { addMark, keptMarks, newMark } from "./reachable.ts";

/** Collections that memory gets to prove collectable. */
const COLLECTIONS = 3;

/** Thrown when something is left open. */
export class LeakError extends Error {
  /** `LeakError`. */
  override name = "LeakError";
  /** `ERR_LEAKS`. */
  readonly code = "ERR_LEAKS";
  /** One line for each leak. */
  readonly leaks: readonly string[];

  constructor(leaks: readonly string[]) {
    super(`left behind:\n${leaks.map((leak) => `  ${leak}`).join("\n")}`);
    this.leaks = leaks;
  }
}

/**
 * Watches files, rings, leases of buffer pools, buffers and operations from here on. On disposal it rejects with a
 * `LeakError` that names each file, ring, lease and watch opened since and not closed, each operation that has not
 * settled, and each buffer of `allocBuffer` or a `BufferPool` that is still referenced after a collection. Local
 * variables of functions that have not returned do not count, nor does `Ring.default()`, which belongs to the
 * thread. Meanwhile errors have the stack of the call that failed, as with BUN_AIO_TRACE=1.
 *
 * @example
 * ```ts
 * import { test } from "bun:test";
 * import { open } from "bun-aio";
 * import { trackLeaks } from "bun-aio/testing";
 *
 * test("closes what it opens", async () => {
 *   await using _ = trackLeaks();
 *   await using file = await open("disk.img");
 *   await file.readAt(new Uint8Array(512), 0);
 * });
 * ```
 */
export function trackLeaks(): AsyncDisposable {
  return new LeakTracker();
}

interface TrackedSlab {
  readonly buffer: WeakRef<object>;
  readonly name: string;
  readonly mark: string;
}

class LeakTracker implements Tracker, AsyncDisposable {
  readonly #open = new Map<object, string>();
  readonly #slabs: TrackedSlab[] = [];
  readonly #marks = new WeakMap<object, string>();
  /** Operations that had begun before tracking. */
  readonly #before = new Map<OperationSource, Set<string>>();
  readonly #unrecord = recordCalls();

  constructor() {
    for (const source of openSources()) {
      this.#before.set(source, new Set(source.pending().keys()));
    }
    trackers.add(this);
  }

  opened(kind: ResourceKind, resource: object, name: string): void {
    if (kind !== "slab") {
      this.#open.set(resource, `${kind} ${name}`);
      return;
    }
    const mark = newMark();
    this.#marks.set(resource, mark);
    this.#slabs.push({ buffer: new WeakRef(resource), name, mark });
  }

  closed(resource: object): void {
    this.#open.delete(resource);
  }

  held(resource: object, holder: object): void {
    const mark = this.#marks.get(resource);
    if (mark !== undefined) addMark(holder, mark);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!trackers.delete(this)) return;
    this.#unrecord();
    const leaks = [...this.#open.values(), ...this.#operations()];
    this.#open.clear();
    this.#before.clear();
    leaks.push(...(await this.#reachable()));
    if (leaks.length > 0) throw new LeakError(leaks);
  }

  #operations(): string[] {
    return openSources().flatMap((source) => {
      const before = this.#before.get(source);
      return [...source.pending()]
        .filter(([id]) => before?.has(id) !== true)
        .map(([, words]) => `operation ${words}`);
    });
  }

  /** Waits some turns: the collector sees stale pointers on the stack, and finalisers run later. */
  async #reachable(): Promise<string[]> {
    for (let round = 0; round < COLLECTIONS; round++) {
      if (this.#forgetCollected() === 0) return [];
      // A WeakRef that was dereferenced keeps its target until the turn ends.
      await pause(round);
      Bun.gc(true);
    }
    if (this.#forgetCollected() === 0) return [];
    await pause(0);
    const kept = keptMarks();
    return this.#slabs
      .filter(({ mark }) => kept.has(mark))
      .map(({ name }) => `buffer ${name}, still reachable`);
  }

  #forgetCollected(): number {
    const left = this.#slabs.filter(({ buffer }) => buffer.deref() !== undefined);
    this.#slabs.splice(0, this.#slabs.length, ...left);
    return left.length;
  }
}
