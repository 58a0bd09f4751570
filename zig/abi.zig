//! Everything that crosses the C ABI: structs, enums and limits. `gen_abi.zig` turns this file and
//! the signatures of `api.zig` into `src/native/abi.gen.ts`; the hash over both is compared when the
//! library is loaded. Structs are `extern`, little endian and without implicit padding, so that
//! JavaScript can read and write them through typed arrays.

const std = @import("std");
const assert = std.debug.assert;

/// Operations that the kernel may work on at once, when the caller does not say.
pub const queue_depth_default = 128;
/// io_uring's own limit of entries is 32768 (io_uring_setup(2)); ours bounds the fixed tables.
pub const queue_depth_max = 4096;
/// Bytes that the kernel may work on at once, so that one huge request does not starve small ones.
pub const window_bytes_default = 8 * 1024 * 1024;
/// The largest single request given to the kernel. Larger ones are continued piece by piece.
/// Far below the limits of read(2) (0x7ffff000 bytes) and of an aiocb.
pub const piece_bytes_max = 2 * 1024 * 1024;
/// Buffers in one vectored request: IOV_MAX of Linux, FreeBSD and macOS (writev(2)).
pub const iovecs_max = 1024;
/// Files that may be open on one ring at once.
pub const files_max = 65536;
/// The index that means "no file".
pub const file_none: u32 = 0xffff_ffff;
/// Native memory through which foreign views, paths and structs travel, per ring.
pub const bounce_bytes = 8 * 1024 * 1024;
/// Behind it, for the library's own requests (paths, structs, iovecs), where data takes all of the rest.
pub const bounce_reserve_bytes = bounce_block_bytes_max;
/// The smallest and largest block of the bounce memory.
pub const bounce_block_bytes_min = 4096;
pub const bounce_block_bytes_max = 1024 * 1024;
/// Parts of one slab that a ring registers with its kernel one by one (registered buffers of io_uring).
pub const registered_chunks_max = 64;
/// Operations beyond the queue depth that the native side holds ready, so that a completion can
/// be followed by the next submission without a trip through JavaScript.
pub const operations_ready = 128;
/// How long teardown waits for the kernel before it leaks what the kernel may still write.
pub const teardown_ms_max = 1000;
/// How long a kernel may refuse to say what became of operations before the ring is lost.
pub const unresponsive_ms_max = 1000;

pub const Backend = enum(u32) {
    automatic = 0,
    io_uring = 1,
    posix_aio = 2,
    threads = 3,
    simulated = 4,
};

/// What a ring can be asked to do.
pub const Kind = enum(u32) {
    read = 0,
    write = 1,
    readv = 2,
    writev = 3,
    sync_all = 4,
    sync_data = 5,
    /// `address`: a NUL-terminated path in bounce memory, overwritten by `FileInfo`; `fd`: the directory that a
    /// relative path begins at, or -1. Of a refusal with EPERM `detail` says what is known: `Refusal`.
    open = 6,
    close = 7,
    /// `address`: room for `FileInfo`.
    stat = 8,
    truncate = 9,
    allocate = 10,
    invalidate_cache = 11,
    /// `address`: room for `FileInfo`; what `open` learns, for a descriptor that exists already.
    probe = 12,
    /// `address`: room for `Geometry`.
    geometry = 13,
    discard = 14,
    write_zeroes = 15,
    reread_partitions = 16,
    /// `fd`: a regular file to show as a block device, `argument`: its sector size, `address`: room
    /// for `ImageInfo`. For tests; the device is gone when its last descriptor is closed.
    attach_image = 17,
    /// Simulated devices only: `argument` is a `DeviceCommand`.
    device_command = 18,
    /// Linux only: what stands behind the loop device numbered `argument`; `address`: room for `LoopStatus`.
    loop_status = 19,
};

/// What a simulated device can be asked beside what every device can do. Obeyed in the order of
/// submission, before anything that is submitted later.
pub const DeviceCommand = enum(u32) {
    /// `address`: a `FaultRule`.
    add_rule = 0,
    /// `mode`: its place.
    remove_rule = 1,
    /// Cuts the power; `detail` is 1 if it was off already.
    crash = 2,
    /// Copies what was ever written at `offset` or behind it to `address`, also without power: an `ImageRange`
    /// and its bytes, the next one and so on, as far as `length` bytes reach. `detail`: bytes used, 0 at the end.
    read_image = 3,
    /// The way back: what the `length` bytes at `address` hold has always been there.
    write_image = 4,
    /// `detail` is 1 when the device is gone.
    ask_gone = 5,
};

pub const FaultOperation = enum(u32) { read = 0, write = 1, sync = 2, discard = 3, any = 4 };

pub const FaultFlag = struct {
    /// `short` counts.
    pub const short: u32 = 1 << 0;
    /// `torn` counts.
    pub const torn: u32 = 1 << 1;
    pub const unplug: u32 = 1 << 2;
    pub const crash: u32 = 1 << 3;
};

/// Rules that a simulated device holds.
pub const fault_rules_max = 64;

/// One line of a fault plan (`device/faults.zig`).
pub const FaultRule = extern struct {
    /// Which of `fault_rules_max` it is.
    place: u32,
    operation: u32,
    offset: f64,
    /// 0: everywhere.
    length: f64,
    nth: u32,
    every: u32,
    /// In 1/65536; 0: always.
    probability: u32,
    times: u32,
    /// 0: it does not fail. EAGAIN and EINTR are refused: they would be tried again for ever.
    errno: i32,
    flags: u32,
    short: f64,
    torn: f64,
    latency_ms: f64,
};

/// Stands before its bytes in `DeviceCommand.read_image` and `write_image`, at any address.
pub const ImageRange = extern struct {
    offset: f64,
    length: f64,
};

/// Bits of `RingOptions.device_flags`.
pub const DeviceFlag = struct {
    /// Requests that are not aligned are refused with EINVAL, as with O_DIRECT.
    pub const strict: u32 = 1 << 0;
    /// What was not written is read from `device_base_fd`.
    pub const overlay: u32 = 1 << 1;
};

/// Bits of `Submission.flags`.
pub const SubmissionFlag = struct {
    /// The descriptor bypasses the page cache (or is a device that wants whole sectors): lengths
    /// are multiples of the alignment.
    pub const aligned: u32 = 1 << 0;
    /// A regular file or disk behind the page cache: what is in there can be read without waiting.
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
    /// The file may not be changed (chattr +i, chflags schg), ...
    pub const immutable: u32 = 1 << 0;
    /// ... or only at its end (chattr +a, chflags sappnd), ...
    pub const append_only: u32 = 1 << 1;
    /// ... or never again (fs-verity).
    pub const verity: u32 = 1 << 2;
    /// There is no such file: the rest is of the directory it would be in.
    pub const directory: u32 = 1 << 3;
};

/// One operation, written by JavaScript, read by native code during `ba_flush`.
pub const Submission = extern struct {
    slot: u32,
    generation: u32,
    kind: u32,
    flags: u32,
    /// Index into the ring's table of files, for the order of syncs; `file_none` where there is none.
    file: u32,
    fd: i32,
    offset: u64,
    /// Memory that stays valid until the completion: a slab's, or the ring's bounce memory.
    address: f64,
    /// Bytes; for `allocate`, `discard` and `write_zeroes` the length of the range.
    length: f64,
    /// Address of the slab's header, or 0 for bounce memory. Vectors list theirs behind the iovecs.
    slab: f64,
    /// `readv`/`writev`: the number of buffers; `open`: `OpenFlag`.
    argument: u32,
    /// `open`: permission bits for a new file.
    mode: u32,
};

/// What became of an operation, in our own words; the operating system's number stands beside it.
pub const Status = enum(i32) {
    ok = 0,
    /// `errno` says why.
    failed = 1,
    /// Cancelled on request, `transferred` bytes are done.
    canceled = 2,
    /// The table of submissions was not written as `Submission` asks.
    invalid = 3,
    /// A write made no progress although the kernel reported success.
    no_progress = 4,
    /// The ring is lost: the kernel refuses, with `errno`, to say what became of it, and may use its memory for ever.
    outcome_unknown = 5,
};

pub const Completion = extern struct {
    slot: u32,
    generation: u32,
    status: i32,
    errno: i32,
    /// Bytes moved, also on failure.
    transferred: f64,
    /// `discard`, `write_zeroes`: the `Method` that served; `open`: `Refusal`.
    detail: f64,
};

/// How a range was discarded or zeroed.
pub const Method = enum(u32) {
    none = 0,
    discard = 1,
    zeroout = 2,
    punch = 3,
    /// The system has no such call for this file: the caller has to write zeroes.
    unsupported = 4,
};

/// Kinds of what was opened.
pub const FileKind = enum(u32) { regular = 0, disk = 1, character = 2, other = 3 };

/// What `open`, `probe` and `stat` report. Numbers are f64 because JavaScript's are, but for those that tell one file
/// from another: these may be above 2^53.
pub const FileInfo = extern struct {
    fd: i32,
    kind: u32,
    /// 1 where nothing is required.
    memory_alignment: u32,
    offset_alignment: u32,
    /// Whether reads and writes bypass the page cache (O_DIRECT).
    direct: u32,
    readable: u32,
    writable: u32,
    mode: u32,
    /// Whether writes go to the end whatever their offset (O_APPEND).
    append: u32,
    /// Whether a submission may wait for whoever serves the file, though asked not to (FUSE).
    waits: u32,
    /// Bytes, for devices too.
    size: f64,
    dev: u64,
    ino: u64,
    rdev: u64,
    /// Tells what had the same device and inode, or device number, one after the other: the time of birth of a file in
    /// nanoseconds, or its generation, and the sequence number of a disk. 0 where the system does not say.
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

/// What `geometry` reports; -1 where the system does not say.
pub const Geometry = extern struct {
    size: f64,
    logical_sector_size: f64,
    physical_sector_size: f64,
    minimum_io_size: f64,
    optimal_io_size: f64,
    maximum_transfer_size: f64,
    alignment_offset: f64,
    rotational: f64,
    read_only: f64,
    /// Device number, to find it in sysfs.
    major: f64,
    minor: f64,
    model: [64]u8,
    serial: [64]u8,
};

/// What `attach_image` made.
pub const ImageInfo = extern struct {
    /// Keeps the device until another descriptor of it is open.
    fd: i32,
    /// N of /dev/loopN.
    number: u32,
};

/// What `loop_status` reports. The numbers are exact: an inode may be above 2^53.
pub const LoopStatus = extern struct {
    /// Device number of the file system that the file is on, as stat(2) encodes it.
    device: u64,
    inode: u64,
    /// Device number of a block device behind it; 0 for a file.
    rdevice: u64,
    /// Where in the file it begins.
    offset: u64,
};

/// Latency histograms: log-linear, `histogram_steps` buckets per power of two of nanoseconds.
pub const histogram_kinds = 4;
pub const histogram_steps_log2 = 3;
pub const histogram_buckets = 40 << histogram_steps_log2;

/// Counters that only grow, except where said.
pub const Stats = extern struct {
    flushes: u64 = 0,
    drains: u64 = 0,
    polls: u64 = 0,
    /// io_uring_enter, lio_listio and the other calls of AIO, kevent to reap, and one for each
    /// operation of a pool thread.
    system_calls: u64 = 0,
    /// io_uring_enter or lio_listio calls that submitted something.
    submit_calls: u64 = 0,
    /// Operations the kernel had no room for, given to it again.
    resubmissions: u64 = 0,
    /// Rest of a short or split transfer, given to the kernel.
    continuations: u64 = 0,
    /// Operations that the kernel lane refused and the pool served.
    fallbacks: u64 = 0,
    /// Completions that were there at the end of the flush that submitted them.
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
    /// Most operations in the kernel at once.
    in_kernel_peak: u64 = 0,
};

/// The head of the memory that JavaScript and native code share.
pub const Control = extern struct {
    /// Operations held natively now: queued, held behind writes, in the kernel.
    operations: u32 = 0,
    /// Of these, in the kernel or with the pool.
    in_kernel: u32 = 0,
    /// 1 when queued operations could go to the kernel now, but the flush had done its share.
    more: u32 = 0,
    /// Not 0: drain again after so many ms, though nothing may ring: the kernel has no room and
    /// nothing of ours need end there, or (libc's POSIX AIO on Linux) a notification can be lost.
    retry_ms: u32 = 0,
    /// Not 0: the ring is lost, since the kernel refuses it with this errno. It takes no operations any more.
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
    /// Pool threads at most; 0 for the default.
    threads_max: u32,
    /// Fault injection for our own tests: the seed and the rates, in 1/65536.
    fault_seed: u32,
    fault_short: u32,
    fault_refuse: u32,
    fault_reorder: u32,
    /// The device of a simulated ring.
    device_bytes: f64,
    device_sector_size: u32,
    /// What addresses in memory have to be multiples of, with `DeviceFlag.strict`.
    device_memory_alignment: u32,
    device_flags: u32,
    device_seed: u32,
    /// Is duplicated.
    device_base_fd: i32,
    reserved: u32 = 0,
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
    /// The descriptor that becomes readable when completions wait.
    wake_fd: i32,
    backend: u32,
    queue_depth: u32,
    /// Setup flags the kernel accepted (io_uring), for `bun-aio info`.
    features: u32,
    /// The candidate that was refused before `backend` was taken, and why; 0 if none was.
    refused_backend: u32,
    refused_errno: i32,
    /// The step at which it was refused.
    refused_step: u32,
    reserved: u32 = 0,
    /// Deallocator for `memory`, to give to `toArrayBuffer` with `ring` as its context.
    release: f64,
};

/// Steps at which a backend can be refused.
pub const Step = enum(u32) { none = 0, setup = 1, mmap = 2, eventfd = 3, opcodes = 4, lookup = 5, kqueue = 6, threads = 7 };

pub const SlabInfo = extern struct {
    header: f64,
    address: f64,
    /// Deallocator to give to `toArrayBuffer`.
    release: f64,
};

comptime {
    assert(@sizeOf(Submission) == 64);
    assert(@offsetOf(Submission, "offset") == 24);
    assert(@offsetOf(Submission, "address") == 32);
    assert(@sizeOf(Completion) == 32);
    assert(@sizeOf(FileInfo) == 40 + 14 * 8);
    assert(@sizeOf(Control) % 8 == 0);
    assert(@sizeOf(RingOptions) == 64);
    assert(@sizeOf(FaultRule) == 72);
    assert(@sizeOf(RingInfo) == 88);
    for (.{
        Submission, Completion, FileInfo, Geometry,    ImageInfo, LoopStatus, FaultRule,
        ImageRange, Stats,      Control,  RingOptions, RingInfo,  SlabInfo,
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
