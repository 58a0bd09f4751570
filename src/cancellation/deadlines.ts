// The deadlines of this thread: a binary heap with one timer.

import { now, Timer } from "../native/clock.ts";

export interface Due {
  /** On the clock of clock.ts, in milliseconds. */
  readonly deadline: number;
  /** Index in the heap; kept by `Deadlines`. */
  place: number;
  /** Called when the deadline has passed; must remove itself. */
  expire(): void;
}

export class Deadlines {
  /** Binary heap, earliest deadline first. */
  readonly #heap: Due[] = [];
  #timer: Timer | undefined;
  #timerAt = Infinity;

  add(due: Due): void {
    this.#rise(due, this.#heap.length);
    this.#setTimer();
  }

  remove(due: Due): void {
    const { place } = due;
    const last = this.#heap.pop();
    if (last !== undefined && last !== due) {
      this.#rise(last, place);
      this.#sink(last, last.place);
    }
  }

  #put(due: Due, at: number): void {
    this.#heap[at] = due;
    due.place = at;
  }

  #rise(due: Due, from: number): void {
    let at = from;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = this.#heap[up] as Due;
      if (parent.deadline <= due.deadline) break;
      this.#put(parent, at);
      at = up;
    }
    this.#put(due, at);
  }

  #sink(due: Due, from: number): void {
    const heap = this.#heap;
    let at = from;
    while (2 * at + 1 < heap.length) {
      const right = heap[2 * at + 2];
      let child = heap[2 * at + 1] as Due;
      if (right !== undefined && right.deadline < child.deadline) child = right;
      if (child.deadline >= due.deadline) break;
      const { place } = child;
      this.#put(child, at);
      at = place;
    }
    this.#put(due, at);
  }

  /**
   * A timer that only ever moves earlier, and may find nothing to do. It does not keep the process alive: operations
   * do.
   */
  #setTimer(): void {
    const at = this.#heap[0]?.deadline ?? Infinity;
    if (at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = new Timer(at - now(), this.#expire);
  }

  readonly #expire = (): void => {
    this.#timerAt = Infinity;
    const time = now();
    for (let due = this.#heap[0]; due !== undefined && due.deadline <= time; due = this.#heap[0]) {
      due.expire();
    }
    this.#setTimer();
  };
}
