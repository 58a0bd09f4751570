// How far the copy to one target is, and how long its parts took.

import type { CopyProgress } from "../file/progress.ts";

type Phase = CopyProgress["phase"];

export class Stage {
  readonly started: number = performance.now();
  #phase: Phase = "copy";
  /** When the copy, and the last of all, were heard of. */
  #copiedAt: number = this.started;
  #endedAt: number = this.started;

  get phase(): Phase {
    return this.#phase;
  }

  /** It was heard of, in this phase. */
  reached(phase: Phase): void {
    this.#phase = phase;
    this.#endedAt = performance.now();
    if (phase === "copy") this.#copiedAt = this.#endedAt;
  }

  /** With the sync. */
  get copyMs(): number {
    return this.#copiedAt - this.started;
  }

  get verifyMs(): number {
    return this.#endedAt - this.#copiedAt;
  }
}
