// A lock of byte ranges of one file. No I/O.
//
// First come, first served among ranges that overlap: a waiter is never overtaken by a range that conflicts with it,
// so nothing starves. A holder never asks for a second range, so nothing deadlocks. The cost of a call does not
// depend on the number of waiters (claim_tree.ts; docs/performance.md has a table).

import type { Offset } from "../common/arguments.ts";
import { Turns } from "../common/turns.ts";
import { blocksOf } from "./aligned_blocks.ts";
import { type Claim, ClaimTree } from "./claim_tree.ts";

export interface Range {
  readonly start: Offset;
  /** End of the range, exclusive; Infinity for "to the end of the file and beyond". */
  readonly end: Offset;
  /** Whether no other range may overlap it. Default false. */
  readonly exclusive?: boolean;
}

/** A range that is held or waited for; pass it to `release`. */
export interface Lease extends Range {
  readonly exclusive: boolean;
  /** Resolves when the range is held; undefined if it is held from the beginning. */
  readonly granted: Promise<void> | undefined;
}

class Entry implements Lease {
  readonly start: Offset;
  readonly end: Offset;
  readonly exclusive: boolean;
  /** Position among all calls of `acquire`. */
  readonly order: number;
  readonly claims: Claim<Entry>[] = [];
  /** Number of its claims that are blocked. */
  waiting = 0;
  released = false;
  granted: Promise<void> | undefined;
  grant: (() => void) | undefined;

  constructor(range: Range, order: number) {
    this.start = range.start;
    this.end = range.end;
    this.exclusive = range.exclusive === true;
    this.order = order;
  }
}

export class RangeLock {
  readonly #tree = new ClaimTree<Entry>((entry) => {
    entry.waiting--;
    if (entry.waiting === 0 && entry.grant !== undefined) this.#holders.add(entry);
  });
  /** Resolves the promises of granted leases. */
  readonly #holders = new Turns<Entry>((entry) => {
    if (!entry.released) entry.grant?.();
  });
  #order = 0;
  #size = 0;

  /** Leases held or waited for. */
  get size(): number {
    return this.#size;
  }

  /** Nodes of the tree visited so far. */
  get steps(): number {
    return this.#tree.steps;
  }

  /**
   * Shared leases may overlap each other; an exclusive one overlaps none. The range is held when every earlier
   * conflicting lease has been released: see `granted`. An empty range conflicts with nothing.
   */
  acquire(range: Range): Lease {
    const blocks = blocksOf(range.start, range.end);
    const entry = new Entry(range, this.#order++);
    entry.waiting = blocks.length;
    this.#size++;
    for (const block of blocks) entry.claims.push(this.#tree.add(block, entry));
    this.#tree.update();
    if (entry.waiting === 0) return entry;
    entry.granted = new Promise((resolve) => {
      entry.grant = resolve;
    });
    return entry;
  }

  /** Releases a range that is held, or stops waiting for it. */
  release(lease: Lease): void {
    const entry = lease as Entry;
    if (entry.released) throw new Error("the range is not held");
    entry.released = true;
    this.#size--;
    for (const claim of entry.claims) this.#tree.remove(claim);
    this.#tree.update();
  }
}
