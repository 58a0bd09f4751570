// The callbacks to run when a scope is cancelled: of operations in flight, waits outside of the kernel, streams and
// copies. Each signal gets one listener, and all deadlines share one timer; both are removed with the last callback.

import { listen, unlisten } from "../common/intrinsics.ts";
import { Turns } from "../common/turns.ts";
import { Deadlines, type Due } from "./deadlines.ts";
import { abortedBy, type CancelReason, type CancelScope, TIMED_OUT } from "./scope.ts";

/** The registrations of one signal, and its listener. */
interface Audience {
  readonly members: Set<Registration>;
  readonly listener: () => void;
}

/** Weak: a signal that can no longer be aborted is collected, with everything that waits for it. */
const audiences = new WeakMap<AbortSignal, Audience>();
const deadlines = new Deadlines();

/** A callback that runs at most once, until `end`. */
export class Registration implements Due {
  readonly scope: CancelScope;
  readonly deadline: number;
  place = -1;
  /** Why it was called; undefined before. */
  reason: CancelReason | undefined;
  readonly #told: (reason: CancelReason) => void;
  #isOver = false;

  constructor(scope: CancelScope, told: (reason: CancelReason) => void) {
    this.scope = scope;
    this.deadline = scope.deadline;
    this.#told = told;
    if (scope.signal !== undefined) join(scope.signal, this);
    if (this.deadline !== Infinity) deadlines.add(this);
  }

  tell(reason: CancelReason): void {
    if (this.#isOver) return;
    this.end();
    this.reason = reason;
    this.#told(reason);
  }

  expire(): void {
    this.tell(TIMED_OUT);
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.scope.signal !== undefined) leave(this.scope.signal, this);
    if (this.deadline !== Infinity) deadlines.remove(this);
  }
}

function join(signal: AbortSignal, member: Registration): void {
  const audience = audiences.get(signal);
  if (audience !== undefined) {
    audience.members.add(member);
    return;
  }
  const members = new Set([member]);
  const listener = (): void => {
    const reason = abortedBy(signal);
    for (const each of [...members]) each.tell(reason);
  };
  audiences.set(signal, { members, listener });
  listen(signal, listener);
}

function leave(signal: AbortSignal, member: Registration): void {
  const audience = audiences.get(signal);
  if (audience?.members.delete(member) !== true || audience.members.size > 0) return;
  audiences.delete(signal);
  unlisten(signal, audience.listener);
}

/**
 * Calls `told` when the scope is cancelled, unless `end` was called. Does nothing if it is cancelled already: check
 * `scope.reason`.
 */
export function onCancel(scope: CancelScope, told: (reason: CancelReason) => void): Registration {
  return new Registration(scope, told);
}

/** Spread over turns: a thousand waits cancelled at once make a thousand errors. */
const endings = new Turns<() => void>((end) => end());

/**
 * Waits for `work` to settle or the scope to be cancelled, and returns the reason in the latter case. For waits
 * outside of the kernel; `work` itself goes on.
 */
export function waitWithin(
  work: Promise<unknown>,
  scope: CancelScope | undefined,
): Promise<CancelReason | undefined> {
  const settled = work.then(nothing, nothing);
  if (scope === undefined) return settled;
  const { reason } = scope;
  if (reason !== undefined) return Promise.resolve(reason);
  return new Promise((resolve) => {
    const registration = onCancel(scope, (reason) => endings.add(() => resolve(reason)));
    void settled.then(() => {
      registration.end();
      resolve(undefined);
    });
  });
}

function nothing(): undefined {}
