// `ring.batch`: many operations with one call. They take the same path as single calls, so one flush takes them all;
// this file only checks entries and collects results.

import { type CancelScope, cancelScope } from "../cancellation/scope.ts";
import { argumentType, argumentValue } from "../common/argument_errors.ts";
import {
  checkIoOptions,
  checkOptions,
  IO_OPTION_NAMES,
  type IoData,
  type IoOptions,
  type Offset,
} from "../common/arguments.ts";
import { type CallSite, calledFrom, callSite } from "../errors/call_site.ts";
import { missingError } from "../errors/status.ts";
import { Kind } from "../native/abi.gen.ts";
import { type Receiver, TAKEN } from "./receiver.ts";

/** A `File`, as a batch sees it. */
export interface BatchFile {
  readonly ring: object;
  readonly path: string | undefined;
  readonly fd: number;
}

/** Starts the entries of one file. */
export interface EntryStarter {
  /**
   * `kind`: read, write or a sync of `abi.Kind`. A sync ignores data and offset. Returns `TAKEN` if the receiver is told
   * what came of it.
   */
  startEntry(
    kind: number,
    data: IoData | readonly IoData[],
    offset: Offset,
    scope: CancelScope | undefined,
    receiver: Receiver,
  ): Promise<number | undefined>;
}

const starters = new WeakMap<object, EntryStarter>();

/** Registers the starter for `file`. */
export function setEntryStarter(file: BatchFile, starter: EntryStarter): void {
  starters.set(file, starter);
}

export function entryStarterOf(file: object): EntryStarter | undefined {
  return starters.get(file);
}

/** One entry of `ring.batch`. An array as `data` is a vector: its buffers follow one another. */
export type Operation =
  | {
      /** What to do. */
      readonly kind: "read" | "write";
      /** A file of the same ring. */
      readonly file: BatchFile;
      /** What to read into or write from. */
      readonly data: IoData | readonly IoData[];
      /** Bytes from the start of the file. */
      readonly offset: Offset;
    }
  | {
      /** What to do; the result is 0. */
      readonly kind: "syncAll" | "syncData";
      /** A file of the same ring. */
      readonly file: BatchFile;
    };

/** `ring`: the ring whose `batch` was called. */
export async function runBatch(
  ring: object,
  operations: readonly Operation[],
  options: IoOptions | undefined,
): Promise<PromiseSettledResult<number>[]> {
  if (!Array.isArray(operations)) throw argumentType("operations", "an array", operations);
  checkOptions("Ring.batch", options, IO_OPTION_NAMES);
  const scope = options === undefined ? undefined : cancelScope(checkIoOptions(options));
  const entries = new Entries(operations.length);
  // Copied: the caller may change the array and its entries as soon as this function awaits.
  const kinds: Operation["kind"][] = [];
  const files: BatchFile[] = [];
  let syncs = 0;
  /** The file of `starter`. */
  let checked: BatchFile | undefined;
  let starter: EntryStarter | undefined;
  for (let index = 0; index < entries.results.length; index++) {
    const receiver = entries.receiver(index);
    try {
      const operation = checkOperation(operations[index], index);
      const { kind, file } = operation;
      if (starter === undefined || file !== checked) {
        starter = checkFile(ring, file, index);
        checked = file;
      }
      if (kind !== "read" && kind !== "write") syncs++;
      kinds[index] = kind;
      files[index] = file;
      const promise = start(operation, kind, starter, index, scope, receiver);
      if (promise !== TAKEN) promise.then(receiver.resolve, receiver.reject);
    } catch (error) {
      receiver.reject(error);
    }
  }
  await entries.settled;
  if (syncs > 0) finishSyncs(kinds, files, entries.results);
  return entries.results as PromiseSettledResult<number>[];
}

/** What came of the entries of a batch: one promise for all of them. */
class Entries {
  readonly results: PromiseSettledResult<number | undefined>[];
  readonly settled: Promise<void>;
  #left: number;
  readonly #allSettled: () => void;
  readonly #site: CallSite = callSite();

  constructor(count: number) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.results = new Array(count);
    this.#left = count;
    this.settled = promise;
    this.#allSettled = resolve;
    if (count === 0) resolve();
  }

  receiver(index: number): Receiver {
    return {
      resolve: (value) => this.#settle(index, { status: "fulfilled", value }),
      reject: (error) =>
        this.#settle(index, { status: "rejected", reason: calledFrom(error, this.#site) }),
    };
  }

  #settle(index: number, result: PromiseSettledResult<number | undefined>): void {
    this.results[index] = result;
    if (--this.#left === 0) this.#allSettled();
  }
}

// Argument names are built only for errors: they would cost as much as the rest of a batch.

function checkOperation(operation: Operation, index: number): Operation {
  if (typeof operation === "object" && operation !== null) return operation;
  throw argumentType(`operations[${index}]`, "an operation", operation);
}

function checkFile(ring: object, file: BatchFile, index: number): EntryStarter {
  const starter = starters.get(file);
  if (starter === undefined) throw argumentType(`operations[${index}].file`, "a File", file);
  if (file.ring === ring) return starter;
  const where = `operations[${index}].file`;
  throw argumentValue(where, "belongs to another ring", file.path ?? file.fd);
}

function start(
  operation: Operation,
  kind: Operation["kind"],
  starter: EntryStarter,
  index: number,
  scope: CancelScope | undefined,
  receiver: Receiver,
): Promise<number | undefined> {
  if (kind === "read" || kind === "write") {
    const { data, offset } = operation as Operation & { kind: "read" };
    return starter.startEntry(Kind[kind], data, offset, scope, receiver);
  }
  if (kind === "syncAll" || kind === "syncData")
    return starter.startEntry(Kind[kind], [], 0, scope, receiver);
  const where = `operations[${index}].kind`;
  throw argumentValue(where, "must be one of read, write, syncAll, syncData", kind);
}

/**
 * Syncs settle with 0, or with the failure of a write before them. The proactor knows the writes it was given, but
 * not those refused for their arguments.
 */
function finishSyncs(
  kinds: readonly Operation["kind"][],
  files: readonly BatchFile[],
  results: PromiseSettledResult<number | undefined>[],
): void {
  const failures = new Map<BatchFile, unknown>();
  results.forEach((result, index) => {
    const kind = kinds[index];
    const file = files[index];
    // A wrong entry has no file, or no valid kind.
    if (kind === undefined || file === undefined || kind === "read") return;
    if (kind === "write") {
      if (result.status === "rejected" && !failures.has(file)) failures.set(file, result.reason);
    } else if (result.status === "fulfilled") {
      if (!failures.has(file)) {
        result.value = 0;
        return;
      }
      const reason = missingError(Kind[kind], file.path, failures.get(file));
      results[index] = { status: "rejected", reason };
    }
  });
}
