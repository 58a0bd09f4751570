//! What an engine and its lanes say to each other. Data goes down as a run of operations and comes
//! back as values; a lane never calls the engine.
//!
//! A lane has:
//!   capability(kind) Capability
//!   submit(operations: []const *Operation, verdicts: []Verdict) void
//!   reap(out: []Reaped) usize
//!   cancel(operation: *Operation) Cancellation
//!   arm() bool         let completions ring the wake descriptor; false: some are there already
//!   disarm() void      the engine is about to reap anyhow
//!   fileOpened(file, fd), fileCloses(file)   optional: what it keeps for each file
//!   registerSlab(slab, chunk_bytes) bool, unregisterSlab(address)   optional: memory that is used often is known to the kernel beforehand
//!   deinit() void      only when nothing of ours is in the kernel
//!   cancelAll(timeout_ms) void   teardown: ask the kernel to let go of everything
//! and, where they mean something:
//!   readNow(operation, way) read_now.Outcome   a read that needs no device, done at once if it can be
//!   scan_ms: u32       notifications can be lost: reap every so many ms while operations run
//!   unsent() bool      requests to cancel wait for room, or the kernel does not answer: call again soon
//!   unresponsiveErrno() ?i32   the kernel refuses, with this errno, to say what became of operations, perhaps for good
//!   dueMs(now_ns) ?u32 nothing will ring, but something will be there in so many ms
//!   wakes() u64        times its threads rang the wake descriptor

/// Whether a lane can do a kind of operation.
pub const Capability = enum {
    yes,
    no,
    /// Depends on the file: try it, and remember a refusal.
    maybe,
};

/// The fate of one operation of a run given to `submit`. Order is kept: what comes behind the first
/// `not_now` may be `not_now` too, and all of these go back to the head of the queue as they stood.
pub const Verdict = union(enum) {
    accepted,
    /// The kernel has no room at the moment.
    not_now,
    /// Refused for good, with this errno.
    failed: i32,
};

pub const Cancellation = enum {
    /// It never reached the kernel: it is ours again, at once.
    removed,
    /// Asked for; a completion comes in any case.
    requested,
};

/// One finished submission.
pub const Reaped = struct {
    /// `Operation.token()` as it was at submission.
    token: u64,
    /// Bytes moved, or a negative errno.
    result: isize,
};
