//! Types shared by the POSIX AIO lane and each system's AIO file (`freebsd_aio.zig`,
//! `linux_aio.zig`, the simulation, fault injection).

/// Operations of a control block. `readv` and `writev` only if `Limits.vectors` is set.
pub const Opcode = enum { read, write, readv, writev };

/// One transfer; with `length` 0 and no address, the descriptor and token of a sync.
pub const Request = struct {
    opcode: Opcode,
    fd: i32,
    /// The memory; for vectors an array of `Iovec`.
    address: u64,
    /// Bytes; for vectors the number of `Iovec`s.
    length: u64,
    offset: u64,
    /// Returned with the completion.
    token: u64,
};

/// The answer of aio_cancel(2). In each case the block still ends through `take` and `finish`.
pub const Cancel = enum {
    /// AIO_CANCELED: the block ends with ECANCELED.
    canceled,
    /// AIO_NOTCANCELED, AIO_ALLDONE or an error: the block ends as if it had not been cancelled.
    runs_on,
};

/// Limits, read when the lane starts and again when a list is too long.
pub const Limits = struct {
    /// Entries in one lio_listio; at least 1.
    list_max: u32,
    /// Bytes in one request to a disk (a file with an alignment); a multiple of a page.
    disk_bytes_max: u32,
    /// Buffers in one vectored request to a disk.
    disk_iovecs_max: u32,
    /// Whether the kernel has LIO_READV and LIO_WRITEV.
    vectors: bool,
    /// Whether aio_fsync may be used: it must refuse disks, whose caches it does not flush.
    syncs: bool,
    /// Whether aio_fsync supports O_DSYNC; else a data sync is a full sync.
    data_sync: bool,
};
