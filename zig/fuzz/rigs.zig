//! How each lane is put over the simulated kernel.

const simulated = @import("../os/simulated.zig");
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
};
