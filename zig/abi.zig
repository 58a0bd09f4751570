//! Everything that crosses the C ABI: structs, enums and limits. `gen_abi.zig` generates
//! `src/native/abi.gen.ts` from this file and the signatures of `api.zig`. A hash over both is
//! compared when the library is loaded. Structs are `extern`, little endian and without implicit
//! padding, so that JavaScript can read and write them through typed arrays.

const std = @import("std");
const assert = std.debug.assert;

/// Default limit of operations in the kernel at once.
pub const queue_depth_default = 128;
/// Upper limit for the queue depth, which bounds the fixed tables. The limit of io_uring is 32768
/// entries (io_uring_setup(2)).
pub const queue_depth_max = 4096;
/// Limit of bytes in the kernel at once, so that one huge request does not starve small ones.
pub const window_bytes_default = 8 * 1024 * 1024;
/// The largest single request to the kernel, in bytes. Larger transfers are continued piece by
/// piece. Far below the limits of read(2) (0x7ffff000 bytes) and of an aiocb.
pub const piece_bytes_max = 2 * 1024 * 1024;
/// Buffers in one vectored request: IOV_MAX of Linux, FreeBSD and macOS (writev(2)).
pub const iovecs_max = 1024;
/// Limit of files on one ring.
pub const files_max = 65536;
/// The index that means "no file".
pub const file_none: u32 = 0xffff_ffff;
/// Bounce memory of a ring in bytes, for foreign views, paths and structs.
pub const bounce_bytes = 8 * 1024 * 1024;
/// Reserve after it, for requests of the library (paths, structs, iovecs), for when data takes
/// all of the rest.
pub const bounce_reserve_bytes = bounce_block_bytes_max;
/// Smallest and largest block of the bounce memory, in bytes.
pub const bounce_block_bytes_min = 4096;
pub const bounce_block_bytes_max = 1024 * 1024;
/// Limit of chunks of one slab that a ring registers with its kernel (registered buffers of
/// io_uring).
pub const registered_chunks_max = 64;
/// Operations beyond the queue depth that the native side holds ready: a completion can be
/// followed by the next submission without a call from JavaScript.
pub const operations_ready = 128;
/// How long teardown waits for the kernel, in ms, before it leaks memory that the kernel may
/// still write.
pub const teardown_ms_max = 1000;
/// How long a kernel may refuse to report completions, in ms, before the ring is lost.
pub const unresponsive_ms_max = 1000;

pub const Backend = enum(u32) {
    automatic = 0,
    io_uring = 1,
    posix_aio = 2,
    threads = 3,
    simulated = 4,
};

/// Kinds of operations.
pub const Kind = enum(u32) {
    read = 0,
    write = 1,
    readv = 2,
    writev = 3,
    sync_all = 4,
    sync_data = 5,
    /// `address`: a NUL-terminated path in bounce memory, overwritten by `FileInfo`. `fd`: the
    /// directory that a relative path is resolved against, or -1. After a refusal with EPERM
    /// `detail` holds bits of `Refusal`.
    open = 6,
    close = 7,
    /// `address`: room for `FileInfo`.
    stat = 8,
    truncate = 9,
    allocate = 10,
    invalidate_cache = 11,
    /// `address`: room for `FileInfo`. Reports what `open` does, for an existing descriptor.
    probe = 12,
    /// `address`: room for `Geometry`.
    geometry = 13,
    discard = 14,
    write_zeroes = 15,
    reread_partitions = 16,
    /// `fd`: a regular file to attach as a block device, `argument`: its sector size, `address`:
    /// room for `ImageInfo`. For tests; the device disappears when its last descriptor is closed.
    attach_image = 17,
    /// Simulated devices only: `argument` is a `DeviceCommand`.
    device_command = 18,
    /// Linux only: the backing of the loop device numbered `argument`; `address`: room for
    /// `LoopStatus`.
    loop_status = 19,
    /// Where a regular file has data, from `offset` over `length` bytes. `address`: room for
    /// `DataRanges`, `argument`: 1 if others may use the offset of the descriptor, which then must
    /// not move even for a moment.
    data_ranges = 20,
    /// Takes a file system off. `address`: the NUL-terminated path it is mounted at, `argument`: the
    /// number of the mount (proc_pid_mountinfo(5)), where the system numbers them.
    unmount = 21,
    /// Copies `length` bytes of a regular file to `offset` of another one, inside the kernel.
    /// `address`: a `RangeCopy`, `argument`: a `CopyMethod`. Ends early, without an error, at the
    /// end of the source, and where something was copied before an error.
    copy_range = 22,
};

/// How a range is copied by the kernel.
pub const CopyMethod = enum(u32) {
    /// Both files share the blocks from then on: all of the range, or nothing.
    reflink = 0,
    copy_file_range = 1,
};

/// The source of `copy_range`, and its answer.
pub const RangeCopy = extern struct {
    source_offset: u64,
    /// Bytes, contiguous from the start of the range.
    copied: u64,
    source_fd: i32,
    reserved: u32,
};

/// Commands of a simulated device, beside the operations of every device. Executed in the order
/// of submission, before anything submitted later.
pub const DeviceCommand = enum(u32) {
    /// `address`: a `FaultRule`.
    add_rule = 0,
    /// `mode`: the place of the rule.
    remove_rule = 1,
    /// Cuts the power; `detail` is 1 if it was off already.
    crash = 2,
    /// Copies what was ever written from `offset` on to `address`, also without power: an
    /// `ImageRange` and its bytes, then the next, as far as `length` bytes reach. `detail`: bytes
    /// used; 0 at the end.
    read_image = 3,
    /// The reverse: loads the `length` bytes at `address` as initial contents.
    write_image = 4,
    /// `detail` is 1 when the device is gone.
    ask_gone = 5,
};

pub const FaultOperation = enum(u32) { read = 0, write = 1, sync = 2, discard = 3, any = 4 };

pub const FaultFlag = struct {
    /// `short` is set.
    pub const short: u32 = 1 << 0;
    /// `torn` is set.
    pub const torn: u32 = 1 << 1;
    pub const unplug: u32 = 1 << 2;
    pub const crash: u32 = 1 << 3;
    pub const hang: u32 = 1 << 4;
};

/// Limit of rules of a simulated device.
pub const fault_rules_max = 64;

/// One rule of a fault plan (`device/faults.zig`).
pub const FaultRule = extern struct {
    /// Index of the rule, below `fault_rules_max`.
    place: u32,
    operation: u32,
    offset: f64,
    /// 0: the whole device.
    length: f64,
    nth: u32,
    every: u32,
    /// In 1/65536; 0: always.
    probability: u32,
    times: u32,
    /// 0: no failure. EAGAIN and EINTR are refused: the engine would retry them for ever.
    errno: i32,
    flags: u32,
    short: f64,
    torn: f64,
    latency_ms: f64,
};

/// Precedes its bytes in `DeviceCommand.read_image` and `write_image`, at any address.
pub const ImageRange = extern struct {
    offset: f64,
    length: f64,
};

/// Bits of `RingOptions.device_flags`.
pub const DeviceFlag = struct {
    /// Unaligned requests are refused with EINVAL, as with O_DIRECT.
    pub const strict: u32 = 1 << 0;
    /// Sectors that were never written are read from `device_base_fd`.
    pub const overlay: u32 = 1 << 1;
    /// A write is on the medium when it completes.
    pub const dsync: u32 = 1 << 2;
};

/// Bits of `Submission.flags`.
pub const SubmissionFlag = struct {
    /// The descriptor bypasses the page cache (or is a device with whole sectors): lengths are
    /// multiples of the alignment.
    pub const aligned: u32 = 1 << 0;
    /// A regular file or disk in the page cache: cached data can be read without waiting.
    pub const cached: u32 = 1 << 1;
    /// `FileInfo.waits`.
    pub const waits: u32 = 1 << 2;
    /// log2 of the alignment in bytes, when `aligned` is set.
    pub const alignment_shift: u5 = 8;
    pub const alignment_mask: u32 = 0xff << 8;
};

/// Bits of `Submission.argument` for `open`.
pub const OpenFlag = struct {
    pub const read: u32 = 1 << 0;
    pub const write: u32 = 1 << 1;
    pub const create: u32 = 1 << 2;
    pub const create_new: u32 = 1 << 3;
    pub const truncate: u32 = 1 << 4;
    pub const direct: u32 = 1 << 5;
    pub const dsync: u32 = 1 << 6;
    /// O_EXCL without O_CREAT: on a Linux block device, EBUSY while it is mounted or held (open(2)).
    pub const exclusive: u32 = 1 << 7;
};

/// Bits of `Completion.detail` of an `open` that was refused with EPERM.
pub const Refusal = struct {
    /// The file is immutable (chattr +i, chflags schg), ...
    pub const immutable: u32 = 1 << 0;
    /// ... or append-only (chattr +a, chflags sappnd), ...
    pub const append_only: u32 = 1 << 1;
    /// ... or sealed by fs-verity.
    pub const verity: u32 = 1 << 2;
    /// The file does not exist: the other bits are of its directory.
    pub const directory: u32 = 1 << 3;
};

/// One operation, written by JavaScript, read by native code during `ba_flush`.
pub const Submission = extern struct {
    slot: u32,
    generation: u32,
    kind: u32,
    flags: u32,
    /// Index into the ring's table of files, which orders syncs; `file_none` for no file.
    file: u32,
    fd: i32,
    offset: u64,
    /// Memory that stays valid until the completion: of a slab, or bounce memory of the ring.
    address: f64,
    /// Bytes; for `allocate`, `discard` and `write_zeroes` the length of the range.
    length: f64,
    /// Address of the slab's header, or 0 for bounce memory. Vectors list their slabs after the
    /// iovecs.
    slab: f64,
    /// `readv`/`writev`: the number of buffers; `open`: `OpenFlag`.
    argument: u32,
    /// `open`: permission bits for a new file.
    mode: u32,
};

/// The outcome of an operation. The errno of the system stands beside it.
pub const Status = enum(i32) {
    ok = 0,
    /// `errno` holds the reason.
    failed = 1,
    /// Cancelled on request, `transferred` bytes are done.
    canceled = 2,
    /// The row breaks the rules of `Submission`.
    invalid = 3,
    /// A write made no progress although the kernel reported success.
    no_progress = 4,
    /// The ring is lost: the kernel refuses, with `errno`, to report the outcome, and may use the
    /// memory for ever.
    outcome_unknown = 5,
};

pub const Completion = extern struct {
    slot: u32,
    generation: u32,
    status: i32,
    errno: i32,
    /// Bytes transferred, also on failure.
    transferred: f64,
    /// `discard`, `write_zeroes`: the `Method` used; `open`: `Refusal`.
    detail: f64,
};

/// How a range was discarded or zeroed.
pub const Method = enum(u32) {
    none = 0,
    discard = 1,
    zeroout = 2,
    punch = 3,
    /// The system has no call for this file: the caller must write zeroes.
    unsupported = 4,
};

/// Kinds of files.
pub const FileKind = enum(u32) { regular = 0, disk = 1, character = 2, other = 3 };

/// The answer to `open`, `probe` and `stat`. Numbers are f64 as in JavaScript, except those that
/// identify a file: they may be above 2^53.
pub const FileInfo = extern struct {
    fd: i32,
    kind: u32,
    /// 1 if nothing is required.
    memory_alignment: u32,
    offset_alignment: u32,
    /// Whether reads and writes bypass the page cache (O_DIRECT).
    direct: u32,
    readable: u32,
    writable: u32,
    mode: u32,
    /// Whether writes go to the end whatever their offset (O_APPEND).
    append: u32,
    /// Whether a submission may wait for the server of the file even if told not to (FUSE).
    waits: u32,
    /// Bytes, for devices too.
    size: f64,
    dev: u64,
    ino: u64,
    rdev: u64,
    /// Tells apart files that had the same device and inode, or disks with the same number, in
    /// succession: the birth time of a file in nanoseconds or its generation, and the sequence
    /// number of a disk. 0 if the system does not tell.
    instance: u64,
    nlink: f64,
    uid: f64,
    gid: f64,
    blksize: f64,
    blocks: f64,
    atime_ms: f64,
    mtime_ms: f64,
    ctime_ms: f64,
    birthtime_ms: f64,
};

/// The answer to `geometry`; -1 where the system does not tell.
pub const Geometry = extern struct {
    size: f64,
    logical_sector_size: f64 = -1,
    physical_sector_size: f64 = -1,
    minimum_io_size: f64 = -1,
    optimal_io_size: f64 = -1,
    maximum_transfer_size: f64 = -1,
    alignment_offset: f64 = -1,
    rotational: f64 = -1,
    read_only: f64 = -1,
    /// Device number, to find it in sysfs.
    major: f64 = -1,
    minor: f64 = -1,
    model: [64]u8 = @splat(0),
    serial: [64]u8 = @splat(0),
};

/// The answer to `attach_image`.
pub const ImageInfo = extern struct {
    /// A descriptor that keeps the device until another one is open.
    fd: i32,
    /// N of /dev/loopN.
    number: u32,
};

/// The answer to `loop_status`. The numbers are exact: an inode may be above 2^53.
pub const LoopStatus = extern struct {
    /// Device number of the file system that the file is on, as stat(2) encodes it.
    device: u64,
    inode: u64,
    /// Device number of a block device behind it; 0 for a file.
    rdevice: u64,
    /// Offset in the file at which the device begins.
    offset: u64,
};

/// Ranges in one answer.
pub const data_ranges_max = 250;

/// A range of a file in bytes, up to but without `end`.
pub const DataRange = extern struct {
    start: u64,
    end: u64,
};

/// The answer to `data_ranges`: in order, adjacent ones joined.
pub const DataRanges = extern struct {
    /// Where the answer ends; the end of the range asked for, unless there are more than fit.
    next: u64 = 0,
    count: u64 = 0,
    ranges: [data_ranges_max]DataRange = undefined,
};

/// Latency histograms: log-linear, `histogram_steps` buckets per power of two of nanoseconds.
pub const histogram_kinds = 4;
pub const histogram_steps_log2 = 3;
pub const histogram_buckets = 40 << histogram_steps_log2;

/// Counters; they only grow, except where noted.
pub const Stats = extern struct {
    flushes: u64 = 0,
    drains: u64 = 0,
    polls: u64 = 0,
    /// io_uring_enter, lio_listio and other calls of AIO, kevent for reaping, and one for each
    /// operation of a pool thread.
    system_calls: u64 = 0,
    /// io_uring_enter or lio_listio calls that submitted something.
    submit_calls: u64 = 0,
    /// Operations submitted again because the kernel had no room.
    resubmissions: u64 = 0,
    /// Submissions of the rest of a short or split transfer.
    continuations: u64 = 0,
    /// Operations that the kernel lane refused and the pool served.
    fallbacks: u64 = 0,
    /// Completions available when the call that submitted them returned.
    inline_completions: u64 = 0,
    completions: u64 = 0,
    cancel_requests: u64 = 0,
    canceled: u64 = 0,
    failures: u64 = 0,
    reads: u64 = 0,
    writes: u64 = 0,
    syncs: u64 = 0,
    others: u64 = 0,
    bytes_read: u64 = 0,
    bytes_written: u64 = 0,
    /// Times the wake descriptor was rung by a pool or waiter thread.
    wakes: u64 = 0,
    /// Events that matched no running operation.
    stale_events: u64 = 0,
    /// The most operations in the kernel at once.
    in_kernel_peak: u64 = 0,
};

/// The head of the memory that JavaScript and native code share.
pub const Control = extern struct {
    /// Operations held natively: queued, held behind writes, or in the kernel.
    operations: u32 = 0,
    /// Of these, those in the kernel or with the pool.
    in_kernel: u32 = 0,
    /// 1 if queued operations could go to the kernel now, but the flush had used up its share.
    more: u32 = 0,
    /// Not 0: drain again after this many ms, because the wake descriptor may not ring: the
    /// kernel has no room and none of our operations need end, or (POSIX AIO of libc on Linux) a
    /// notification may be lost.
    retry_ms: u32 = 0,
    /// Not 0: the ring is lost, because the kernel refuses it with this errno. It takes no more
    /// operations.
    lost_errno: i32 = 0,
    reserved: u32 = 0,
    /// CLOCK_MONOTONIC in milliseconds at the end of the last call.
    now_ms: f64 = 0,
    stats: Stats = .{},
    /// Read, write, sync, other; counts per bucket of latency from submission to reaping.
    histogram: [histogram_kinds * histogram_buckets]u32 = @splat(0),
};

/// Written by JavaScript for `ba_ring_open`.
pub const RingOptions = extern struct {
    backend: u32,
    queue_depth: u32,
    window_bytes: u32,
    /// Fault injection for our own tests: the seed and the rates, in 1/65536.
    fault_seed: u32,
    fault_short: u32,
    fault_refuse: u32,
    fault_reorder: u32,
    /// The device of a simulated ring, and what it is laid over, which the ring duplicates.
    device_base_fd: i32,
    device_bytes: f64,
    device_sector_size: u32,
    /// Alignment of memory addresses in bytes, with `DeviceFlag.strict`.
    device_memory_alignment: u32,
    device_flags: u32,
    device_seed: u32,
};

/// Filled by `ba_ring_open`, also when it fails.
pub const RingInfo = extern struct {
    ring: f64,
    /// The memory shared with JavaScript: `Control`, then the tables, then the bounce memory.
    memory: f64,
    memory_bytes: f64,
    bounce_address: f64,
    submissions_offset: u32,
    completions_offset: u32,
    bounce_offset: u32,
    operations_max: u32,
    /// Becomes readable when completions wait.
    wake_fd: i32,
    backend: u32,
    queue_depth: u32,
    /// Setup flags the kernel accepted (io_uring), for `bun-aio info`.
    features: u32,
    /// The candidate refused before `backend` was taken; 0 if there was none.
    refused_backend: u32,
    refused_errno: i32,
    /// The step at which it was refused.
    refused_step: u32,
    reserved: u32 = 0,
    /// Deallocator for `memory`; pass it to `toArrayBuffer` with `ring` as its context.
    release: f64,
};

/// Steps at which a backend can be refused.
pub const Step = enum(u32) { none = 0, setup = 1, mmap = 2, eventfd = 3, opcodes = 4, lookup = 5, kqueue = 6, threads = 7 };

pub const SlabInfo = extern struct {
    header: f64,
    address: f64,
    /// Deallocator; pass it to `toArrayBuffer`.
    release: f64,
};

comptime {
    assert(@sizeOf(Submission) == 64);
    assert(@offsetOf(Submission, "offset") == 24);
    assert(@offsetOf(Submission, "address") == 32);
    assert(@sizeOf(Completion) == 32);
    assert(@sizeOf(FileInfo) == 40 + 14 * 8);
    assert(@sizeOf(Control) % 8 == 0);
    assert(@sizeOf(RingOptions) == 56);
    assert(@sizeOf(FaultRule) == 72);
    assert(@sizeOf(RingInfo) == 88);
    for (.{
        Submission, Completion, FileInfo, Geometry,    ImageInfo, LoopStatus, FaultRule,
        ImageRange, Stats,      Control,  RingOptions, RingInfo,  SlabInfo,   DataRange,
        DataRanges, RangeCopy,
    }) |T| {
        assertNoPadding(T);
    }
}

fn assertNoPadding(comptime T: type) void {
    var end: usize = 0;
    for (@typeInfo(T).@"struct".fields) |field| {
        assert(@offsetOf(T, field.name) == end);
        end += @sizeOf(field.type);
    }
    assert(end == @sizeOf(T));
}
