// Exit codes, and the errors that carry one. Every --help prints the table.

export const Exit = {
  done: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  differs: 4,
  interrupted: 130,
  terminated: 143,
  hungUp: 129,
} as const;

export const EXIT_TABLE = `Exit codes:
  0    done (verify: the contents are the same)
  1    an operation failed; the message names it
  2    wrong usage; nothing was done
  3    refused, or the answer was no; nothing was written
  4    the contents differ
  130  stopped by Ctrl-C (143 by SIGTERM, 129 by SIGHUP)`;

/** Ends the command with an exit code and a message instead of a stack trace. */
export class Stop extends Error {
  override name = "Stop";

  constructor(
    readonly code: number,
    message: string,
    readonly hint?: string | undefined,
  ) {
    super(message);
  }
}

export function usage(message: string, hint?: string): Stop {
  return new Stop(Exit.usage, message, hint);
}

export function refused(message: string, hint?: string): Stop {
  return new Stop(Exit.refused, message, hint);
}

export function failure(message: string, hint?: string): Stop {
  return new Stop(Exit.failed, message, hint);
}
