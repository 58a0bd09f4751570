//! Assembles each lane over the fake kernel.

const std = @import("std");
const fail = @import("report.zig").fail;
const fake = @import("core").fake_kernel;
const uring = @import("core").fake_uring;
const posix_aio = @import("core").fake_posix_aio;
const PosixAio = @import("core").posix_aio.PosixAio;
const IoUring = @import("core").io_uring.IoUring;
const FakeLane = @import("core").fake_lane.FakeLane;

fn checkCalls(counted: u64, made: u64) void {
    if (counted != made) fail("{d} system calls counted, {d} made", .{ counted, made });
}

/// The fake kernel's own lane.
pub const Own = struct {
    pub const name = "fake";
    pub const Lane = FakeLane;
    /// Whether its kernel may report a submission twice.
    pub const reports_stale = true;
    /// Null: the seed decides.
    pub const may_refuse: ?bool = null;
    pub const may_be_refused = false;

    pub fn start(lane: *Lane, kernel: *fake.Kernel, queue_depth: u32, _: u32, refuses: bool) void {
        lane.* = .{
            .kernel = kernel,
            .room = kernel.random().intRangeAtMost(u32, 1, queue_depth * 2),
            .capability_of_transfers = if (refuses) .maybe else .yes,
        };
    }

    pub fn stop(lane: *Lane) void {
        lane.deinit();
    }

    /// JavaScript has returned to its event loop.
    pub fn idle() void {}
};

/// The real io_uring lane over a fake ring.
pub const Uring = struct {
    pub const name = "io_uring";
    pub const Lane = IoUring(uring.Os);
    pub const reports_stale = false;
    pub const may_refuse: ?bool = false;
    pub const may_be_refused = true;

    var ring: uring.Ring = undefined;

    pub fn start(lane: *Lane, kernel: *fake.Kernel, queue_depth: u32, _: u32, _: bool) void {
        ring.init(kernel);
        uring.Os.current = &ring;
        if (lane.init(queue_depth, .{}) != null) fail("io_uring does not start", .{});
    }

    /// From now on a sandbox forbids its calls.
    pub fn fallSilent() void {
        ring.unresponsive_until_ns = std.math.maxInt(u64);
    }

    /// Whether it has what nobody can hear of then.
    pub fn keepsAny() bool {
        return ring.mode == .deferred and ring.running > 0;
    }

    /// No sandbox forbids its calls any more.
    pub fn speak() void {
        ring.kernel.weather.unresponsive = 0;
        ring.unresponsive_until_ns = 0;
    }

    pub fn stop(lane: *Lane) void {
        lane.deinit();
        checkCalls(lane.system_calls, ring.calls);
        checkCalls(lane.submit_calls, ring.submit_calls);
    }

    pub fn idle() void {
        ring.transition();
    }
};

/// The real POSIX AIO lane over FreeBSD's rules.
pub const Aio = struct {
    pub const name = "posix_aio";
    pub const Lane = PosixAio(posix_aio.Os);
    pub const reports_stale = true;
    pub const may_refuse: ?bool = true;
    pub const may_be_refused = false;

    var started: *Lane = undefined;

    pub fn start(lane: *Lane, kernel: *fake.Kernel, _: u32, operations: u32, _: bool) void {
        posix_aio.Os.current_kernel = kernel;
        started = lane;
        if (lane.init(operations, .{}) != null) fail("posix_aio does not start", .{});
    }

    pub fn stop(lane: *Lane) void {
        lane.deinit();
        checkCalls(lane.system_calls, lane.aio.calls);
        checkCalls(lane.submit_calls, lane.aio.submit_calls);
        if (posix_aio.Os.current != null) fail("the control blocks were not given back", .{});
    }

    pub fn idle() void {
        started.aio.waiterTurn();
    }
};
