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
import { traced } from "../errors/call_site.ts";
import { missingError } from "../errors/status.ts";
import { Kind } from "../native/abi.gen.ts";

/** A `File`, as a batch sees it. */
export interface BatchFile {
  readonly ring: object;
  readonly path: string | undefined;
  readonly fd: number;
}

/** Starts the entries of one file. */
export interface EntryStarter {
  /** `kind`: read, write or a sync of `abi.Kind`. A sync ignores data and offset. */
  startEntry(
    kind: number,
    data: IoData | readonly IoData[],
    offset: Offset,
    scope: CancelScope | undefined,
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
  const started: Promise<number | undefined>[] = [];
  // Copied: the caller may change the array and its entries as soon as this function awaits.
  const kinds: Operation["kind"][] = [];
  const files: BatchFile[] = [];
  let syncs = 0;
  for (let index = 0; index < operations.length; index++) {
    const operation: Operation = operations[index];
    try {
      checkEntry(ring, operation, index);
      if (operation.kind !== "read" && operation.kind !== "write") syncs++;
      kinds[index] = operation.kind;
      files[index] = operation.file;
      started.push(traced(start(operation, index, scope)));
    } catch (error) {
      started.push(Promise.reject(error));
    }
  }
  const results = await Promise.allSettled(started);
  if (syncs > 0) finishSyncs(kinds, files, results);
  return results as PromiseSettledResult<number>[];
}

function checkEntry(ring: object, operation: Operation, index: number): void {
  // Argument names are built only for errors: they would cost as much as the rest of a batch.
  if (typeof operation !== "object" || operation === null) {
    throw argumentType(`operations[${index}]`, "an operation", operation);
  }
  const { file } = operation;
  if (!starters.has(file)) throw argumentType(`operations[${index}].file`, "a File", file);
  if (file.ring !== ring) {
    const where = `operations[${index}].file`;
    throw argumentValue(where, "belongs to another ring", file.path ?? file.fd);
  }
}

function starterOf(file: BatchFile): EntryStarter {
  const starter = starters.get(file);
  if (starter === undefined) throw new Error("bun-aio: internal error: no File");
  return starter;
}

function start(
  operation: Operation,
  index: number,
  scope: CancelScope | undefined,
): Promise<number | undefined> {
  switch (operation.kind) {
    case "read":
    case "write": {
      const { kind, file, data, offset } = operation;
      return starterOf(file).startEntry(Kind[kind], data, offset, scope);
    }
    case "syncAll":
    case "syncData":
      return starterOf(operation.file).startEntry(Kind[operation.kind], [], 0, scope);
    default:
      throw argumentValue(
        `operations[${index}].kind`,
        "must be one of read, write, syncAll, syncData",
        (operation as { kind: unknown }).kind,
      );
  }
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
