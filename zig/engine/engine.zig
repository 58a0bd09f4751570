//! The life of operations, without system calls: the window over the kernel, the queue before it,
//! resubmission, continuation of short and split transfers, syncs held behind writes,
//! cancellation. This file holds the state and the calls from JavaScript. The work is done in
//! queue, settle, submit, reap and cancel, each of which calls only those before it in this list.
//!
//! Single-threaded: everything belongs to the JavaScript thread that opened the ring. Lanes
//! return results as values; they leave as rows of the completion table.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const Cancellation = @import("cancel.zig").Cancellation;
const Completions = @import("completions.zig").Completions;
const operation_file = @import("operation.zig");
const Operation = operation_file.Operation;
const plant = @import("plant.zig");
const limits_file = @import("limits.zig");
const read_now = @import("read_now.zig");
const Room = @import("room.zig").Room;
const Reaping = @import("reap.zig").Reaping;
const Submission = @import("submit.zig").Submission;
const List = @import("list.zig").List(Operation);
const Memory = @import("memory.zig").Memory;

pub const Limits = struct {
    queue_depth: u32,
    window_bytes: u64,
    /// Reads that need no device are not handed to a thread.
    pool_reads_now: bool = false,
};

/// A read that takes no place in the tables.
pub const ReadAtOnce = struct { file: u32, fd: i32, address: u64, length: u64, offset: u64 };

/// `Operation.index` of such a read.
pub const at_once_index = std.math.maxInt(u16);

/// What JavaScript does after a call.
pub const Next = enum {
    /// Sleeps until the wake descriptor is readable: completions must ring.
    sleep,
    /// Calls again soon, whatever happens.
    poll,
};

pub fn Engine(comptime Kernel: type, comptime Pool: type) type {
    return struct {
        const Self = @This();
        const submit = Submission(Self);
        const reap = Reaping(Self);
        const cancellation = Cancellation(Self);

        /// Whether `room` is kept.
        pub const shares_room = @hasDecl(Kernel, "shares_room") and Kernel.shares_room;
        /// Polling interval of a lane whose notifications can be lost, while operations run.
        const scan_ms: u32 = if (@hasDecl(Kernel, "scan_ms")) Kernel.scan_ms else 0;

        kernel: Kernel,
        pool: Pool,
        memory: Memory,
        limits: Limits,

        /// A read at once; never submitted.
        at_once: Operation,
        free: List = .{},
        /// Operations for the kernel lane, oldest first.
        fifo: List = .{},
        /// Closes of files that the kernel lane still holds.
        closing: List = .{},
        /// Operations for the pool that wait for a thread.
        pool_fifo: List = .{},
        kernel_count: u32 = 0,
        kernel_bytes: u64 = 0,
        pool_count: u32 = 0,
        operation_count: u32 = 0,
        completions: Completions,
        order: u64 = 0,
        /// Operations accepted by this call. Their memory is retained when the call ends, if they
        /// have not ended before. Until then references of JavaScript hold it, and no JavaScript
        /// runs: a cached read never pays for the two atomic operations.
        fresh_count: u32 = 0,
        /// Number of file records initialised: writing all of them would cost a new ring a
        /// millisecond.
        files_ready: u32 = 0,
        room: Room = .{},
        /// A lane had no room in this call.
        refused_room: bool = false,
        /// The value last given to the pool: each change costs its mutex.
        pool_quiet: bool = false,
        /// Bytes this call may still submit.
        call_bytes: u64 = 0,
        /// Bytes that this call may still read at once where threads could.
        now_bytes: u64 = 0,
        /// A read at once has missed in this call: others might wait for a device, too.
        missed_now: bool = false,
        now_ns: u64 = 0,
        /// When the kernel began to refuse to report completions; or 0.
        unresponsive_since_ns: u64 = 0,

        /// The caller has set up `kernel` and `pool` in place.
        pub fn init(engine: *Self, memory: Memory, limits: Limits) void {
            assert(memory.operations.len == memory.submissions.len);
            assert(memory.operations.len == memory.completions.len);
            assert(memory.run.len == memory.verdicts.len);
            assert(memory.reaped.len >= memory.run.len);
            assert(limits.queue_depth > 0);
            assert(limits.window_bytes >= operation_file.piece_bytes_max);
            inline for (@typeInfo(Self).@"struct".fields) |field| {
                if (field.defaultValue()) |value| @field(engine, field.name) = value;
            }
            engine.memory = memory;
            engine.limits = limits;
            engine.at_once = .{ .index = at_once_index, .phase = .queued, .cached = true };
            engine.completions = .{ .rows = memory.completions, .control = memory.control };
            memory.control.* = .{};
            for (memory.operations, 0..) |*operation, index| {
                operation.* = .{ .index = @intCast(index) };
                engine.free.push(operation);
            }
        }

        // Calls from JavaScript ----------------------------------------------------------------

        /// Takes `count` submissions, submits what fits and reaps once. Returns the number of
        /// filled rows of the completion table.
        pub fn flush(engine: *Self, count: u32, next: Next) u32 {
            engine.stats().flushes += 1;
            engine.begin();
            for (engine.memory.submissions[0..count]) |*submission| submit.accept(engine, submission);
            engine.progress(next);
            const inline_count = engine.completions.count;
            engine.stats().inline_completions += inline_count;
            return engine.finish();
        }

        /// After the wake descriptor rang: reaps, submits more, and returns the number of filled
        /// rows of the completion table.
        pub fn drain(engine: *Self, next: Next) u32 {
            engine.stats().drains += 1;
            return engine.advance(next);
        }

        /// The same for an announced poll.
        pub fn poll(engine: *Self, next: Next) u32 {
            engine.stats().polls += 1;
            return engine.advance(next);
        }

        /// Makes a read that needs no device, while no operation is held. Returns its bytes; 0 if it
        /// must be submitted.
        pub fn readAtOnce(engine: *Self, read: ReadAtOnce) u32 {
            if (engine.isLost() or engine.operation_count > 0) return 0;
            const operation = &engine.at_once;
            operation.file = read.file;
            operation.fd = read.fd;
            operation.address = read.address;
            operation.length = read.length;
            operation.offset = read.offset;
            operation.submitted_ns = engine.pool.nowNs();
            const result = submit.readAtOnce(engine, operation) orelse return 0;
            // The lane knows more of a read that fails or falls short.
            if (result != read.length and !plant.is(.at_once_short)) return 0;
            engine.now_ns = engine.pool.nowNs();
            engine.completions.countRead(operation, engine.now_ns);
            engine.noteTime();
            engine.syncStats();
            return @intCast(read.length);
        }

        fn advance(engine: *Self, next: Next) u32 {
            engine.begin();
            engine.progress(next);
            return engine.finish();
        }

        /// Requests cancellation of an operation. Its completion comes with a later call in any
        /// case.
        pub fn cancel(engine: *Self, slot: u32, generation: u32) bool {
            engine.stats().cancel_requests += 1;
            // An operation that never reached a lane settles here: its latency ends now.
            engine.now_ns = engine.pool.nowNs();
            for (engine.memory.operations) |*operation| {
                if (!operation.isUnsettled()) continue;
                if (operation.slot != slot or operation.generation != generation) continue;
                cancellation.cancel(engine, operation);
                return true;
            }
            return false;
        }

        fn begin(engine: *Self) void {
            engine.now_ns = engine.pool.nowNs();
            engine.refused_room = false;
            engine.call_bytes = limits_file.call_bytes_max;
            engine.now_bytes = read_now.call_bytes_max;
            engine.missed_now = false;
            engine.memory.control.more = 0;
            engine.memory.control.retry_ms = 0;
            engine.disarm();
        }

        fn disarm(engine: *Self) void {
            engine.kernel.disarm();
            if (engine.pool_quiet) return;
            engine.pool_quiet = true;
            engine.pool.disarm();
        }

        /// Whether the kernel lane has something to report.
        pub fn kernelOwes(engine: *const Self) bool {
            return engine.kernel_count + engine.closing.count > 0;
        }

        /// Returns false if completions are there already.
        fn arm(engine: *Self) bool {
            var quiet = true;
            if (engine.kernelOwes()) quiet = engine.kernel.arm();
            if (engine.pool_count == 0) return quiet;
            if (plant.is(.pool_stays_quiet) and engine.pool_quiet) return quiet;
            engine.pool_quiet = false;
            return engine.pool.arm() and quiet;
        }

        /// Submits and reaps until there is nothing more to do, then lets completions ring.
        fn progress(engine: *Self, next: Next) void {
            while (true) {
                while (true) {
                    const submitted = submit.submit(engine);
                    const reaped = reap.reap(engine);
                    const lost = reap.loseUnresponsive(engine);
                    const closed = submit.closeFree(engine);
                    if (submitted + reaped + lost + closed == 0) break;
                    if (engine.call_bytes == 0 and lost == 0) break;
                }
                if (next == .poll) break;
                // Completions arrived while arming: the descriptor does not ring for them.
                if (engine.arm() or plant.is(.lose_wake)) break;
                if (engine.call_bytes == 0) {
                    engine.memory.control.more = 1;
                    break;
                }
                engine.disarm();
            }
        }

        fn finish(engine: *Self) u32 {
            if (engine.fresh_count > 0) submit.retainFresh(engine);
            const control = engine.memory.control;
            const waits_for_room = shares_room and engine.fifo.count > 0 and
                engine.room.free(engine.kernel_count, engine.now_ns) == 0;
            const waiting = engine.fifo.count + engine.pool_fifo.count;
            if (waiting > 0) {
                if (waits_for_room and !engine.refused_room) {
                    if (!plant.is(.wait_for_nothing)) control.retry_ms = engine.room.waitMs(engine.now_ns);
                } else if (engine.refused_room) {
                    // Another process may hold the room: none of our operations need ever end.
                    const alone = engine.kernel_count + engine.pool_count == 0;
                    control.retry_ms = if (alone) limits_file.retry_ms_idle else limits_file.retry_ms_busy;
                    if (plant.is(.wait_for_nothing)) control.retry_ms = 0;
                } else if (engine.call_bytes == 0) {
                    control.more = 1;
                }
            }
            if (scan_ms > 0 and engine.kernel_count > 0 and control.retry_ms == 0) {
                control.retry_ms = scan_ms;
            }
            // A cancel without room, or a refused lane: none of our operations need ever end, or
            // ring.
            if (@hasDecl(Kernel, "unsent") and engine.kernel.unsent() and
                engine.kernelOwes() and control.retry_ms == 0)
            {
                control.retry_ms = limits_file.retry_ms_busy;
            }
            if (@hasDecl(Kernel, "dueMs")) {
                if (engine.kernel.dueMs(engine.now_ns)) |ms| control.retry_ms = ms;
            }
            // The last worker thread of the kernel may go to sleep without ringing.
            if (engine.closing.count > 0) control.retry_ms = limits_file.retry_ms_idle;
            const count = engine.takeRows();
            control.operations = engine.operation_count;
            control.in_kernel = engine.kernel_count + engine.pool_count;
            engine.noteTime();
            engine.syncStats();
            return count;
        }

        fn noteTime(engine: *Self) void {
            engine.memory.control.now_ms = @as(f64, @floatFromInt(engine.now_ns)) / std.time.ns_per_ms;
        }

        /// An operation counts until its row is taken: a cancel fills rows between two calls, and
        /// a caller that submits as many as seem free must not overflow the table.
        pub fn takeRows(engine: *Self) u32 {
            const count = engine.completions.take();
            engine.operation_count -= count;
            return count;
        }

        /// Operations that `flush` can take. Those whose rows are not taken yet count as used.
        pub fn operationsFree(engine: *const Self) u32 {
            if (engine.isLost()) return 0;
            const operations: u32 = @intCast(engine.memory.operations.len);
            return operations - engine.operation_count;
        }

        /// The kernel refuses the ring for good, and keeps the operations in it.
        pub fn isLost(engine: *const Self) bool {
            return engine.memory.control.lost_errno != 0;
        }

        pub fn stats(engine: *Self) *abi.Stats {
            return &engine.memory.control.stats;
        }

        fn syncStats(engine: *Self) void {
            const s = engine.stats();
            s.system_calls = engine.kernel.system_calls + engine.pool.system_calls;
            s.submit_calls = engine.kernel.submit_calls;
            s.wakes = engine.pool.wakes;
            if (@hasDecl(Kernel, "wakes")) s.wakes += engine.kernel.wakes();
            s.in_kernel_peak = @max(s.in_kernel_peak, engine.kernel_count + engine.pool_count);
        }

        // Outside of the calls ---------------------------------------------------------------------

        pub fn readyFile(engine: *Self, file: u32) void {
            while (engine.files_ready <= file) : (engine.files_ready += 1) {
                engine.memory.files[engine.files_ready] = .{};
            }
        }

        /// Adopts a descriptor that no operation has opened: it is closed with the ring, too.
        pub fn own(engine: *Self, file: u32, fd: i32) void {
            engine.readyFile(file);
            const record = &engine.memory.files[file];
            record.forgetRefusals();
            record.owned_fd = fd;
        }

        /// Cancels everything and waits until the kernel has let go, at most `timeout_ms`.
        /// Returns false if it has not, or the ring is lost: then no memory may be freed.
        pub fn shutdown(engine: *Self, timeout_ms: u32) bool {
            return cancellation.shutdown(engine, timeout_ms);
        }

        /// For teardown without waiting.
        pub fn forgetBusyDescriptors(engine: *Self) void {
            cancellation.forgetBusyDescriptors(engine);
        }
    };
}
