// A contestant measures one job once, in a process of its own.

import type { Job, Sample } from "../job.ts";

export interface Contestant {
  readonly name: string;
  /** Gets ready; the reason where it cannot run on this machine. Called once, before the rounds. */
  prepare(): Promise<string | undefined>;
  measure(job: Job): Promise<Sample>;
}
