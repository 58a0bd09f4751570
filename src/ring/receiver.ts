// Who is told what came of an operation, where it is not a promise of its own.

/** Called once, with one of the two. */
export interface Receiver {
  readonly resolve: (value: number | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** Stands for the promise of an operation whose receiver is told. */
export const TAKEN: Promise<never> = new Promise(() => {});
