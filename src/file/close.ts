// The lifetime of an open file. Operations of several parts hold it open, `close` waits for all of them, and a
// `File` that is collected unclosed is closed here.

import fs from "node:fs";
import { errnoOf } from "../errors/io_error.ts";
import { statusError, wholeFile } from "../errors/status.ts";
import * as abi from "../native/abi.gen.ts";
import type { FileState } from "../ring/file_state.ts";
import type { Proactor } from "../ring/proactor.ts";

/** Syncs called from now on wait for `running`. */
export function holdSyncs(state: FileState, running: Promise<unknown>): void {
  state.longWrites.add(running);
  const over = (): void => {
    state.longWrites.delete(running);
  };
  running.then(over, over);
}

/** Waits for the operations of a file, then closes its descriptor if it is owned. */
export async function closeState(proactor: Proactor, state: FileState): Promise<void> {
  state.closing = true;
  if (state.inFlight > 0) {
    await new Promise<void>((resolve) => {
      state.onIdle = resolve;
    });
  }
  // From here on the number may belong to another file: proactor.ts starts nothing on it any more.
  state.closed = true;
  state.lock.leave();
  try {
    if (state.ownsFd) await closeFd(proactor, state);
  } finally {
    proactor.fileTable.give(state.index);
  }
}

async function closeFd(proactor: Proactor, state: FileState): Promise<void> {
  const kind = abi.Kind.close;
  // A simulated descriptor is unknown to the system.
  if (proactor.closing && proactor.backend === abi.Backend.simulated) return;
  if (!proactor.closing) {
    const { status, errno, error } = await proactor.start({ kind, fd: state.fd, file: state });
    if (status === abi.Status.ok) return;
    if (error === undefined) throw statusError(status, errno, wholeFile(kind, state));
    // The ring was lost before it could be done.
  }
  // It must not close this number again when it is collected.
  proactor.forgetFile(state.index);
  const errno = await closeWithoutRing(state.fd);
  if (errno !== 0) throw statusError(abi.Status.failed, errno, wholeFile(kind, state));
}

/** Returns the system error number; 0 for success. */
function closeWithoutRing(fd: number): Promise<number> {
  return new Promise((resolve) => {
    fs.close(fd, (error) => {
      const failed = error !== null && error !== undefined;
      resolve(failed ? Math.abs(error.errno ?? errnoOf("EIO")) : 0);
    });
  });
}

/** Closes the descriptors of collected files, once their operations have settled. */
export const collected: FinalizationRegistry<{ state: FileState; proactor: Proactor }> =
  new FinalizationRegistry<{ state: FileState; proactor: Proactor }>(({ state, proactor }) => {
    if (!warned && state.ownsFd) {
      warned = true;
      process.emitWarning(
        `A File (${state.path ?? `fd ${state.fd}`}) was garbage collected without close(). ` +
          "Its descriptor is closed now; use `await using` or call close().",
        { code: "BUN_AIO_UNCLOSED_FILE" },
      );
    }
    closeState(proactor, state).catch(() => {
      // No caller is left to report it to.
    });
  });
let warned = false;
