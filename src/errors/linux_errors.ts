// Errors of Linux that libuv, and so util.getSystemErrorMap(), does not know (include/uapi/asm-generic/errno.h): those
// that files and disks report.

/** The name and description of each number; the words of strerror(3). */
export const LINUX_ERRORS: ReadonlyMap<number, readonly [code: string, reason: string]> = new Map(
  process.platform === "linux"
    ? [
        [15, ["ENOTBLK", "block device required"]],
        [52, ["EBADE", "invalid exchange"]],
        [62, ["ETIME", "timer expired"]],
        [67, ["ENOLINK", "link has been severed"]],
        [74, ["EBADMSG", "bad message"]],
        [109, ["ETOOMANYREFS", "too many references: cannot splice"]],
        [116, ["ESTALE", "stale file handle"]],
        [117, ["EUCLEAN", "structure needs cleaning"]],
        [122, ["EDQUOT", "disk quota exceeded"]],
        [123, ["ENOMEDIUM", "no medium found"]],
        [124, ["EMEDIUMTYPE", "wrong medium type"]],
        [126, ["ENOKEY", "required key not available"]],
      ]
    : [],
);
