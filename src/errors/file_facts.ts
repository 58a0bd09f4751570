// What errors and hints need to know of an open file.

export interface FileFacts {
  readonly path: string | undefined;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly direct: boolean;
  /** Low bits of an offset or length that the kernel wants to be 0. */
  readonly ioMask: number;
  /** Of a disk, when it was opened; 0 for everything else. */
  readonly mediaBytes: number;
}
