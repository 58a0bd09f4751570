// What one measured child is asked to do, and what it answers. The harness writes a job as JSON
// into the child's arguments; the child writes a sample as one JSON line on its standard output.

import { booleanAt, isRecord, numberAt, optionalNumberAt, stringAt } from "./json_fields.ts";

export type Pattern = "random" | "sequential";
export type BufferKind = "own" | "pool" | "foreign";
const BUFFER_KINDS: readonly BufferKind[] = ["own", "pool", "foreign"];
/** What is watched in the event loop beside the reads. */
export type ProbeKind = "delay" | "ticks";

export interface Job {
  readonly path: string;
  /** What is written to, in the rows that write (several paths are separated by commas); else "". */
  readonly onto: string;
  /** Open with O_DIRECT. */
  readonly direct: boolean;
  /** Drop the target from the page cache before. */
  readonly cold: boolean;
  readonly pattern: Pattern;
  readonly blockSize: number;
  /** Reads in flight. */
  readonly depth: number;
  /** Bytes of the target that are read; a multiple of blockSize. */
  readonly span: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
  readonly seed: number;
  /** `own`: allocBuffer; `pool`: a BufferPool's; `foreign`: plain Uint8Arrays. Only bun-aio knows a difference. */
  readonly buffers: BufferKind;
  readonly probe: ProbeKind;
  readonly probeMilliseconds: number;
}

export interface Sample {
  readonly operations: number;
  readonly seconds: number;
  /** User and system time of the whole process, threads of the kernel's io-wq included. */
  readonly cpuSeconds: number;
  readonly rssBytes: number;
  /** 99th percentile of how late a timer fired; absent where there is no event loop. */
  readonly loopDelayP99Ms?: number | undefined;
  /** Ticks of an interval, divided by the ticks its period promises. */
  readonly tickShare?: number | undefined;
  readonly rssGrowthBytes?: number | undefined;
  /** 99th percentile of how long a read took, where the row is about that. */
  readonly readP99Ms?: number | undefined;
  /** How it ran: the backend, the flags of the ring. */
  readonly detail: string;
}

export function parseJob(text: string | undefined): Job {
  const value: unknown = JSON.parse(text ?? "null");
  if (!isRecord(value)) throw new TypeError("a child is started with a job as JSON");
  return {
    path: stringAt(value, "path"),
    onto: stringAt(value, "onto"),
    direct: booleanAt(value, "direct"),
    cold: booleanAt(value, "cold"),
    pattern: stringAt(value, "pattern") === "sequential" ? "sequential" : "random",
    blockSize: numberAt(value, "blockSize"),
    depth: numberAt(value, "depth"),
    span: numberAt(value, "span"),
    warmUpSeconds: numberAt(value, "warmUpSeconds"),
    seconds: numberAt(value, "seconds"),
    seed: numberAt(value, "seed"),
    buffers: BUFFER_KINDS.find((kind) => kind === stringAt(value, "buffers")) ?? "own",
    probe: stringAt(value, "probe") === "ticks" ? "ticks" : "delay",
    probeMilliseconds: numberAt(value, "probeMilliseconds"),
  };
}

export function parseSample(text: string): Sample {
  const value: unknown = JSON.parse(text);
  if (!isRecord(value)) throw new TypeError(`not a sample: ${text}`);
  return {
    operations: numberAt(value, "operations"),
    seconds: numberAt(value, "seconds"),
    cpuSeconds: numberAt(value, "cpuSeconds"),
    rssBytes: numberAt(value, "rssBytes"),
    loopDelayP99Ms: optionalNumberAt(value, "loopDelayP99Ms"),
    tickShare: optionalNumberAt(value, "tickShare"),
    rssGrowthBytes: optionalNumberAt(value, "rssGrowthBytes"),
    readP99Ms: optionalNumberAt(value, "readP99Ms"),
    detail: stringAt(value, "detail"),
  };
}
