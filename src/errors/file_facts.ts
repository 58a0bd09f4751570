// What errors and hints need to know of an open file.

export interface FileFacts {
  readonly path: string | undefined;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly direct: boolean;
  /** Alignment mask: the bits of an offset or length that must be 0. */
  readonly ioMask: number;
  /** Size of a disk in bytes when it was opened; 0 for everything else. */
  readonly mediaBytes: number;
}
