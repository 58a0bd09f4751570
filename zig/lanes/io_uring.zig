//! The io_uring lane: maps operations to submission queue entries, and completion queue entries
//! to results. One io_uring_enter(2) for each run. The engine resubmits and continues.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const abi = @import("../abi.zig");
const lane = @import("../engine/lane.zig");
const os = @import("../os/os.zig");
const plant = @import("../engine/plant.zig");
const Operation = @import("../engine/operation.zig").Operation;
const read_now = @import("../engine/read_now.zig");
const RegisteredBuffers = @import("registered_buffers.zig").RegisteredBuffers;
const Refusal = @import("../os/refusal.zig").Refusal;
const Slab = @import("../engine/slab.zig").Slab;
const E = linux.E;

/// `user_data` of a cancel request, whose own completion is ignored.
const cancel_token: u64 = std.math.maxInt(u64);

/// `user_data` of the notice that the kernel has let go of a registered file: this and the file's index.
/// No operation has such a token.
const file_token: u64 = cancel_token - files_registered_max;

/// Sets of setup flags, best first. DEFER_TASKRUN (6.1) runs completions only inside our own
/// enter, COOP_TASKRUN (5.19) at least without interrupting JavaScript; SUBMIT_ALL (5.18)
/// continues after a refused entry. Measured in docs/performance.md.
const flag_sets = [_]u32{
    linux.IORING_SETUP_SINGLE_ISSUER | linux.IORING_SETUP_DEFER_TASKRUN |
        linux.IORING_SETUP_TASKRUN_FLAG | linux.IORING_SETUP_SUBMIT_ALL | linux.IORING_SETUP_CLAMP,
    linux.IORING_SETUP_SINGLE_ISSUER | linux.IORING_SETUP_COOP_TASKRUN |
        linux.IORING_SETUP_TASKRUN_FLAG | linux.IORING_SETUP_SUBMIT_ALL | linux.IORING_SETUP_CLAMP,
    linux.IORING_SETUP_COOP_TASKRUN | linux.IORING_SETUP_TASKRUN_FLAG | linux.IORING_SETUP_CLAMP,
    linux.IORING_SETUP_CLAMP,
};

const opcodes = [_]linux.IORING_OP{ .READ, .WRITE, .READV, .WRITEV, .FSYNC, .ASYNC_CANCEL };

/// How long a worker thread of the kernel may be kept from a processor between a completion and the end
/// of its request.
const late_ns_max = 100 * std.time.ns_per_ms;

/// Limit of files registered with the ring; others are used by descriptor.
const files_registered_max = 1024;

pub fn IoUring(comptime Os: type) type {
    return struct {
        const Self = @This();

        ring: Os.uring.Ring,
        /// Holds IORING_CQ_EVENTFD_DISABLED (5.8).
        cq_flags: *u32,
        /// Tokens of operations to cancel that the kernel has not been asked about, oldest first.
        /// They are submitted before the next operations, so there are never more of them than
        /// operations in the window.
        cancels: []u64,
        cancel_count: u32 = 0,
        cancels_memory: []align(std.heap.page_size_min) u8,
        /// Which files of the engine are in the ring's table, at the same index.
        files_registered: std.StaticBitSet(files_registered_max) = .initEmpty(),
        /// For each file, how many notices are due that the kernel has let go of it.
        files_held: [files_registered_max]u16 = @splat(0),
        /// Whether there is such a table (Linux 6.14).
        registers_files: bool = false,
        /// Those that ran when a file was closed of which no notice tells.
        workers: Os.uring.Workers = .{},
        buffers: RegisteredBuffers(Os) = .{},
        /// The index under which this thread has registered the ring, if it has.
        registered_self: ?u31 = null,
        /// Not 0: the last enter was refused for good, with this errno: a sandbox forbade the
        /// call after the ring was made, or the descriptor was closed. The pool gets everything;
        /// completions of operations in the kernel can only be requested again later.
        refused_errno: i32 = 0,
        system_calls: u64 = 0,
        submit_calls: u64 = 0,

        pub fn init(self: *Self, queue_depth: u32, wake: Os.Wake) ?Refusal {
            // Twice the window: room for one cancel request for each operation, so that one enter
            // is enough.
            const entries: u16 = @intCast(@min(std.math.ceilPowerOfTwoAssert(u32, queue_depth * 2), 8192));
            const memory = os.mapMemory(queue_depth * @sizeOf(u64)) orelse return .of(.NOMEM, .mmap);
            const tokens: [*]u64 = @ptrCast(memory.ptr);
            for (flag_sets, 1..) |flags, count| switch (Os.uring.setup(entries, flags)) {
                .ring => |made| {
                    self.* = .{
                        .ring = made.ring,
                        .cq_flags = made.cq_flags,
                        .cancels = tokens[0..queue_depth],
                        .cancels_memory = memory,
                    };
                    break;
                },
                .refused => |refusal| {
                    const unknown_flag = refusal.errno == @intFromEnum(E.INVAL);
                    if (unknown_flag and count < flag_sets.len) continue;
                    os.unmapMemory(memory);
                    return refusal;
                },
            };
            const supported = Os.uring.supports(&self.ring, &opcodes);
            if (supported < 0) return self.refuse(supported, .opcodes);
            const registered = Os.uring.registerEventfd(&self.ring, wake.readFd());
            if (registered < 0) return self.refuse(registered, .eventfd);
            self.registers_files = Os.uring.registerFiles(&self.ring, files_registered_max) >= 0;
            if (@hasDecl(Os.uring, "registerSelf")) {
                self.registered_self = Os.uring.registerSelf(&self.ring);
            }
            self.disarm();
            return null;
        }

        /// The engine has opened a file that only it will close.
        pub fn fileOpened(self: *Self, file: u32, fd: i32) void {
            if (!self.registers_files or file >= files_registered_max) return;
            if (self.files_registered.isSet(file)) self.fileCloses(file);
            if (Os.uring.updateFile(&self.ring, file, fd, file_token + file) < 0) return;
            self.files_registered.set(file);
            self.files_held[file] += 1;
        }

        /// The file is about to be closed, with nothing in flight.
        pub fn fileCloses(self: *Self, file: u32) void {
            if (!self.tells(file) and self.defers()) self.workers.note();
            if (file >= files_registered_max or !self.files_registered.isSet(file)) return;
            self.files_registered.unset(file);
            // Refused for lack of memory, or by a sandbox: the table keeps the file open until
            // its index is reused, or the ring ends.
            if (Os.uring.updateFile(&self.ring, file, -1, 0) < 0) self.files_held[file] = 0;
        }

        /// Whether requests that have ended still hold the file: a worker thread of the kernel gives back
        /// its share of a request after the completion, and then the request ends in our next enter only.
        /// `waited_ns`: since the close was called.
        pub fn holdsFile(self: *Self, file: u32, waited_ns: u64) bool {
            if (self.tells(file)) return self.files_held[file] > 0;
            if (!self.defers() or plant.is(.close_unseen)) return false;
            // A ring that is busy with other files enters all the time anyway.
            if (waited_ns > late_ns_max) return false;
            return self.workers.areLate() or self.holdsBack();
        }

        /// Whether there is a notice when the kernel lets go of the file.
        fn tells(self: *const Self, file: u32) bool {
            return self.registers_files and file < files_registered_max;
        }

        /// From now on requests on the slab's memory use registered buffers (registered_buffers.zig).
        pub fn registerSlab(self: *Self, slab: *Slab, chunk_bytes: u32) bool {
            return self.buffers.add(&self.ring, slab, chunk_bytes);
        }

        /// The slab may be freed already: only its address is used.
        pub fn unregisterSlab(self: *Self, address: u64) void {
            self.buffers.remove(&self.ring, address);
        }

        fn refuse(self: *Self, result: isize, step: abi.Step) Refusal {
            Os.uring.close(&self.ring);
            os.unmapMemory(self.cancels_memory);
            return .{ .errno = @intCast(-result), .step = step };
        }

        pub fn deinit(self: *Self) void {
            if (@hasDecl(Os.uring, "unregisterSelf")) {
                if (self.registered_self) |index| Os.uring.unregisterSelf(&self.ring, index);
            }
            Os.uring.close(&self.ring);
            self.buffers.deinit();
            os.unmapMemory(self.cancels_memory);
        }

        pub fn features(self: *const Self) u32 {
            return self.ring.flags;
        }

        pub fn capability(self: *const Self, kind: abi.Kind) lane.Capability {
            if (self.isRefused()) return .no;
            return switch (kind) {
                .read, .write, .readv, .writev => .yes,
                // A worker thread of the kernel makes them, and nothing would tell when it has let go of
                // the file (`holdsFile`): as long as the ring rests, a closed device would stay busy.
                .sync_all, .sync_data => if (self.registers_files or !self.defers()) .yes else .no,
                else => .no,
            };
        }

        pub fn submit(self: *Self, operations: []const *Operation, verdicts: []lane.Verdict) void {
            assert(operations.len == verdicts.len);
            const taken = self.give(operations);
            for (verdicts, 0..) |*verdict, index| {
                verdict.* = if (index < taken)
                    .accepted
                else if (self.isRefused()) .{ .failed = @intFromEnum(E.OPNOTSUPP) } else .not_now;
            }
        }

        /// Submits cancel requests and then operations, as many at once as the queue holds.
        /// Returns how many of the operations the kernel took. The queue is empty before and
        /// after.
        fn give(self: *Self, operations: []const *Operation) usize {
            var taken: usize = 0;
            while (self.cancel_count > 0 or taken < operations.len) {
                const cancels = self.prepareCancels();
                const prepared = cancels + self.prepareRun(operations[taken..]);
                const consumed = self.enterSubmissions(prepared);
                const asked = @min(consumed, cancels);
                self.cancel_count -= asked;
                std.mem.copyForwards(u64, self.cancels, self.cancels[asked..][0..self.cancel_count]);
                taken += consumed - asked;
                if (consumed < prepared) break;
            }
            return taken;
        }

        fn prepareCancels(self: *Self) u32 {
            for (self.cancels[0..self.cancel_count], 0..) |token, index| {
                const sqe = self.ring.get_sqe() catch {
                    if (plant.is(.uring_drop_cancel)) self.cancel_count = @intCast(index);
                    return @intCast(index);
                };
                sqe.prep_cancel(token, 0);
                sqe.user_data = cancel_token;
            }
            return self.cancel_count;
        }

        fn prepareRun(self: *Self, operations: []const *Operation) u32 {
            for (operations, 0..) |operation, index| {
                operation.assertPhase(.in_kernel);
                const sqe = self.ring.get_sqe() catch return @intCast(index);
                self.prepare(sqe, operation);
                if (operation.file < files_registered_max and self.files_registered.isSet(operation.file)) {
                    sqe.fd = @intCast(operation.file);
                    sqe.flags |= linux.IOSQE_FIXED_FILE;
                }
            }
            return @intCast(operations.len);
        }

        /// A single cached read is faster without an entry; for several, one enter takes less
        /// time (docs/performance.md).
        pub fn readNow(self: *Self, operation: *const Operation, way: read_now.Way) read_now.Outcome {
            if (self.isRefused()) return .missed;
            const outcome = read_now.readNow(Os, operation, way, &self.system_calls);
            if (outcome == .ended and outcome.ended > 0) self.submit_calls += 1;
            return outcome;
        }

        fn prepare(self: *Self, sqe: *linux.io_uring_sqe, operation: *const Operation) void {
            const piece = operation.piece;
            const fd = operation.fd;
            const vector = piece.iovec_count > 0;
            const length: usize = if (vector) piece.iovec_count else piece.bytes;
            // A buffer within registered memory needs no pinning of its own.
            const place = self.placeOf(operation);
            switch (operation.kind) {
                .read, .readv => {
                    const single: linux.IORING_OP = if (place == null) .READ else .READ_FIXED;
                    sqe.prep_rw(if (vector) .READV else single, fd, piece.address, length, piece.offset);
                    sqe.buf_index = place orelse 0;
                },
                .write, .writev => {
                    const single: linux.IORING_OP = if (place == null) .WRITE else .WRITE_FIXED;
                    sqe.prep_rw(if (vector) .WRITEV else single, fd, piece.address, length, piece.offset);
                    sqe.buf_index = place orelse 0;
                },
                .sync_all => sqe.prep_fsync(fd, 0),
                .sync_data => sqe.prep_fsync(fd, linux.IORING_FSYNC_DATASYNC),
                else => unreachable, // capability() said no
            }
            // io_uring polls a FUSE file, which is always ready, and then waits for its server
            // inside of io_uring_enter(2) (Linux 6.18): a worker thread of the kernel must do
            // that.
            if (operation.waits) sqe.flags |= linux.IOSQE_ASYNC;
            sqe.user_data = operation.token();
        }

        fn placeOf(self: *Self, operation: *const Operation) ?u16 {
            if (operation.piece.iovec_count > 0) return null;
            const slab = operation.slab orelse return null;
            return self.buffers.place(&self.ring, slab, operation.piece.address, operation.piece.bytes);
        }

        /// Submits all `prepared` entries of the queue, and runs known deferred completions in
        /// the same call. Returns how many it took; the others are withdrawn, which is safe
        /// because without SQPOLL the kernel reads the queue only inside enter.
        fn enterSubmissions(self: *Self, prepared: u32) u32 {
            const total = self.ring.flush_sq();
            assert(total == prepared);
            var consumed: u32 = 0;
            while (consumed < total) {
                const result = self.enter(total - consumed);
                if (result <= 0) break;
                consumed += @intCast(result);
            }
            self.withdraw(total - consumed);
            return consumed;
        }

        fn enter(self: *Self, to_submit: u32) isize {
            self.system_calls += 1;
            if (to_submit > 0) self.submit_calls += 1;
            // Operations that end during submission are in the queue without GETEVENTS.
            const flags: u32 = if (to_submit == 0 or self.holdsBack()) linux.IORING_ENTER_GETEVENTS else 0;
            const result = Os.uring.enter(&self.ring, self.registered_self, to_submit, flags);
            self.refused_errno = if (result < 0 and !isPassing(result)) @intCast(-result) else 0;
            return result;
        }

        /// Whether what ends waits for our own enter.
        fn defers(self: *const Self) bool {
            return self.ring.flags & linux.IORING_SETUP_DEFER_TASKRUN != 0;
        }

        fn isRefused(self: *const Self) bool {
            return self.refused_errno != 0;
        }

        /// AGAIN: no memory for requests. BUSY: completions overflowed and must be reaped first.
        /// INTR: a signal arrived (io_uring_enter(2)).
        fn isPassing(result: isize) bool {
            return switch (@as(E, @enumFromInt(-result))) {
                .AGAIN, .BUSY, .NOMEM, .INTR => true,
                else => false,
            };
        }

        fn withdraw(self: *Self, count: u32) void {
            if (count == 0 or plant.is(.uring_keep_entries)) return;
            const sq = &self.ring.sq;
            sq.sqe_tail -%= count;
            sq.sqe_head -%= count;
            @atomicStore(u32, sq.tail, sq.sqe_tail, .release);
        }

        /// Takes available completions. Enters again only if the kernel says that this brings
        /// more, or refused the last time. One enter runs at most 20 deferred completions, so the
        /// engine repeats this until it returns none.
        pub fn reap(self: *Self, out: []lane.Reaped) usize {
            _ = self.give(&.{});
            var count = self.take(out);
            while (count == 0 and (self.isRefused() or self.holdsBack())) {
                const result = self.enter(0);
                count = self.take(out);
                if (result < 0 and count == 0) break;
            }
            return count;
        }

        fn take(self: *Self, out: []lane.Reaped) usize {
            const cq = &self.ring.cq;
            const head = cq.head.*;
            const ready = @atomicLoad(u32, cq.tail, .acquire) -% head;
            var count: usize = 0;
            var seen: u32 = 0;
            while (seen < ready and count < out.len) : (seen += 1) {
                const cqe = cq.cqes[(head +% seen) & cq.mask];
                if (cqe.user_data == cancel_token) continue;
                if (cqe.user_data >= file_token) {
                    self.files_held[cqe.user_data - file_token] -|= 1;
                    continue;
                }
                out[count] = .{ .token = cqe.user_data, .result = cqe.res };
                count += 1;
            }
            self.ring.cq_advance(seen);
            return count;
        }

        /// Whether completions wait inside the kernel for an enter.
        fn holdsBack(self: *const Self) bool {
            const flags = @atomicLoad(u32, self.ring.sq.flags, .acquire);
            if (plant.is(.uring_forget_deferred)) return flags & linux.IORING_SQ_CQ_OVERFLOW != 0;
            if (plant.is(.uring_forget_overflow)) return flags & linux.IORING_SQ_TASKRUN != 0;
            return flags & (linux.IORING_SQ_TASKRUN | linux.IORING_SQ_CQ_OVERFLOW) != 0;
        }

        pub fn cancel(self: *Self, operation: *Operation) lane.Cancellation {
            operation.assertPhase(.in_kernel);
            self.cancels[self.cancel_count] = operation.token();
            self.cancel_count += 1;
            return .requested;
        }

        /// Whether the kernel has not yet taken cancel requests, or withholds completions.
        pub fn unsent(self: *const Self) bool {
            return (self.cancel_count > 0 or self.isRefused()) and !plant.is(.uring_forget_cancel);
        }

        /// Deferred and overflowed completions arrive only by our own enter; without
        /// DEFER_TASKRUN any system call delivers the others.
        pub fn unresponsiveErrno(self: *const Self) ?i32 {
            if (!self.isRefused()) return null;
            return if (self.defers() or self.holdsBack()) self.refused_errno else null;
        }

        pub fn arm(self: *Self) bool {
            const disabled = linux.IORING_CQ_EVENTFD_DISABLED;
            _ = @atomicRmw(u32, self.cq_flags, .And, ~@as(u32, disabled), .seq_cst);
            if (plant.is(.uring_arm_blindly)) return self.ring.cq_ready() == 0;
            return self.ring.cq_ready() == 0 and (self.isRefused() or !self.holdsBack());
        }

        pub fn disarm(self: *Self) void {
            // Only this side writes these flags.
            const flags = self.cq_flags.* | linux.IORING_CQ_EVENTFD_DISABLED;
            @atomicStore(u32, self.cq_flags, flags, .monotonic);
        }

        /// Teardown: asks the kernel to let go of everything.
        pub fn cancelAll(self: *Self, timeout_ms: u32) void {
            self.system_calls += 1;
            _ = Os.uring.cancelAll(&self.ring, timeout_ms);
        }
    };
}
