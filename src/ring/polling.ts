// Polls for completions once per event-loop turn for a few microseconds before sleeping on the wake descriptor. A
// device that answers within 50 us has answered long before the event loop reports the descriptor (wake.ts), and
// that report costs about as much processor time as the polling. Nothing is blocked: timers, sockets and microtasks
// run between polls.
//
// Polling pays only if completions arrive while it lasts. Recent waits decide, as in the adaptive halt polling of
// KVM (Documentation/virt/kvm/halt-polling.rst).

/** Operations in flight up to which the ring polls: with more, each wake-up reports several. */
const HELD_MAX = 8;
/** Upper limit of `#credit`. */
const CREDIT_MAX = 8;
const PENALTY_MIN = 2;
const PENALTY_MAX = 64;
/** From the ring of the wake descriptor to the drain, in ms (bench/programs/wake.ts). */
const WAKE_MS = 0.025;

/** Called before and after every native call. Times are on the ring's clock, in ms. */
export class Polling {
  /** How long to poll after operations were handed over or came back, in ms; 0: never. */
  readonly #ms: number;
  /** Polling continues while this is not negative. */
  #credit = 0;
  #penalty = PENALTY_MIN;
  #since = 0;
  /** Whether the last call announced another one, which is then a poll. */
  #promised = false;
  #polls = false;
  #isLast = false;

  constructor(microseconds: number) {
    this.#ms = microseconds / 1000;
  }

  /**
   * Before a call that hands `count` operations over and leaves `held` in flight; `rang`: the wake descriptor
   * caused it. Returns whether to announce a poll in the next turn to the native side.
   */
  begin(now: number, count: number, held: number, rang: boolean): boolean {
    this.#polls = this.#promised;
    this.#isLast = count === 0 && !rang && now - this.#since >= this.#ms;
    this.#promised = !this.#isLast && held <= HELD_MAX && this.#credit >= 0 && this.#ms > 0;
    return this.#promised;
  }

  /** After the call: how many operations it settled. */
  end(now: number, count: number, settled: number, rang: boolean): void {
    if (count > 0) {
      this.#since = now;
    } else if (settled > 0) {
      // A completion that the descriptor reported in time would have been found by polling.
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
