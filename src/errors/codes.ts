// The codes of errors, for editors to complete.

/** Codes of the system, by the names that Node has for them. */
type SystemCode =
  | "EACCES"
  | "EBADF"
  | "EBUSY"
  | "EDQUOT"
  | "EEXIST"
  | "EFBIG"
  | "EILSEQ"
  | "EINVAL"
  | "EIO"
  | "EISDIR"
  | "ELOOP"
  | "EMFILE"
  | "ENAMETOOLONG"
  | "ENFILE"
  | "ENODATA"
  | "ENODEV"
  | "ENOENT"
  | "ENOMEDIUM"
  | "ENOMEM"
  | "ENOSPC"
  | "ENOTBLK"
  | "ENOTDIR"
  | "ENOTSUP"
  | "ENXIO"
  | "EPERM"
  | "EREMOTEIO"
  | "EROFS"
  | "ESPIPE"
  | "ETIMEDOUT"
  | "ETXTBSY";

/** Codes of this library (docs/errors.md). */
type OwnCode =
  | "ABORT_ERR"
  | "ERR_APPEND_MODE"
  | "ERR_BUFFER_DETACHED"
  | "ERR_COMPARE"
  | "ERR_COPY"
  | "ERR_DEVICE_GONE"
  | "ERR_END_OF_FILE"
  | "ERR_INTERNAL"
  | "ERR_MISALIGNED"
  | "ERR_OUTCOME_UNKNOWN"
  | "ERR_POOL_DISPOSED"
  | "ERR_RING_CLOSED"
  | "ERR_TIMEOUT"
  | "ERR_VERIFY"
  | "ERR_WRITE_ABORTED";

/**
 * The `code` of an `IoError`. Systems have more codes than those named here, so any string is allowed; the last
 * member keeps editors from reducing the union to `string`.
 */
export type IoErrorCode = SystemCode | OwnCode | (string & Record<never, never>);
