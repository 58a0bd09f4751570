// How long a file lives: operations of several parts hold it open, `close` waits for all of them, and a
// file that was collected unclosed is closed here.

import fs from "node:fs";
import type { Core } from "./core.ts";
import { statusError } from "./failures.ts";
import type { FileState } from "./file_state.ts";
import * as abi from "./native/abi.gen.ts";

/** Syncs called from now on wait for `running`. */
export function holdSyncs(state: FileState, running: Promise<unknown>): void {
  state.longWrites.add(running);
  const over = (): void => {
    state.longWrites.delete(running);
  };
  running.then(over, over);
}

/** Waits for the operations of a file, then closes its descriptor if it is ours. */
export async function closeState(core: Core, state: FileState): Promise<void> {
  state.closing = true;
  if (state.inFlight > 0) {
    await new Promise<void>((resolve) => {
      state.onIdle = resolve;
    });
  }
  // From here on the number may be another file's: core.ts starts nothing on it any more.
  state.closed = true;
  state.lock.leave();
  try {
    if (state.ownsFd) await closeFd(core, state);
  } finally {
    core.fileIndexes.give(state.index);
  }
}

async function closeFd(core: Core, state: FileState): Promise<void> {
  const kind = abi.Kind.close;
  // A simulated descriptor means nothing to the system.
  if (core.closing && core.backend === abi.Backend.simulated) return;
  if (core.closing) {
    // The ring is gone; it must not close this number again when it is collected.
    core.forgetFile(state.index);
    return new Promise((resolve, reject) => {
      fs.close(state.fd, (error) =>
        error === null || error === undefined ? resolve() : reject(error),
      );
    });
  }
  const outcome = await core.start({ kind, fd: state.fd, file: state });
  if (outcome.status === abi.Status.ok) return;
  throw statusError(outcome.status, outcome.errno, {
    kind,
    file: state,
    syscall: "close",
    path: state.path,
    offset: undefined,
    length: undefined,
    transferred: undefined,
  });
}

/** Files that nobody closed: their descriptors are, once their operations have settled. */
export const collected: FinalizationRegistry<{ state: FileState; core: Core }> =
  new FinalizationRegistry<{ state: FileState; core: Core }>(({ state, core }) => {
    if (!warned && state.ownsFd) {
      warned = true;
      process.emitWarning(
        `A File (${state.path ?? `fd ${state.fd}`}) was garbage collected without close(). ` +
          "Its descriptor is closed now; use `await using` or call close().",
        { code: "BUN_AIO_UNCLOSED_FILE" },
      );
    }
    closeState(core, state).catch(() => {
      // Nobody is left to hear of it.
    });
  });
let warned = false;
