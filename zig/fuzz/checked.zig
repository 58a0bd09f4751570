//! Lane wrappers that report to the oracle what passes through them. The engine under test is
//! `Engine(Checked(Lane), CheckedPool)`.

const std = @import("std");
const abi = @import("core").abi;
const lane = @import("core").lane;
const fake = @import("core").fake_kernel;
const InlinePool = @import("core").fake_pool.InlinePool;
const List = @import("core").list.List(Operation);
const Operation = @import("core").operation.Operation;
const read_now = @import("core").read_now;
const at_once_index = @import("core").engine.at_once_index;
const Oracle = @import("oracle.zig").Oracle;
const fail = @import("report.zig").fail;

/// Operations an engine under test has at most.
pub const operations_max = 64;
/// More lane calls than this in one call into the engine mean that it spins.
const calls_max = 20_000;

pub fn Checked(comptime Inner: type) type {
    return struct {
        const Self = @This();

        pub const shares_room = @hasDecl(Inner, "shares_room");
        pub const scan_ms: u32 = if (@hasDecl(Inner, "scan_ms")) Inner.scan_ms else 0;

        inner: Inner,
        oracle: *Oracle,
        kernel: *fake.Kernel,
        limit_count: u32,
        limit_bytes: u64,
        /// What is in the kernel, by position in the engine's table.
        running: [operations_max]?*Operation = @splat(null),
        tokens: [operations_max]u64 = @splat(0),
        count: u32 = 0,
        bytes: u64 = 0,
        stale_events: u64 = 0,
        calls: u32 = 0,
        armed: bool = false,
        system_calls: u64 = 0,
        submit_calls: u64 = 0,

        pub fn capability(self: *const Self, kind: abi.Kind) lane.Capability {
            return self.inner.capability(kind);
        }

        fn step(self: *Self) void {
            self.calls += 1;
            if (self.calls > calls_max) fail("the engine spins", .{});
            if (self.oracle.lost_errno != 0) fail("the kernel of a lost ring is called", .{});
            self.system_calls = self.inner.system_calls;
            self.submit_calls = self.inner.submit_calls;
        }

        pub fn submit(self: *Self, operations: []const *Operation, verdicts: []lane.Verdict) void {
            self.step();
            if (self.armed) fail("a run is submitted while completions ring", .{});
            const now_ns = self.oracle.tally.now_ns;
            if (shares_room) self.oracle.room.asked(@intCast(operations.len), self.count, now_ns);
            self.oracle.run(.kernel, operations);
            for (operations) |operation| {
                self.running[operation.index] = operation;
                self.tokens[operation.index] = operation.token();
                self.count += 1;
                self.bytes += operation.piece.bytes;
            }
            if (self.count > self.limit_count) fail("{d} operations in the window", .{self.count});
            if (self.bytes > self.limit_bytes) fail("{d} bytes in the window", .{self.bytes});
            const hard_refusals = self.kernel.hard_refusals;
            self.inner.submit(operations, verdicts);
            const broken = self.kernel.hard_refusals > hard_refusals;
            for (operations, verdicts) |operation, verdict| {
                if (broken and verdict == .not_now) fail("waits for a kernel that refuses for good", .{});
                self.oracle.unsure = self.capability(operation.kind) != .yes;
                self.oracle.verdict(operation, verdict);
                if (verdict == .accepted) self.oracle.unresponsive_since_ns = 0 else self.left(operation);
            }
            if (shares_room) self.oracle.room.answered(countOf(verdicts, .accepted) + countOf(verdicts, .failed), countOf(verdicts, .not_now), self.count, now_ns);
            self.step();
        }

        pub fn readNow(self: *Self, operation: *Operation, way: read_now.Way) read_now.Outcome {
            if (!@hasDecl(Inner, "readNow")) return .refused;
            self.step();
            const outcome = self.inner.readNow(operation, way);
            self.step();
            self.oracle.unsure = self.capability(operation.kind) != .yes;
            // The scenario knows of the read that has no slot.
            if (operation.index == at_once_index) return outcome;
            if (outcome == .ended) self.oracle.readNow(operation, .kernel, outcome.ended);
            return outcome;
        }

        fn countOf(verdicts: []const lane.Verdict, which: std.meta.Tag(lane.Verdict)) u32 {
            var count: u32 = 0;
            for (verdicts) |verdict| count += @intFromBool(verdict == which);
            return count;
        }

        fn left(self: *Self, operation: *Operation) void {
            self.running[operation.index] = null;
            self.count -= 1;
            self.bytes -= operation.piece.bytes;
        }

        pub fn reap(self: *Self, out: []lane.Reaped) usize {
            self.step();
            self.kernel.tick();
            const count = self.inner.reap(out);
            if (count > 0) self.oracle.tally.now_ns = self.kernel.now_ns;
            for (out[0..count]) |event| {
                const index: u32 = @truncate(event.token);
                if (index >= operations_max) fail("token {x} names no operation", .{event.token});
                const operation = self.running[index] orelse {
                    self.stale_events += 1;
                    continue;
                };
                if (self.tokens[index] != event.token) {
                    self.stale_events += 1;
                    continue;
                }
                self.left(operation);
                self.oracle.unsure = self.capability(operation.kind) != .yes;
                self.oracle.result(operation, .kernel, event.result);
            }
            self.step();
            return count;
        }

        pub fn cancel(self: *Self, operation: *Operation) lane.Cancellation {
            self.step();
            self.oracle.calls[operation.slot].cancel_forwarded = true;
            const cancellation = self.inner.cancel(operation);
            if (cancellation == .removed) {
                self.left(operation);
                self.oracle.removedFromLane(operation);
            }
            return cancellation;
        }

        pub fn fileOpened(self: *Self, file: u32, fd: i32) void {
            if (@hasDecl(Inner, "fileOpened")) self.inner.fileOpened(file, fd);
        }

        pub fn fileCloses(self: *Self, file: u32) void {
            if (@hasDecl(Inner, "fileCloses")) self.inner.fileCloses(file);
        }

        pub fn holdsFile(self: *Self, file: u32, waited_ns: u64) bool {
            return if (@hasDecl(Inner, "holdsFile")) self.inner.holdsFile(file, waited_ns) else false;
        }

        pub fn unsent(self: *const Self) bool {
            return if (@hasDecl(Inner, "unsent")) self.inner.unsent() else false;
        }

        pub fn unresponsiveErrno(self: *const Self) ?i32 {
            if (!@hasDecl(Inner, "unresponsiveErrno") or self.oracle.lost_errno != 0) return null;
            const errno = self.inner.unresponsiveErrno();
            self.oracle.unresponsive(errno);
            return errno;
        }

        pub fn wakes(self: *Self) u64 {
            return if (@hasDecl(Inner, "wakes")) self.inner.wakes() else 0;
        }

        pub fn arm(self: *Self) bool {
            self.step();
            self.kernel.tick();
            self.armed = true;
            return self.inner.arm();
        }

        pub fn disarm(self: *Self) void {
            self.armed = false;
            self.inner.disarm();
        }

        pub fn cancelAll(self: *Self, timeout_ms: u32) void {
            self.step();
            self.inner.cancelAll(timeout_ms);
        }
    };
}

pub const CheckedPool = struct {
    inner: InlinePool,
    oracle: *Oracle,
    system_calls: u64 = 0,
    wakes: u64 = 0,

    pub fn submit(pool: *CheckedPool, operations: []const *Operation) bool {
        pool.oracle.run(.pool, operations);
        const taken = pool.inner.submit(operations);
        for (operations) |operation| {
            pool.oracle.verdict(operation, if (taken) .accepted else .not_now);
        }
        pool.count();
        return taken;
    }

    pub fn readNow(pool: *CheckedPool, operation: *Operation, way: read_now.Way) read_now.Outcome {
        const outcome = pool.inner.readNow(operation, way);
        pool.count();
        if (operation.index == at_once_index) return outcome;
        if (outcome == .ended) pool.oracle.readNow(operation, .pool, outcome.ended);
        return outcome;
    }

    fn count(pool: *CheckedPool) void {
        pool.system_calls = pool.inner.system_calls;
        pool.wakes = pool.inner.wakes;
    }

    pub fn reap(pool: *CheckedPool) List {
        const finished = pool.inner.reap();
        if (finished.count > 0) pool.oracle.tally.now_ns = pool.inner.nowNs();
        var next = finished.head;
        while (next) |operation| : (next = operation.next) {
            pool.oracle.result(operation, .pool, operation.result);
        }
        pool.count();
        return finished;
    }

    pub fn arm(pool: *CheckedPool) bool {
        return pool.inner.arm();
    }

    pub fn disarm(pool: *CheckedPool) void {
        pool.inner.disarm();
    }

    pub fn cancel(pool: *CheckedPool, operation: *Operation) lane.Cancellation {
        pool.oracle.calls[operation.slot].cancel_forwarded = true;
        const cancellation = pool.inner.cancel(operation);
        if (cancellation == .removed) pool.oracle.removedFromLane(operation);
        return cancellation;
    }

    pub fn pause(pool: *CheckedPool) void {
        pool.inner.pause();
    }

    pub fn nowNs(pool: *CheckedPool) u64 {
        return pool.inner.nowNs();
    }
};
