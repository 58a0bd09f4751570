//! How each lane is put over the simulated kernel.

const fail = @import("report.zig").fail;
const simulated = @import("../os/simulated.zig");
const uring = @import("../os/simulated/uring.zig");
const IoUring = @import("../backend/io_uring.zig").IoUring;
const Simulated = @import("../backend/simulated.zig").Simulated;

/// The simulated kernel's own lane.
pub const Own = struct {
    pub const name = "simulated";
    pub const Lane = Simulated;
    /// Null: the seed decides.
    pub const may_refuse: ?bool = null;

    pub fn start(lane: *Lane, kernel: *simulated.Kernel, queue_depth: u32, refuses: bool) void {
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
    pub const may_refuse: ?bool = false;

    var ring: uring.Ring = undefined;

    pub fn start(lane: *Lane, kernel: *simulated.Kernel, queue_depth: u32, _: bool) void {
        ring.init(kernel);
        uring.Os.current = &ring;
        if (lane.init(queue_depth, .{}) != null) fail("io_uring does not start", .{});
    }

    pub fn stop(lane: *Lane) void {
        lane.deinit();
    }

    pub fn idle() void {
        ring.transition();
    }
};
