//! The interface between the engine and its lanes. The engine passes runs of operations; a lane
//! returns results as values and never calls the engine.
//!
//! A lane has:
//!   capability(kind) Capability
//!   submit(operations: []const *Operation, verdicts: []Verdict) void
//!   reap(out: []Reaped) usize
//!   cancel(operation: *Operation) Cancellation
//!   arm() bool         let completions ring the wake descriptor; false: some are there already
//!   disarm() void      stop ringing: the engine is about to reap
//!   deinit() void      only when no operation is in the kernel
//!   cancelAll(timeout_ms) void   teardown: ask the kernel to let go of everything
//! and optionally:
//!   fileOpened(file, fd), fileCloses(file)   per-file state
//!   holdsFile(file, waited_ns) bool   with these: after fileCloses, whether the file must not be closed yet
//!   registerSlab(slab, chunk_bytes) bool, unregisterSlab(address)   registered memory
//!   readNow(operation, way) read_now.Outcome   a read that needs no device, done at once
//!   shares_room: true  its kernel has places for operations, which other processes can take (room.zig)
//!   scan_ms: u32       notifications can be lost: reap every scan_ms while operations run
//!   unsent() bool      cancel requests wait for room, or the kernel does not answer: call again soon
//!   unresponsiveErrno() ?i32   the kernel refuses with this errno to report completions
//!   dueMs(now_ns) ?u32 completions will be there in so many ms without ringing
//!   wakes() u64        times its threads rang the wake descriptor

/// Whether a lane can do a kind of operation.
pub const Capability = enum {
    yes,
    no,
    /// Depends on the file: try, and remember a refusal.
    maybe,
};

/// The result of submitting one operation of a run. Order is kept: operations after the first
/// `not_now` may be `not_now` too, and all of these return to the head of the queue in their
/// order.
pub const Verdict = union(enum) {
    accepted,
    /// The kernel has no room at the moment.
    not_now,
    /// Refused for good, with this errno.
    failed: i32,
};

pub const Cancellation = enum {
    /// It never reached the kernel, and belongs to the engine at once.
    removed,
    /// Requested; a completion comes in any case.
    requested,
};

/// One finished submission.
pub const Reaped = struct {
    /// `Operation.token()` as it was at submission.
    token: u64,
    /// Bytes transferred, or a negative errno.
    result: isize,
};
