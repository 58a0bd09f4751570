// The frame of every child: the job comes in, one line with the sample goes out.

import { type Job, parseJob, type Sample } from "../job.ts";

export async function runChild(measure: (job: Job) => Promise<Sample>): Promise<void> {
  try {
    const sample = await measure(parseJob(process.argv[2]));
    console.log(JSON.stringify(sample));
  } catch (error) {
    console.error(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
    // At once: the other loops would go on reading.
    process.exit(1);
  }
}

/** Runs `depth` loops at once and waits for all. */
export async function runLoops(
  depth: number,
  loop: (index: number) => Promise<void>,
): Promise<void> {
  await Promise.all(Array.from({ length: depth }, (_, index) => loop(index)));
}
