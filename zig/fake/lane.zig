//! A lane directly over the fake kernel: what all kernel lanes have in common, without the
//! details of a real interface.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const lane = @import("../engine/lane.zig");
const fake = @import("kernel.zig");
const Operation = @import("../engine/operation.zig").Operation;
const Request = fake.Request;
const E = std.posix.E;

/// Finished requests remembered, to report one a second time.
const stale_max = 4;

pub const FakeLane = struct {
    pub const shares_room = true;

    kernel: *fake.Kernel,
    /// Requests at once, finished but not reaped ones included.
    room: u32,
    /// Files may refuse (POSIX AIO), or all is possible (io_uring).
    capability_of_transfers: lane.Capability = .yes,
    used: u32 = 0,
    /// Finished and not reaped.
    finished: u32 = 0,
    armed: bool = false,
    stale: [stale_max]u64 = @splat(0),
    stale_count: u32 = 0,
    system_calls: u64 = 0,
    submit_calls: u64 = 0,

    pub fn deinit(self: *FakeLane) void {
        assert(self.used == 0);
        assert(self.finished == 0);
    }

    pub fn features(_: *const FakeLane) u32 {
        return 0;
    }

    pub fn capability(self: *const FakeLane, kind: abi.Kind) lane.Capability {
        return switch (kind) {
            .read, .write, .readv, .writev, .sync_all, .sync_data => self.capability_of_transfers,
            else => .no,
        };
    }

    pub fn submit(self: *FakeLane, operations: []const *Operation, verdicts: []lane.Verdict) void {
        const kernel = self.kernel;
        self.system_calls += 1;
        self.submit_calls += 1;
        kernel.tick();
        // Some kernels go on behind an entry that they refuse, some stop there.
        const stops = kernel.random().boolean();
        var refusing = kernel.othersHoldRoom();
        for (operations, verdicts) |operation, *verdict| {
            operation.assertPhase(.in_kernel);
            verdict.* = if (refusing) .not_now else self.submitOne(operation);
            refusing = refusing or (stops and verdict.* == .not_now);
        }
        kernel.advance(kernel.now_ns);
    }

    fn submitOne(self: *FakeLane, operation: *Operation) lane.Verdict {
        const kernel = self.kernel;
        if (self.used >= self.room or kernel.happens(kernel.weather.refuse)) return .not_now;
        if (kernel.happens(kernel.weather.refuse_hard)) return .{ .failed = @intFromEnum(E.BADF) };
        if (self.capability_of_transfers == .maybe) {
            const disk = kernel.diskOf(operation.fd);
            if (disk != null and disk.?.refuses_aio) {
                return .{ .failed = @intFromEnum(E.OPNOTSUPP) };
            }
        }
        _ = kernel.start(.{ .context = self, .finish = finish }, askOf(operation));
        self.used += 1;
        return .accepted;
    }

    pub fn askOf(operation: *const Operation) fake.Ask {
        return .{
            .kind = operation.kind,
            .fd = operation.fd,
            .address = operation.piece.address,
            .bytes = operation.piece.bytes,
            .iovec_count = operation.piece.iovec_count,
            .offset = operation.piece.offset,
            .user = operation.token(),
        };
    }

    fn finish(context: *anyopaque, _: *Request) void {
        const self: *FakeLane = @ptrCast(@alignCast(context));
        self.finished += 1;
        if (self.armed) self.kernel.ring();
    }

    fn mine(self: *const FakeLane, request: *const Request) bool {
        return request.state != .free and request.owner.context == @as(*const anyopaque, self);
    }

    pub fn reap(self: *FakeLane, out: []lane.Reaped) usize {
        const kernel = self.kernel;
        self.system_calls += 1;
        kernel.tick();
        var count: usize = 0;
        if (self.stale_count > 0 and kernel.happens(kernel.weather.stale)) {
            out[0] = .{ .token = self.stale[kernel.random().uintLessThan(u32, self.stale_count)], .result = 0 };
            count = 1;
        }
        // Not always all that is there, and not in the order of ending.
        const offset = kernel.random().uintLessThan(usize, kernel.requests.len);
        for (0..kernel.requests.len) |index| {
            if (self.finished == 0 or count == out.len) break;
            const request = &kernel.requests[(index + offset) % kernel.requests.len];
            if (!self.mine(request) or request.state != .finished) continue;
            out[count] = .{ .token = request.ask.user, .result = request.result };
            count += 1;
            self.forget(request);
        }
        return count;
    }

    fn forget(self: *FakeLane, request: *Request) void {
        const kernel = self.kernel;
        if (self.stale_count < stale_max) self.stale_count += 1;
        self.stale[kernel.random().uintLessThan(u32, self.stale_count)] = request.ask.user;
        kernel.release(request);
        self.used -= 1;
        self.finished -= 1;
    }

    pub fn cancel(self: *FakeLane, operation: *Operation) lane.Cancellation {
        operation.assertPhase(.in_kernel);
        const kernel = self.kernel;
        for (kernel.requests) |*request| {
            if (!self.mine(request) or request.ask.user != operation.token()) continue;
            if (!kernel.cancel(request)) return .requested;
            // Some interfaces give it back at once, some report it later.
            if (kernel.random().boolean()) return .requested;
            self.forget(request);
            return .removed;
        }
        unreachable; // the engine cancels only what is in the kernel
    }

    pub fn arm(self: *FakeLane) bool {
        self.kernel.tick();
        self.armed = true;
        return self.finished == 0;
    }

    pub fn disarm(self: *FakeLane) void {
        self.armed = false;
    }

    pub fn cancelAll(self: *FakeLane, _: u32) void {
        for (self.kernel.requests) |*request| {
            if (self.mine(request)) _ = self.kernel.cancel(request);
        }
    }
};
