// Polls for completions once per event-loop turn for a few microseconds before sleeping on the wake descriptor. A
// device that answers within 50 us has answered long before the event loop reports the descriptor (wake.ts), and
// that report costs about as much processor time as the polling. Nothing is blocked: timers, sockets and microtasks
// run between polls.
//
// Polling pays only if completions arrive while it lasts. Recent waits decide, as in the adaptive halt polling of
// KVM (Documentation/virt/kvm/halt-polling.rst).

/** Operations in flight up to which we look: with more of them a ring has several to tell of. */
const HELD_MAX = 8;
/** Looks that paid, as far as they are kept. */
const CREDIT_MAX = 8;
const PENALTY_MIN = 2;
const PENALTY_MAX = 64;
/** From a ring to the drain it causes, in ms: bench/programs/wake.ts. */
const WAKE_MS = 0.025;

/** Told of every native call, before and after. Times are of the ring's clock, in ms. */
export class Polling {
  /** How long to look since something was handed over or came back; 0: never. */
  readonly #ms: number;
  /** Looking pays while it is not negative. */
  #credit = 0;
  #penalty = PENALTY_MIN;
  #since = 0;
  /** Whether the last call was promised another one, which then is a look. */
  #promised = false;
  #polls = false;
  #isLast = false;

  constructor(microseconds: number) {
    this.#ms = microseconds / 1000;
  }

  /**
   * Before a call that hands `count` operations over and leaves `held`, `rang` if the wake descriptor caused it:
   * whether to promise the native side a look in the next turn.
   */
  begin(now: number, count: number, held: number, rang: boolean): boolean {
    this.#polls = this.#promised;
    this.#isLast = count === 0 && !rang && now - this.#since >= this.#ms;
    this.#promised = !this.#isLast && held <= HELD_MAX && this.#credit >= 0 && this.#ms > 0;
    return this.#promised;
  }

  /** There is nothing to look for any more. */
  rest(): void {
    this.#promised = false;
  }

  /** After it: what it settled. */
  end(now: number, count: number, settled: number, rang: boolean): void {
    if (count > 0) {
      this.#since = now;
    } else if (settled > 0) {
      // What the descriptor told of in time, a look would have found.
      const paid = rang ? now - this.#since <= this.#ms + WAKE_MS : this.#polls;
      if (paid && this.#credit < CREDIT_MAX) this.#credit++;
      if (paid && !rang) this.#penalty = PENALTY_MIN;
      this.#since = now;
    } else if (this.#polls && this.#isLast) {
      this.#credit -= this.#penalty;
      this.#penalty = Math.min(this.#penalty * 2, PENALTY_MAX);
    }
  }
}
