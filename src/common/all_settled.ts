// Work done at once, of which no part may go on after the whole has failed.

/** Waits for all of them; rejects with the first that did. */
export async function allSettled(running: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(running)) {
    if (result.status === "rejected") throw result.reason;
  }
}
