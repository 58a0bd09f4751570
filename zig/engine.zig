//! The life of operations, without system calls: a window over the kernel, the queue before it,
//! resubmission, continuation of short and split transfers, syncs held behind writes, cancellation.
//!
//! Single-threaded: everything here belongs to the JavaScript thread that opened the ring. Results
//! come back from the lanes as values and leave as rows of the completion table.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("abi.zig");
const lane = @import("lane.zig");
const os = @import("os.zig");
const Completions = @import("completions.zig").Completions;
const operation_file = @import("operation.zig");
const options = @import("build_options");
const Operation = operation_file.Operation;
const plant = @import("plant.zig");
const read_now = @import("read_now.zig");
const submission_file = @import("submission.zig");
const List = @import("list.zig").List(Operation);
const E = os.E;

/// Bytes that one call moves at most through completions that come inline, so that no call keeps
/// the JavaScript thread for much longer than a millisecond.
pub const call_bytes_max = if (options.small_limits) 64 * 1024 else 4 * 1024 * 1024;
/// Times the kernel may say EAGAIN to a request it has accepted before the pool gets it.
pub const attempts_max = 16;
/// How long the kernel may keep to itself what became of operations.
const mute_ns_max: u64 = @as(u64, abi.mute_ms_max) * std.time.ns_per_ms;
/// Pauses before the kernel is asked again for room.
pub const retry_ms_idle = 1;
pub const retry_ms_busy = 20;

/// What the engine knows about one open file.
pub const FileState = struct {
    /// Operations that change the medium and are not settled yet.
    writes_open: u32 = 0,
    /// The kernel lane refused this file (EOPNOTSUPP): such operations go to the pool at once.
    /// FreeBSD's AIO does a disk's transfers but not its syncs, so they are remembered apart.
    transfers_refused: bool = false,
    syncs_refused: bool = false,
    read_now: read_now.Experience = .{},
    /// The descriptor, if it is ours to close when a thread ends without closing its files; or -1.
    owned_fd: i32 = -1,
    /// Syncs that wait for earlier writes.
    held: List = .{},
};

/// The fixed memory an engine works in; it never moves and never grows.
pub const Memory = struct {
    control: *abi.Control,
    submissions: []const abi.Submission,
    completions: []abi.Completion,
    operations: []Operation,
    files: []FileState,
    run: []*Operation,
    verdicts: []lane.Verdict,
    reaped: []lane.Reaped,
    fresh: []*Operation,
};

pub const Limits = struct {
    queue_depth: u32,
    window_bytes: u64,
    wait_ns: u32 = 0,
    /// What needs no device is not handed over to a thread.
    pool_reads_now: bool = false,
};

/// What the owner does after a call.
pub const Next = enum {
    /// It sleeps until the wake descriptor is readable: completions have to ring.
    sleep,
    /// It calls again soon, whatever comes.
    poll,
};

pub fn Engine(comptime Kernel: type, comptime Pool: type) type {
    return struct {
        const Self = @This();

        /// A lane whose notifications can be lost says how often to look while operations run.
        const scan_ms: u32 = if (@hasDecl(Kernel, "scan_ms")) Kernel.scan_ms else 0;

        kernel: Kernel,
        pool: Pool,
        memory: Memory,
        limits: Limits,

        free: List = .{},
        /// Operations for the kernel lane, oldest first.
        fifo: List = .{},
        /// Operations for the pool that it could not take for lack of a thread.
        pool_fifo: List = .{},
        kernel_count: u32 = 0,
        kernel_bytes: u64 = 0,
        pool_count: u32 = 0,
        operation_count: u32 = 0,
        completions: Completions,
        order: u64 = 0,
        /// Operations admitted by this call; their memory is retained when it ends, if they have
        /// not ended before. Until then JavaScript's own references hold it, and no JavaScript
        /// runs; a cached read never pays for the two atomic operations.
        fresh_count: u32 = 0,
        /// Records of files that were ever used: writing all of them would cost a new ring a
        /// millisecond.
        files_ready: u32 = 0,
        /// A lane said "not now" in this call.
        refused_room: bool = false,
        /// What the pool was told last: each time costs it its mutex.
        pool_quiet: bool = false,
        /// Bytes this call may still submit.
        call_bytes: u64 = 0,
        /// Bytes that it may still read at once where threads could.
        now_bytes: u64 = 0,
        /// A read at once found nothing in this call: others may wait for a device in vain, too.
        missed_now: bool = false,
        now_ns: u64 = 0,
        /// Since when the kernel refuses to say what became of operations, or 0.
        mute_since_ns: u64 = 0,
        /// Operations settled without its word, whose memory it may still use, and when it was asked about them last.
        abandoned_count: u32 = 0,
        abandoned_asked_ns: u64 = 0,

        /// `kernel` and `pool` are set up by the caller, in place.
        pub fn init(engine: *Self, memory: Memory, limits: Limits) void {
            assert(memory.operations.len == memory.submissions.len);
            assert(memory.operations.len == memory.completions.len);
            assert(memory.run.len == memory.verdicts.len);
            assert(memory.reaped.len >= memory.run.len);
            assert(limits.queue_depth > 0);
            assert(limits.window_bytes >= operation_file.piece_bytes_max);
            engine.memory = memory;
            engine.limits = limits;
            engine.free = .{};
            engine.fifo = .{};
            engine.pool_fifo = .{};
            engine.kernel_count = 0;
            engine.kernel_bytes = 0;
            engine.pool_count = 0;
            engine.operation_count = 0;
            engine.completions = .{ .rows = memory.completions, .control = memory.control };
            engine.order = 0;
            engine.fresh_count = 0;
            engine.files_ready = 0;
            engine.refused_room = false;
            engine.pool_quiet = false;
            engine.call_bytes = 0;
            engine.now_bytes = 0;
            engine.missed_now = false;
            engine.now_ns = 0;
            engine.mute_since_ns = 0;
            engine.abandoned_count = 0;
            engine.abandoned_asked_ns = 0;
            memory.control.* = .{};
            for (memory.operations, 0..) |*operation, index| {
                operation.* = .{ .index = @intCast(index) };
                engine.free.push(operation);
            }
        }

        // Calls from JavaScript ----------------------------------------------------------------

        /// Takes over `count` submissions, gives the kernel what fits and reaps once at once.
        /// Returns how many rows of the completion table are filled.
        pub fn flush(engine: *Self, count: u32, next: Next) u32 {
            engine.stats().flushes += 1;
            engine.begin();
            for (engine.memory.submissions[0..count]) |*submission| engine.admit(submission);
            engine.progress(next);
            engine.waitBriefly(next);
            const inline_count = engine.completions.count;
            engine.stats().inline_completions += inline_count;
            return engine.finish();
        }

        /// After a ring: reaps, refills, and returns how many rows of the completion table are filled.
        pub fn drain(engine: *Self, next: Next) u32 {
            engine.stats().drains += 1;
            return engine.look(next);
        }

        /// The same without one: the call that was promised.
        pub fn poll(engine: *Self, next: Next) u32 {
            engine.stats().polls += 1;
            return engine.look(next);
        }

        fn look(engine: *Self, next: Next) u32 {
            engine.begin();
            engine.progress(next);
            return engine.finish();
        }

        /// Asks for the end of an operation. Its completion comes in any case, with a later call.
        pub fn cancel(engine: *Self, slot: u32, generation: u32) bool {
            engine.stats().cancel_requests += 1;
            // What never reached a lane settles here: its latency ends now.
            engine.now_ns = engine.pool.nowNs();
            for (engine.memory.operations) |*operation| {
                if (operation.phase == .free or operation.phase == .abandoned) continue;
                if (operation.slot != slot or operation.generation != generation) continue;
                engine.cancelOperation(operation);
                return true;
            }
            return false;
        }

        fn begin(engine: *Self) void {
            engine.now_ns = engine.pool.nowNs();
            engine.refused_room = false;
            engine.call_bytes = call_bytes_max;
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

        /// False: some are there already.
        fn arm(engine: *Self) bool {
            var quiet = true;
            if (engine.kernel_count > 0) quiet = engine.kernel.arm();
            if (engine.pool_count == 0) return quiet;
            if (plant.is(.pool_stays_quiet) and engine.pool_quiet) return quiet;
            engine.pool_quiet = false;
            return engine.pool.arm() and quiet;
        }

        /// Submits and reaps until neither has anything more to do, then lets completions ring.
        fn progress(engine: *Self, next: Next) void {
            while (true) {
                while (true) {
                    const submitted = engine.pump();
                    const reaped = engine.collect();
                    const abandoned = engine.abandonMute();
                    if (submitted + reaped + abandoned == 0) break;
                    if (engine.call_bytes == 0) break;
                }
                if (next == .poll) break;
                // Something came while we were arming: nobody will ring for that again.
                if (engine.arm() or plant.is(.lose_wake)) break;
                if (engine.call_bytes == 0) {
                    engine.memory.control.more = 1;
                    break;
                }
                engine.disarm();
            }
        }

        /// Where it was asked for: a device that answers within some microseconds is sooner done than
        /// the event loop hears of it.
        fn waitBriefly(engine: *Self, next: Next) void {
            if (!@hasDecl(Kernel, "wait")) return;
            if (engine.limits.wait_ns == 0) return;
            if (engine.completions.count > 0 or engine.kernel_count == 0) return;
            engine.disarm();
            engine.kernel.wait(engine.limits.wait_ns);
            engine.progress(next);
        }

        fn finish(engine: *Self) u32 {
            if (engine.fresh_count > 0) engine.retainFresh();
            const control = engine.memory.control;
            const waiting = engine.fifo.count + engine.pool_fifo.count;
            if (waiting > 0) {
                if (engine.refused_room) {
                    // Another process may hold the room: no event of ours need ever come.
                    const alone = engine.kernel_count + engine.pool_count == 0;
                    control.retry_ms = if (alone) retry_ms_idle else retry_ms_busy;
                    if (plant.is(.wait_for_nothing)) control.retry_ms = 0;
                } else if (engine.call_bytes == 0) {
                    control.more = 1;
                }
            }
            if (scan_ms > 0 and engine.kernel_count > 0 and control.retry_ms == 0) {
                control.retry_ms = scan_ms;
            }
            // A cancel that found no room, a lane that is lost: nothing of ours need ever end, or ring.
            if (@hasDecl(Kernel, "unsent") and engine.kernel.unsent() and
                engine.kernel_count > 0 and control.retry_ms == 0)
            {
                control.retry_ms = retry_ms_busy;
            }
            // What stands in the way of these ends without a ring: nobody waits for it.
            if (engine.abandoned_count > 0 and waiting > 0 and control.retry_ms == 0) {
                control.retry_ms = retry_ms_busy;
            }
            if (@hasDecl(Kernel, "dueMs")) {
                if (engine.kernel.dueMs(engine.now_ns)) |ms| control.retry_ms = ms;
            }
            const count = engine.takeRows();
            control.operations = engine.operation_count;
            control.abandoned = engine.abandoned_count;
            control.in_kernel = engine.kernel_count + engine.pool_count;
            control.now_ms = @as(f64, @floatFromInt(engine.now_ns)) / std.time.ns_per_ms;
            engine.syncStats();
            return count;
        }

        /// An operation counts until its row is taken: a cancel fills rows between two calls, and
        /// whoever submits as many as seem free must not overflow the table.
        fn takeRows(engine: *Self) u32 {
            const count = engine.completions.take();
            engine.operation_count -= count;
            return count;
        }

        /// Operations that `flush` can take: those whose rows are not taken yet count.
        pub fn operationsFree(engine: *const Self) u32 {
            const operations: u32 = @intCast(engine.memory.operations.len);
            return operations - engine.operation_count - engine.abandoned_count;
        }

        fn stats(engine: *Self) *abi.Stats {
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

        // From JavaScript to the queue ---------------------------------------------------------

        fn admit(engine: *Self, submission: *const abi.Submission) void {
            const operation = engine.free.pop() orelse unreachable; // JavaScript counts them
            operation.assertPhase(.free);
            engine.operation_count += 1;
            operation.slot = submission.slot;
            operation.generation = submission.generation;
            operation.submitted_ns = engine.now_ns;
            operation.phase = .queued;
            if (!submission_file.read(operation, submission)) return engine.settle(operation, .invalid, 0);
            engine.memory.fresh[engine.fresh_count] = operation;
            engine.fresh_count += 1;
            engine.order += 1;
            operation.order = engine.order;
            if (operation.file != abi.file_none) {
                engine.readyFile(operation.file);
                const file = &engine.memory.files[operation.file];
                if (@hasDecl(Kernel, "fileCloses") and operation.kind == .close) {
                    engine.kernel.fileCloses(operation.file);
                }
                if (operation.kind == .open or operation.kind == .probe) {
                    // JavaScript gives a closed file's record to the next one.
                    file.transfers_refused = false;
                    file.syncs_refused = false;
                    file.read_now = .{};
                }
                if (operation.changesMedium()) file.writes_open += 1;
                if (operation.isSync() and file.writes_open > 0 and !plant.is(.sync_overtakes)) {
                    operation.covers = file.writes_open;
                    operation.place = .held;
                    file.held.push(operation);
                    return;
                }
            }
            engine.enqueue(operation);
        }

        fn readyFile(engine: *Self, file: u32) void {
            while (engine.files_ready <= file) : (engine.files_ready += 1) {
                engine.memory.files[engine.files_ready] = .{};
            }
        }

        /// A descriptor that no operation has opened is closed with the ring, too.
        pub fn own(engine: *Self, file: u32, fd: i32) void {
            engine.readyFile(file);
            engine.memory.files[file] = .{ .owned_fd = fd };
        }

        /// What was admitted and goes on beyond this call keeps its memory by itself.
        fn retainFresh(engine: *Self) void {
            for (engine.memory.fresh[0..engine.fresh_count]) |operation| {
                if (plant.is(.forget_slab)) continue;
                if (operation.phase != .free) operation.retainSlabs();
            }
            engine.fresh_count = 0;
        }

        /// Chooses the lane and puts the operation at the end of its queue.
        fn enqueue(engine: *Self, operation: *Operation) void {
            operation.assertPhase(.queued);
            operation.route = switch (engine.kernel.capability(operation.kind)) {
                .yes => .kernel,
                .no => .pool,
                .maybe => if (engine.refusedBefore(operation)) .pool else .kernel,
            };
            operation.place = .fifo;
            engine.queueOf(operation).push(operation);
        }

        fn queueOf(engine: *Self, operation: *const Operation) *List {
            return switch (operation.route) {
                .kernel => &engine.fifo,
                .pool => &engine.pool_fifo,
            };
        }

        fn refusedBefore(engine: *Self, operation: *const Operation) bool {
            if (operation.file == abi.file_none) return false;
            const file = &engine.memory.files[operation.file];
            return if (operation.isSync()) file.syncs_refused else file.transfers_refused;
        }

        // From the queue to the lanes ----------------------------------------------------------

        /// Returns how many operations a lane has accepted or failed.
        fn pump(engine: *Self) u32 {
            return engine.pumpPool() + engine.pumpKernel();
        }

        fn pumpKernel(engine: *Self) u32 {
            if (engine.refused_room) return 0;
            if (engine.fifo.count == 1) {
                const operation = engine.fifo.peek().?;
                if (engine.readNow(&engine.kernel, operation, &engine.call_bytes)) |result| {
                    if (!plant.is(.read_now_keep)) _ = engine.fifo.pop();
                    engine.endedNow(operation, result);
                    return 1;
                }
            }
            const run = engine.takeRun();
            if (run.len == 0) return 0;
            const verdicts = engine.memory.verdicts[0..run.len];
            engine.kernel.submit(run, verdicts);
            var moved: u32 = 0;
            for (run, verdicts) |operation, verdict| switch (verdict) {
                .accepted => {
                    moved += 1;
                    engine.mute_since_ns = 0;
                },
                .not_now => {},
                .failed => |errno| {
                    moved += 1;
                    engine.leaveKernel(operation);
                    engine.refused(operation, errno);
                },
            };
            // Backwards, so that what is put back at the head keeps its order.
            var index = run.len;
            while (index > 0) {
                index -= 1;
                if (verdicts[index] != .not_now) continue;
                engine.refused_room = true;
                engine.stats().resubmissions += 1;
                engine.leaveKernel(run[index]);
                if (plant.is(.lose_eagain)) continue;
                if (plant.is(.lose_order)) engine.requeue(run[index]) else engine.requeueFront(run[index]);
            }
            return moved;
        }

        /// A read that needs no device is done at once, if the lane knows how and this call's share allows.
        fn readNow(engine: *Self, by: anytype, operation: *Operation, share: *u64) ?isize {
            if (!@hasDecl(@typeInfo(@TypeOf(by)).pointer.child, "readNow")) return null;
            if (!operation.cached or operation.file == abi.file_none) return null;
            if (share.* == 0 or engine.missed_now) return null;
            const file = &engine.memory.files[operation.file];
            const way = file.read_now.way() orelse return null;
            operation.assertPhase(.queued);
            operation.preparePiece();
            const bytes = operation.piece.bytes;
            if (bytes == 0 or bytes > read_now.bytes_max) return null;
            const outcome = by.readNow(operation, way);
            file.read_now.learn(outcome);
            switch (outcome) {
                .ended => |result| {
                    share.* -|= bytes;
                    return result;
                },
                .missed => engine.missed_now = true,
                .look_first, .refused => {},
            }
            return null;
        }

        fn endedNow(engine: *Self, operation: *Operation, result: isize) void {
            engine.now_ns = engine.pool.nowNs();
            operation.place = .nowhere;
            engine.ended(operation, result);
        }

        /// The longest run from the head of the queue that fits the window and this call's share.
        fn takeRun(engine: *Self) []*Operation {
            const in_kernel = engine.kernel_count + engine.abandoned_count;
            const room = @min(engine.limits.queue_depth -| in_kernel, engine.memory.run.len);
            var count: usize = 0;
            while (count < room) {
                const operation = engine.fifo.peek() orelse break;
                operation.assertPhase(.queued);
                if (operation.isTransfer()) operation.preparePiece();
                const bytes = operation.piece.bytes;
                if (engine.kernel_bytes + bytes > engine.limits.window_bytes) break;
                if (engine.call_bytes == 0) break;
                engine.call_bytes -|= bytes;
                _ = engine.fifo.pop();
                operation.place = .nowhere;
                operation.phase = .in_kernel;
                operation.incarnation +%= 1;
                engine.kernel_count += 1;
                engine.kernel_bytes += bytes;
                engine.memory.run[count] = operation;
                count += 1;
            }
            return engine.memory.run[0..count];
        }

        fn leaveKernel(engine: *Self, operation: *Operation) void {
            operation.assertPhase(.in_kernel);
            engine.kernel_count -= 1;
            if (!plant.is(.leak_window)) engine.kernel_bytes -= operation.piece.bytes;
            operation.phase = .queued;
        }

        fn requeueFront(engine: *Self, operation: *Operation) void {
            operation.assertPhase(.queued);
            operation.place = .fifo;
            engine.queueOf(operation).pushFront(operation);
        }

        fn requeue(engine: *Self, operation: *Operation) void {
            operation.assertPhase(.queued);
            operation.place = .fifo;
            engine.queueOf(operation).push(operation);
        }

        /// The kernel lane will not have it. What it cannot do at all, the pool can.
        fn refused(engine: *Self, operation: *Operation, errno: i32) void {
            operation.assertPhase(.queued);
            const unsure = engine.kernel.capability(operation.kind) != .yes;
            if (unsure and errno == @intFromEnum(E.OPNOTSUPP)) {
                if (operation.cancel_requested) return engine.settle(operation, .canceled, 0);
                if (operation.file != abi.file_none) {
                    const file = &engine.memory.files[operation.file];
                    if (operation.isSync()) {
                        file.syncs_refused = true;
                    } else {
                        file.transfers_refused = true;
                    }
                }
                engine.stats().fallbacks += 1;
                operation.route = .pool;
                return engine.requeue(operation);
            }
            engine.settle(operation, .failed, errno);
        }

        fn pumpPool(engine: *Self) u32 {
            if (engine.pool_fifo.count == 0) return 0;
            const room = @min(engine.limits.queue_depth -| engine.pool_count, engine.memory.run.len);
            var count: u32 = 0;
            var done: u32 = 0;
            while (count < room) {
                const operation = engine.pool_fifo.pop() orelse break;
                if (engine.limits.pool_reads_now) {
                    if (engine.readNow(&engine.pool, operation, &engine.now_bytes)) |result| {
                        engine.endedNow(operation, result);
                        done += 1;
                        continue;
                    }
                }
                operation.assertPhase(.queued);
                if (operation.isTransfer()) operation.preparePiece();
                operation.place = .nowhere;
                operation.phase = .in_kernel;
                operation.incarnation +%= 1;
                engine.memory.run[count] = operation;
                count += 1;
            }
            const run = engine.memory.run[0..count];
            if (run.len == 0) return done;
            if (engine.pool.submit(run)) {
                engine.pool_count += count;
                return done + count;
            }
            engine.refused_room = true;
            engine.stats().resubmissions += count;
            var index = run.len;
            while (index > 0) {
                index -= 1;
                run[index].phase = .queued;
                engine.requeueFront(run[index]);
            }
            return done;
        }

        // From the lanes to the table ----------------------------------------------------------

        /// Returns how many submissions have ended.
        fn collect(engine: *Self) u32 {
            var count: u32 = 0;
            if (engine.kernel_count > 0 or engine.mayAskAboutAbandoned()) {
                const reaped = engine.kernel.reap(engine.memory.reaped);
                if (reaped > 0) engine.now_ns = engine.pool.nowNs();
                for (engine.memory.reaped[0..reaped]) |event| engine.collectOne(event);
                count += @intCast(reaped);
            }
            if (engine.pool_count > 0) {
                var finished = engine.pool.reap();
                if (finished.count > 0) engine.now_ns = engine.pool.nowNs();
                while (finished.pop()) |operation| {
                    operation.assertPhase(.in_kernel);
                    engine.pool_count -= 1;
                    operation.phase = .queued;
                    engine.ended(operation, operation.result);
                    count += 1;
                }
            }
            return count;
        }

        /// A kernel that refuses every call is not asked in each of ours.
        fn mayAskAboutAbandoned(engine: *Self) bool {
            if (engine.abandoned_count == 0) return false;
            if (!engine.isMute()) return true;
            if (engine.now_ns - engine.abandoned_asked_ns < retry_ms_busy * std.time.ns_per_ms) return false;
            engine.abandoned_asked_ns = engine.now_ns;
            return true;
        }

        fn collectOne(engine: *Self, event: lane.Reaped) void {
            const index: u32 = @truncate(event.token);
            assert(index < engine.memory.operations.len);
            const operation = &engine.memory.operations[index];
            if (operation.phase == .abandoned and operation.token() == event.token) {
                return engine.takeBack(operation);
            }
            const current = operation.phase == .in_kernel and operation.route == .kernel and
                (operation.token() == event.token or plant.is(.accept_stale));
            if (!current) {
                engine.stats().stale_events += 1;
                return;
            }
            engine.leaveKernel(operation);
            engine.ended(operation, event.result);
        }

        /// One submission has ended with `result`: bytes, or a negative errno.
        fn ended(engine: *Self, operation: *Operation, result: isize) void {
            operation.assertPhase(.queued);
            if (result < 0) return engine.endedBadly(operation, result);
            if (!operation.isTransfer()) return engine.settle(operation, .ok, 0);
            const bytes: u64 = @intCast(result);
            assert(bytes <= operation.piece.bytes);
            const is_read = operation.kind == .read or operation.kind == .readv;
            if (is_read) engine.endedRead(operation, bytes) else engine.endedWrite(operation, bytes);
        }

        fn endedRead(engine: *Self, operation: *Operation, bytes: u64) void {
            operation.advance(bytes);
            const end_of_file = bytes == 0 or bytes % operation.alignment != 0 or
                (plant.is(.trust_short_read) and bytes < operation.piece.bytes);
            // A direct read that ends within a sector has met the end of the file; asking again
            // from there would be misaligned.
            if (operation.transferred == operation.length or end_of_file) {
                return engine.settle(operation, .ok, 0);
            }
            engine.goOn(operation);
        }

        fn endedWrite(engine: *Self, operation: *Operation, bytes: u64) void {
            const all = operation.length - operation.transferred == bytes;
            // A direct write may stop within a sector (a full disk): go back to its start.
            const kept = if (all) bytes else bytes - bytes % operation.alignment;
            operation.advance(kept);
            if (operation.transferred == operation.length) return engine.settle(operation, .ok, 0);
            if (kept == 0) {
                if (operation.stalled) return engine.settle(operation, .no_progress, 0);
                operation.stalled = true;
            } else {
                operation.stalled = false;
            }
            engine.goOn(operation);
        }

        fn goOn(engine: *Self, operation: *Operation) void {
            if (operation.cancel_requested) return engine.settle(operation, .canceled, 0);
            if (plant.is(.lose_continuation)) return engine.settle(operation, .ok, 0);
            engine.stats().continuations += 1;
            operation.attempts = 0;
            // At the end of the queue: a long transfer takes turns with the others.
            engine.requeue(operation);
        }

        fn endedBadly(engine: *Self, operation: *Operation, result: isize) void {
            const errno: i32 = @intCast(-result);
            switch (@as(E, @enumFromInt(@as(u16, @intCast(errno))))) {
                .CANCELED => if (operation.cancel_requested) {
                    return engine.settle(operation, .canceled, 0);
                },
                .INTR => {
                    if (plant.is(.report_eintr)) return engine.settle(operation, .failed, errno);
                    if (operation.cancel_requested) return engine.settle(operation, .canceled, 0);
                    engine.stats().resubmissions += 1;
                    return engine.requeueFront(operation);
                },
                .AGAIN => {
                    if (operation.cancel_requested) return engine.settle(operation, .canceled, 0);
                    engine.stats().resubmissions += 1;
                    operation.attempts +|= 1;
                    if (operation.attempts >= attempts_max and operation.route == .kernel) {
                        // O_NONBLOCK on somebody's descriptor makes io_uring say this for ever;
                        // pread does not mind the flag on files.
                        engine.stats().fallbacks += 1;
                        operation.route = .pool;
                    }
                    engine.refused_room = true;
                    return engine.requeueFront(operation);
                },
                .OPNOTSUPP => if (operation.route == .kernel) return engine.refused(operation, errno),
                else => {},
            }
            engine.settle(operation, .failed, errno);
        }

        /// A kernel that keeps to itself what it has done, for too long: no promise may hang for that. What waits
        /// for room behind it goes to the pool, the rest is settled without its word. Returns how many moved.
        fn abandonMute(engine: *Self) u32 {
            if (!@hasDecl(Kernel, "muteErrno")) return 0;
            const errno = engine.kernel.muteErrno() orelse {
                engine.mute_since_ns = 0;
                return 0;
            };
            const rerouted = engine.reroute();
            if (engine.kernel_count == 0) {
                engine.mute_since_ns = 0;
                return rerouted;
            }
            if (engine.mute_since_ns == 0) engine.mute_since_ns = engine.now_ns;
            const mute_ns = engine.now_ns - engine.mute_since_ns;
            if (mute_ns < mute_ns_max or plant.is(.abandon_never)) return rerouted;
            const count = engine.kernel_count + rerouted;
            for (engine.memory.operations) |*operation| {
                if (operation.phase == .in_kernel and operation.route == .kernel) engine.abandon(operation, errno);
            }
            assert(engine.kernel_count == 0);
            return count;
        }

        /// The lane takes nothing any more: its queue goes where it says.
        fn reroute(engine: *Self) u32 {
            if (plant.is(.abandon_waiting)) return 0;
            var waiting = engine.fifo;
            engine.fifo = .{};
            const count = waiting.count;
            while (waiting.pop()) |operation| {
                operation.place = .nowhere;
                engine.enqueue(operation);
            }
            return count - engine.fifo.count;
        }

        /// Its row says that nobody knows; its memory and its place in the table stay the kernel's.
        fn abandon(engine: *Self, operation: *Operation, errno: i32) void {
            engine.leaveKernel(operation);
            operation.phase = .abandoned;
            operation.status = .abandoned;
            operation.errno = errno;
            operation.assertPhase(.abandoned);
            engine.abandoned_count += 1;
            if (plant.is(.abandon_memory)) operation.releaseSlabs();
            if (operation.changesMedium()) engine.releaseHeld(operation);
            engine.completions.add(operation, engine.now_ns);
        }

        /// The kernel has let go of what was abandoned. Nobody waits to hear how it ended.
        fn takeBack(engine: *Self, operation: *Operation) void {
            operation.assertPhase(.abandoned);
            engine.abandoned_count -= 1;
            operation.releaseSlabs();
            operation.phase = .done;
            operation.reset();
            engine.free.push(operation);
        }

        /// Ends an operation: lets go of its memory, frees the syncs behind it, fills its row.
        fn settle(engine: *Self, operation: *Operation, status: abi.Status, errno: i32) void {
            operation.assertPhase(.queued);
            assert(operation.place == .nowhere);
            operation.status = status;
            operation.errno = errno;
            operation.phase = .done;
            operation.assertPhase(.done);
            // A refused submission never counted and holds nothing.
            if (status != .invalid) {
                // A descriptor is gone after close(2) whatever it says.
                const closed = operation.kind == .close and status == .failed;
                if (status == .ok or closed) engine.noteDescriptor(operation);
                operation.releaseSlabs();
                if (operation.changesMedium()) engine.releaseHeld(operation);
            }
            engine.completions.add(operation, engine.now_ns);
            engine.operation_count += engine.completions.plantSecond();
            operation.reset();
            engine.free.push(operation);
        }

        /// Remembers which descriptors are ours, for a thread that ends with files open.
        fn noteDescriptor(engine: *Self, operation: *const Operation) void {
            if (operation.file == abi.file_none) return;
            const file = &engine.memory.files[operation.file];
            switch (operation.kind) {
                // Nothing else of the record is new: what was called too early may still count on it.
                .open => {
                    const info: *const abi.FileInfo = @ptrFromInt(operation.address);
                    file.owned_fd = info.fd;
                },
                .probe => file.owned_fd = if (operation.argument == 1) operation.fd else -1,
                .close => file.owned_fd = -1,
                else => return,
            }
            // Somebody else's descriptor may be closed and its number reused behind our back.
            if (@hasDecl(Kernel, "fileOpened") and file.owned_fd >= 0) {
                engine.kernel.fileOpened(operation.file, file.owned_fd);
            }
        }

        /// A write is over: syncs that were called after it wait for one less.
        fn releaseHeld(engine: *Self, write: *const Operation) void {
            if (write.file == abi.file_none) return;
            const file = &engine.memory.files[write.file];
            assert(file.writes_open > 0);
            file.writes_open -= 1;
            if (file.held.count == 0) return;
            var held = file.held;
            file.held = .{};
            while (held.pop()) |sync| {
                if (sync.order > write.order or plant.is(.miscount_sync)) sync.covers -= 1;
                if (sync.covers > 0) {
                    file.held.push(sync);
                } else {
                    sync.place = .nowhere;
                    engine.enqueue(sync);
                }
            }
        }

        // Cancellation and the end -------------------------------------------------------------

        fn cancelOperation(engine: *Self, operation: *Operation) void {
            switch (operation.phase) {
                .free, .done, .abandoned => unreachable, // these have settled: callers pass over them
                .queued => {
                    const list = switch (operation.place) {
                        .held => &engine.memory.files[operation.file].held,
                        .fifo => engine.queueOf(operation),
                        .nowhere => unreachable,
                    };
                    const found = list.remove(operation);
                    assert(found);
                    operation.place = .nowhere;
                    operation.covers = 0;
                    engine.settle(operation, .canceled, 0);
                },
                .in_kernel => {
                    if (operation.cancel_requested) return;
                    operation.cancel_requested = true;
                    if (plant.is(.drop_cancel)) return;
                    switch (operation.route) {
                        .kernel => switch (engine.kernel.cancel(operation)) {
                            .removed => {
                                engine.leaveKernel(operation);
                                engine.settle(operation, .canceled, 0);
                            },
                            .requested => {},
                        },
                        .pool => switch (engine.pool.cancel(operation)) {
                            .removed => {
                                engine.pool_count -= 1;
                                operation.phase = .queued;
                                engine.settle(operation, .canceled, 0);
                            },
                            .requested => {},
                        },
                    }
                },
            }
        }

        /// Cancels everything and waits until the kernel has let go, at most `timeout_ms`. False:
        /// it has not, and no memory of ours may be freed.
        pub fn shutdown(engine: *Self, timeout_ms: u32) bool {
            engine.kernel.disarm();
            engine.abandoned_asked_ns = 0;
            for (engine.memory.operations) |*operation| {
                if (operation.phase == .free or operation.phase == .abandoned) continue;
                engine.cancelOperation(operation);
                _ = engine.takeRows();
            }
            if (engine.kernel_count + engine.abandoned_count > 0) engine.kernel.cancelAll(timeout_ms);
            const deadline = engine.pool.nowNs() + @as(u64, timeout_ms) * std.time.ns_per_ms;
            while (engine.kernel_count + engine.pool_count + engine.abandoned_count > 0) {
                const reaped = engine.collect();
                _ = engine.takeRows();
                engine.dropQueued();
                if (reaped > 0) continue;
                // It had its time.
                if (engine.kernel_count + engine.pool_count == 0 and engine.isMute()) return false;
                if (engine.pool.nowNs() >= deadline) return false;
                engine.pool.pause();
            }
            engine.dropQueued();
            return true;
        }

        fn isMute(engine: *const Self) bool {
            return @hasDecl(Kernel, "muteErrno") and engine.kernel.muteErrno() != null;
        }

        /// For teardown in haste: a descriptor that a system call may be using is not ours to close.
        /// Its number would be given to another file, on which a thread about to make its call, or
        /// glibc's queue behind a running request of that number, would then work.
        pub fn forgetBusyDescriptors(engine: *Self) void {
            for (engine.memory.operations) |*operation| {
                if (operation.phase != .in_kernel or operation.file == abi.file_none) continue;
                engine.memory.files[operation.file].owned_fd = -1;
            }
        }

        /// What was put back by the last completions is not given to the kernel any more.
        fn dropQueued(engine: *Self) void {
            inline for (.{ &engine.fifo, &engine.pool_fifo }) |list| {
                while (list.pop()) |operation| {
                    operation.place = .nowhere;
                    engine.settle(operation, .canceled, 0);
                    _ = engine.takeRows();
                }
            }
        }
    };
}
