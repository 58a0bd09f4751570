// Claims on aligned blocks of bytes, and which of them may go on because no earlier one conflicts with it. For
// range_lock.ts, which makes a claim of each block of a range.
//
// Each block that is claimed has a node in a binary tree. A claim conflicts only with those of the same node, of the
// nodes above it and of those below it. A node knows the earliest claim of either kind in and below it (`earliest`),
// and the earliest that waits though nothing in or below the node stands before it (`ready`). What is ready at
// the root may go on. Whoever comes or goes costs a way to the root, and one down for each that
// may go on, however many others there are.

import { type Block, commonLevel, isUpper } from "./aligned_blocks.ts";

/** What claims blocks: see `RangeLock`. */
export interface Claimant {
  /** Shared claims do not conflict with each other. */
  readonly exclusive: boolean;
  /** Position among all claimants. */
  readonly order: number;
}

/** A block claimed by somebody. */
export class Claim<T extends Claimant> {
  readonly by: T;
  readonly node: Node<T>;
  previous: Claim<T> | undefined;
  next: Claim<T> | undefined;

  constructor(by: T, node: Node<T>) {
    this.by = by;
    this.node = node;
  }
}

/** Claims of one kind on one block, in the order of their coming: first those that went on, then those that wait. */
class Queue<T extends Claimant> {
  first: Claim<T> | undefined;
  last: Claim<T> | undefined;
  firstWaiting: Claim<T> | undefined;

  append(claim: Claim<T>): void {
    const { last } = this;
    claim.previous = last;
    if (last === undefined) this.first = claim;
    else last.next = claim;
    this.last = claim;
    this.firstWaiting ??= claim;
  }

  remove(claim: Claim<T>): void {
    const { previous, next } = claim;
    if (previous === undefined) this.first = next;
    else previous.next = next;
    if (next === undefined) this.last = previous;
    else next.previous = previous;
    if (this.firstWaiting === claim) this.firstWaiting = next;
  }
}

/** A node knows orders of claims; Infinity for none. */
class Node<T extends Claimant> implements Block {
  readonly high: number;
  readonly low: number;
  readonly level: number;
  parent: Node<T> | undefined;
  lower: Node<T> | undefined;
  upper: Node<T> | undefined;
  readonly exclusive: Queue<T> = new Queue();
  readonly shared: Queue<T> = new Queue();
  earliestExclusive: number = Infinity;
  earliestShared: number = Infinity;
  readyExclusive: number = Infinity;
  readyShared: number = Infinity;

  constructor(high: number, low: number, level: number) {
    this.high = high;
    this.low = low;
    this.level = level;
  }

  /** Brings up to date what it knows; false if nothing has changed. */
  note(): boolean {
    const { earliestExclusive, earliestShared, readyExclusive, readyShared } = this;
    this.#noteEarliest();
    this.#noteReady();
    return (
      earliestExclusive !== this.earliestExclusive ||
      earliestShared !== this.earliestShared ||
      readyExclusive !== this.readyExclusive ||
      readyShared !== this.readyShared
    );
  }

  #noteEarliest(): void {
    const { lower, upper } = this;
    let exclusive = orderOf(this.exclusive.first);
    let shared = orderOf(this.shared.first);
    if (lower !== undefined) {
      exclusive = Math.min(exclusive, lower.earliestExclusive);
      shared = Math.min(shared, lower.earliestShared);
    }
    if (upper !== undefined) {
      exclusive = Math.min(exclusive, upper.earliestExclusive);
      shared = Math.min(shared, upper.earliestShared);
    }
    this.earliestExclusive = exclusive;
    this.earliestShared = shared;
  }

  #noteReady(): void {
    const { lower, upper } = this;
    const firstExclusive = orderOf(this.exclusive.first);
    const firstShared = orderOf(this.shared.first);
    // Of what is ready below, that which the first ones of this node do not stand before.
    const exclusive = Math.min(
      lower?.readyExclusive ?? Infinity,
      upper?.readyExclusive ?? Infinity,
    );
    const shared = Math.min(lower?.readyShared ?? Infinity, upper?.readyShared ?? Infinity);
    this.readyExclusive =
      exclusive < firstExclusive && exclusive < firstShared ? exclusive : Infinity;
    this.readyShared = shared < firstExclusive ? shared : Infinity;
    const waiting = orderOf(this.shared.firstWaiting);
    if (waiting < this.earliestExclusive) this.readyShared = Math.min(this.readyShared, waiting);
    if (this.isFirstReady(Infinity, Infinity)) this.readyExclusive = firstExclusive;
  }

  /** Whether the first exclusive claim waits, and nothing in, below or above the node stands before it. */
  isFirstReady(aboveExclusive: number, aboveShared: number): boolean {
    const { first, firstWaiting } = this.exclusive;
    if (first === undefined || first !== firstWaiting) return false;
    const { order } = first.by;
    if (order > this.earliestExclusive || order > this.earliestShared) return false;
    return order < aboveExclusive && order < aboveShared;
  }

  /** Whether something in or below the node may go on, if these are the earliest of what lies above. */
  hasReady(aboveExclusive: number, aboveShared: number): boolean {
    if (this.readyShared < aboveExclusive) return true;
    return this.readyExclusive < aboveExclusive && this.readyExclusive < aboveShared;
  }
}

function orderOf<T extends Claimant>(claim: Claim<T> | undefined): number {
  return claim === undefined ? Infinity : claim.by.order;
}

export class ClaimTree<T extends Claimant> {
  readonly #goesOn: (by: T) => void;
  #root: Node<T> | undefined;
  /** Nodes visited so far: what all of it has cost. */
  steps = 0;

  /** `goesOn` is told of each claim once; it must not come back here. */
  constructor(goesOn: (by: T) => void) {
    this.#goesOn = goesOn;
  }

  /** Claims a block, later than all others. It waits until `update`. */
  add(block: Block, by: T): Claim<T> {
    const node = this.#nodeOf(block);
    const claim = new Claim(by, node);
    (by.exclusive ? node.exclusive : node.shared).append(claim);
    this.#noteFrom(node);
    return claim;
  }

  /** Gives up a claim, whether it waits or not. */
  remove(claim: Claim<T>): void {
    const { node } = claim;
    (claim.by.exclusive ? node.exclusive : node.shared).remove(claim);
    this.#noteFrom(node);
    this.#prune(node);
  }

  /** Lets go on what may. To be called after claims were added or removed. */
  update(): void {
    const root = this.#root;
    if (root?.hasReady(Infinity, Infinity)) this.#letGoOn(root, Infinity, Infinity);
  }

  /** With the earliest of what lies above. Only ways that lead to a claim that may go on are gone. */
  #letGoOn(node: Node<T>, aboveExclusive: number, aboveShared: number): void {
    this.steps++;
    const { exclusive, shared, lower, upper } = node;
    const limit = Math.min(aboveExclusive, node.earliestExclusive);
    while (orderOf(shared.firstWaiting) < limit) this.#goOn(shared);
    if (node.isFirstReady(aboveExclusive, aboveShared)) this.#goOn(exclusive);
    const belowExclusive = Math.min(aboveExclusive, orderOf(exclusive.first));
    const belowShared = Math.min(aboveShared, orderOf(shared.first));
    if (lower?.hasReady(belowExclusive, belowShared)) {
      this.#letGoOn(lower, belowExclusive, belowShared);
    }
    if (upper?.hasReady(belowExclusive, belowShared)) {
      this.#letGoOn(upper, belowExclusive, belowShared);
    }
    node.note();
  }

  #goOn(queue: Queue<T>): void {
    const claim = queue.firstWaiting;
    if (claim === undefined) return;
    queue.firstWaiting = claim.next;
    this.#goesOn(claim.by);
  }

  /** What the nodes above know changes, up to where it does not. */
  #noteFrom(start: Node<T>): void {
    for (let node: Node<T> | undefined = start; node !== undefined; node = node.parent) {
      this.steps++;
      if (!node.note()) return;
    }
  }

  #nodeOf(block: Block): Node<T> {
    let parent: Node<T> | undefined;
    let node = this.#root;
    while (node !== undefined) {
      this.steps++;
      const level = commonLevel(node, block);
      if (level > node.level) return this.#insertAbove(node, level, block);
      if (level === block.level) return node;
      parent = node;
      node = isUpper(block, level) ? node.upper : node.lower;
    }
    const made = new Node<T>(block.high, block.low, block.level);
    this.#attach(parent, made);
    return made;
  }

  /** A node of `level` takes the place of `node`, which comes below it, as does the one for `block`. */
  #insertAbove(node: Node<T>, level: number, block: Block): Node<T> {
    const above = new Node<T>(block.high, block.low, level);
    this.#attach(node.parent, above);
    this.#attach(above, node);
    above.note();
    if (level === block.level) return above;
    const made = new Node<T>(block.high, block.low, block.level);
    this.#attach(above, made);
    return made;
  }

  #attach(parent: Node<T> | undefined, node: Node<T>): void {
    node.parent = parent;
    if (parent === undefined) this.#root = node;
    else if (isUpper(node, parent.level)) parent.upper = node;
    else parent.lower = node;
  }

  /** Nodes that nothing is claimed of stay only where two ways part. */
  #prune(start: Node<T>): void {
    let node: Node<T> | undefined = start;
    while (node !== undefined && node.exclusive.first === undefined) {
      if (node.shared.first !== undefined) return;
      const { parent, lower, upper }: Node<T> = node;
      if (lower !== undefined && upper !== undefined) return;
      const below = lower ?? upper;
      if (below !== undefined) this.#attach(parent, below);
      else if (parent === undefined) this.#root = undefined;
      else if (parent.lower === node) parent.lower = undefined;
      else parent.upper = undefined;
      node = parent;
    }
  }
}
