// Whether the ring looks for completions by itself, once in each turn of the event loop, for some microseconds
// before it sleeps until the wake descriptor rings. A device that answers within 50 us has answered long
// before the event loop hears of a ring (wake.ts), and hearing costs about as much processor time as looking.
// Nothing is blocked: timers, sockets and microtasks have their turns meanwhile.
//
// It pays only if answers come while we look. So the last waits decide, as with the adaptive halt polling
// of KVM (Documentation/virt/kvm/halt-polling.rst).

/** Operations in flight up to which we look: with more of them a ring has several to tell of. */
const HELD_MAX = 8;
/** Looks that paid, as far as they are kept. */
const CREDIT_MAX = 8;
const PENALTY_MIN = 2;
const PENALTY_MAX = 64;
/** From a ring to the drain it causes, in ms: bench/wake.ts. */
const WAKE_MS = 0.025;

/** Times are of the ring's clock, in ms. */
export class Polling {
  /** How long to look since something was handed over or came back; 0: never. */
  readonly #ms: number;
  /** Looking pays while it is not negative. */
  #credit = 0;
  #penalty = PENALTY_MIN;
  #since = 0;

  constructor(microseconds: number) {
    this.#ms = microseconds / 1000;
  }

  /** Whether to look for `held` operations. */
  wants(held: number): boolean {
    return held <= HELD_MAX && this.#credit >= 0 && this.#ms > 0;
  }

  /** Operations were handed over. */
  started(now: number): void {
    this.#since = now;
  }

  /** Whether this look would be the last one. */
  isOver(now: number): boolean {
    return now - this.#since >= this.#ms;
  }

  /** A look found something. */
  found(now: number): void {
    this.#since = now;
    this.#penalty = PENALTY_MIN;
    if (this.#credit < CREDIT_MAX) this.#credit++;
  }

  /** The last look found nothing. */
  failed(): void {
    this.#credit -= this.#penalty;
    this.#penalty = Math.min(this.#penalty * 2, PENALTY_MAX);
  }

  /** The wake descriptor told of something: would a look have found it? */
  rang(now: number): void {
    if (now - this.#since <= this.#ms + WAKE_MS && this.#credit < CREDIT_MAX) this.#credit++;
    this.#since = now;
  }
}
