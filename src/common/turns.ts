// Spreads long runs of work over turns of the event loop, so that thousands of operations that start or end at once
// do not block the JavaScript thread (README, promise 9).

import { setImmediate } from "./intrinsics.ts";

/** Items per turn of the event loop: a few milliseconds if each makes an error or starts a write. */
const PER_TURN = 128;

/** Calls a function for each item, in order: at once, until too many have come in this turn. */
export class Turns<T> {
  readonly #each: (item: T) => void;
  #items: T[] = [];
  #next = 0;
  #left = PER_TURN;
  #isScheduled = false;

  constructor(each: (item: T) => void) {
    this.#each = each;
  }

  add(item: T): void {
    this.#items.push(item);
    this.#run();
  }

  #run(): void {
    while (this.#left > 0 && this.#next < this.#items.length) {
      this.#left--;
      this.#each(this.#items[this.#next++] as T);
    }
    if (this.#next === this.#items.length) {
      this.#items = [];
      this.#next = 0;
    }
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#left = PER_TURN;
      if (this.#items.length > 0) this.#run();
    });
  }
}
