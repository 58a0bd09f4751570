// What is read: a file, or a device made for the run.

export interface Target extends AsyncDisposable {
  readonly path: string;
}

/** Says why a target cannot be made here; its rows are then reported as skipped. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
}
