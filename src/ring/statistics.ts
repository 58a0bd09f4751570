// `ring.stats()`: reads the counters that native code keeps (zig/abi.zig, Stats) when it is called.

import { argumentRange, argumentType } from "../common/argument_errors.ts";
import * as abi from "../native/abi.gen.ts";
import type { Proactor } from "./proactor.ts";

/** Latencies from submission to completion, of one kind of operation. */
export interface LatencyHistogram {
  /** Operations of this kind that have completed. */
  readonly count: number;
  /**
   * The latency in microseconds that this share of operations stayed below, 0 < share <= 1; at most 12.5 % too
   * high.
   */
  percentile(share: number): number;
  /** Bucket upper bounds in microseconds and counts, without empty ones. */
  buckets(): {
    /** Microseconds. */
    upTo: number;
    /** Operations up to that, and above the bucket before. */
    count: number;
  }[];
}

/** Counters of a ring since it was opened. */
export interface RingStats {
  /**
   * Native flushes: one for all operations issued in one turn of the event loop. A single cached read that was made
   * at the call needs none.
   */
  readonly flushes: number;
  /** Times completions were fetched because the wake descriptor rang. */
  readonly drains: number;
  /** Polls for completions in a turn of the event loop (`RingOptions.pollMicroseconds`). */
  readonly polls: number;
  /** System calls for I/O: io_uring_enter, lio_listio, kevent, preadv2, and one for each that a pool thread makes. */
  readonly systemCalls: number;
  /** Of these, io_uring_enter, lio_listio or a preadv2 in their place that submitted operations. */
  readonly submitCalls: number;
  /** Operations submitted again because the kernel had no room. */
  readonly resubmissions: number;
  /** Submissions of the rest of a short or split transfer. */
  readonly continuations: number;
  /** Operations that the kernel's own AIO refused and the thread pool served. */
  readonly fallbacks: number;
  /** Completions that were there when the call that submitted them returned. */
  readonly inlineCompletions: number;
  /** Operations that have settled, however. */
  readonly completions: number;
  /** Operations that the kernel was asked to cancel. */
  readonly cancelRequests: number;
  /** Operations that ended because they were cancelled. */
  readonly canceled: number;
  /** Operations that failed. */
  readonly failures: number;
  /** Reads that have completed. */
  readonly reads: number;
  /** Writes that have completed. */
  readonly writes: number;
  /** Syncs that have completed. */
  readonly syncs: number;
  /** Opens, closes, stats and the like. */
  readonly others: number;
  /** Bytes read. */
  readonly bytesRead: number;
  /** Bytes written. */
  readonly bytesWritten: number;
  /** Times another thread rang the wake descriptor. */
  readonly wakes: number;
  /** Events of the kernel for operations that had settled already. */
  readonly staleEvents: number;
  /** Operations that have not settled: waiting, or in the kernel. */
  readonly inFlight: number;
  /** The most operations in the kernel at once. */
  readonly inKernelPeak: number;
  /** Latencies by kind of operation. */
  readonly latency: {
    /** Of reads. */
    readonly read: LatencyHistogram;
    /** Of writes. */
    readonly write: LatencyHistogram;
    /** Of syncs. */
    readonly sync: LatencyHistogram;
    /** Of opens, closes, stats and the like. */
    readonly other: LatencyHistogram;
  };
}

/** Counters that native code keeps, by the names that they have here. */
const COUNTERS = Object.entries(abi.Stats).filter(([name]) => name !== "SIZE");
type Counter = Exclude<keyof typeof abi.Stats, "SIZE">;

export function readStats(proactor: Proactor): RingStats {
  const memory = proactor.controlMemory;
  const counts = COUNTERS.map(([name, at]) => {
    const offset = abi.Control.stats + at;
    const high = memory.getUint32(offset + 4, true);
    return [name, memory.getUint32(offset, true) + high * 0x1_0000_0000];
  });
  return {
    ...(Object.fromEntries(counts) as Record<Counter, number>),
    inFlight: proactor.inFlight,
    latency: {
      read: histogram(memory, 0),
      write: histogram(memory, 1),
      sync: histogram(memory, 2),
      other: histogram(memory, 3),
    },
  };
}

/** A copy of the counts of one kind, so that what is returned does not change. */
function histogram(memory: DataView, kind: number): LatencyHistogram {
  const counts = new Uint32Array(abi.HISTOGRAM_BUCKETS);
  const start = abi.Control.histogram + kind * abi.HISTOGRAM_BUCKETS * 4;
  let total = 0;
  for (let bucket = 0; bucket < counts.length; bucket++) {
    const count = memory.getUint32(start + bucket * 4, true);
    counts[bucket] = count;
    total += count;
  }
  return {
    count: total,
    percentile(share: number): number {
      if (typeof share !== "number") throw argumentType("share", "a number", share);
      if (!(share > 0 && share <= 1)) throw argumentRange("share", "above 0 and at most 1", share);
      let left = share * total;
      for (let bucket = 0; bucket < counts.length; bucket++) {
        left -= counts[bucket] ?? 0;
        if (left <= 0 && total > 0) return upperBound(bucket) / 1000;
      }
      return 0;
    },
    buckets(): { upTo: number; count: number }[] {
      const out: { upTo: number; count: number }[] = [];
      counts.forEach((count, bucket) => {
        if (count > 0) out.push({ upTo: upperBound(bucket) / 1000, count });
      });
      return out;
    },
  };
}

/** First nanosecond above a bucket (zig/engine/histogram.zig). */
function upperBound(bucket: number): number {
  const steps = 2 ** abi.HISTOGRAM_STEPS_LOG2;
  if (bucket < steps) return bucket + 1;
  const octave = Math.floor(bucket / steps) - 1;
  return (steps + (bucket % steps) + 1) * 2 ** octave;
}
