//! The pool lane over the fake kernel: the interface of `lanes/thread_pool.zig`, but jobs run
//! inline when the virtual clock says so. `test/pool_stress.zig` tests the real hand-over with
//! real threads.

const std = @import("std");
const assert = std.debug.assert;
const lane = @import("../engine/lane.zig");
const fake = @import("kernel.zig");
const List = @import("../engine/list.zig").List(Operation);
const Operation = @import("../engine/operation.zig").Operation;
const read_now = @import("../engine/read_now.zig");
const perform = @import("../lanes/perform.zig").perform;

pub const InlinePool = struct {
    kernel: *fake.Kernel,
    finished: List = .{},
    stopping: bool = false,
    quiet: bool = false,
    wakes: u64 = 0,
    system_calls: u64 = 0,

    pub fn init(pool: *InlinePool, kernel: *fake.Kernel) void {
        pool.* = .{ .kernel = kernel };
    }

    pub fn deinit(pool: *InlinePool) void {
        assert(pool.finished.count == 0);
    }

    pub fn submit(pool: *InlinePool, operations: []const *Operation) bool {
        assert(!pool.stopping);
        pool.kernel.tick();
        if (pool.kernel.happens(pool.kernel.weather.refuse_thread)) return false;
        for (operations) |operation| {
            operation.assertPhase(.in_kernel);
            const owner: fake.Owner = .{ .context = pool, .finish = run };
            _ = pool.kernel.startTask(owner, @intFromPtr(operation));
        }
        return true;
    }

    pub fn readNow(pool: *InlinePool, operation: *const Operation, way: read_now.Way) read_now.Outcome {
        return read_now.readNow(pool.kernel, operation, way, &pool.system_calls);
    }

    fn run(context: *anyopaque, request: *fake.Request) void {
        const pool: *InlinePool = @ptrCast(@alignCast(context));
        const operation: *Operation = @ptrFromInt(request.ask.user);
        pool.kernel.release(request);
        operation.result = perform(pool.kernel, operation);
        pool.system_calls += 1;
        const was_empty = pool.finished.count == 0;
        pool.finished.push(operation);
        if (was_empty and !pool.quiet and !pool.stopping) {
            pool.wakes += 1;
            pool.kernel.ring();
        }
    }

    pub fn reap(pool: *InlinePool) List {
        pool.kernel.tick();
        const taken = pool.finished;
        pool.finished = .{};
        return taken;
    }

    pub fn arm(pool: *InlinePool) bool {
        pool.kernel.tick();
        pool.quiet = false;
        return pool.finished.count == 0;
    }

    pub fn disarm(pool: *InlinePool) void {
        pool.quiet = true;
    }

    /// A job that has begun cannot be cancelled; the seed decides which have.
    pub fn cancel(pool: *InlinePool, operation: *Operation) lane.Cancellation {
        const request = pool.find(operation) orelse return .requested;
        if (!request.cancellable) return .requested;
        pool.kernel.withdraw(request);
        return .removed;
    }

    fn find(pool: *InlinePool, operation: *Operation) ?*fake.Request {
        for (pool.kernel.requests) |*request| {
            if (request.state != .running or !request.task) continue;
            if (request.owner.context != @as(*anyopaque, pool)) continue;
            if (request.ask.user == @intFromPtr(operation)) return request;
        }
        return null;
    }

    pub fn stop(pool: *InlinePool) List {
        pool.stopping = true;
        return .{};
    }

    pub fn pause(pool: *InlinePool) void {
        pool.kernel.advance(pool.kernel.now_ns + std.time.ns_per_ms);
    }

    pub fn nowNs(pool: *InlinePool) u64 {
        return pool.kernel.now_ns;
    }
};
