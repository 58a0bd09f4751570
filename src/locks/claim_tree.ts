// Claims on aligned blocks of bytes, and which of them are granted because no earlier one conflicts. A range of
// range_lock.ts is one claim for each of its blocks.
//
// Each claimed block has a node in a binary tree. A claim conflicts only with claims of the same node, of the nodes
// above it and of those below it. A node knows the order of the earliest claim of either kind in its subtree
// (`earliest`), and of the earliest waiting claim that nothing in its subtree blocks (`ready`). What is ready at
// the root is granted. Adding or removing a claim costs one path to the root, plus one path down for each claim
// granted, however many others there are.

import { type Block, commonLevel, isUpper } from "./aligned_blocks.ts";

/** A claimant of blocks: see `RangeLock`. */
export interface Claimant {
  /** Shared claims do not conflict with each other. */
  readonly exclusive: boolean;
  /** Position among all claimants. */
  readonly order: number;
}

/** A claimed block. */
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

/** Claims of one kind on one block, in order: first granted ones, then waiting ones. */
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

/** A node stores orders of claims; Infinity for none. */
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

  /** Recomputes the node; false if nothing has changed. */
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
    this.earliestExclusive = Math.min(
      orderOf(this.exclusive.first),
      lower?.earliestExclusive ?? Infinity,
      upper?.earliestExclusive ?? Infinity,
    );
    this.earliestShared = Math.min(
      orderOf(this.shared.first),
      lower?.earliestShared ?? Infinity,
      upper?.earliestShared ?? Infinity,
    );
  }

  #noteReady(): void {
    const { lower, upper } = this;
    const firstExclusive = orderOf(this.exclusive.first);
    const firstShared = orderOf(this.shared.first);
    // The earliest ready claim below that the first claims of this node do not block.
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

  /** Whether the first exclusive claim waits and nothing in, below or above the node blocks it. */
  isFirstReady(aboveExclusive: number, aboveShared: number): boolean {
    const { first, firstWaiting } = this.exclusive;
    if (first === undefined || first !== firstWaiting) return false;
    const { order } = first.by;
    if (order > this.earliestExclusive || order > this.earliestShared) return false;
    return order < aboveExclusive && order < aboveShared;
  }

  /** Whether something in the subtree can be granted, given the earliest claims above. */
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
  /** Nodes visited so far: the total cost. */
  steps = 0;

  /** `goesOn` is called once for each granted claim; it must not call back into the tree. */
  constructor(goesOn: (by: T) => void) {
    this.#goesOn = goesOn;
  }

  /** Claims a block, after all others. The claim waits until `update`. */
  add(block: Block, by: T): Claim<T> {
    const node = this.#nodeOf(block);
    const claim = new Claim(by, node);
    (by.exclusive ? node.exclusive : node.shared).append(claim);
    this.#noteFrom(node);
    return claim;
  }

  /** Removes a claim, granted or waiting. */
  remove(claim: Claim<T>): void {
    const { node } = claim;
    (claim.by.exclusive ? node.exclusive : node.shared).remove(claim);
    this.#noteFrom(node);
    this.#prune(node);
  }

  /** Grants what can be granted. Call it after adding or removing claims. */
  update(): void {
    const root = this.#root;
    if (root?.hasReady(Infinity, Infinity)) this.#letGoOn(root, Infinity, Infinity);
  }

  /** Grants in the subtree, given the earliest claims above. Visits only paths that lead to a claim to grant. */
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

  /** Recomputes the nodes above, up to the first that does not change. */
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

  /** Inserts a node of `level` above `node`, and below it a node for `block`. */
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

  /** Removes nodes without claims, except where two paths part. */
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
