//! A kernel lane that can do nothing, so that everything goes to the pool: the backend `threads`,
//! for kernels that refuse io_uring and for macOS, whose AIO allows 16 requests a process and
//! answers EAGAIN to every mistake (aio_read(2), xnu).

const abi = @import("../abi.zig");
const lane = @import("../engine/lane.zig");
const Operation = @import("../engine/operation.zig").Operation;
const Refusal = @import("../os/refusal.zig").Refusal;

pub const NullLane = struct {
    system_calls: u64 = 0,
    submit_calls: u64 = 0,

    pub fn init(self: *NullLane) ?Refusal {
        self.* = .{};
        return null;
    }

    pub fn deinit(_: *NullLane) void {}

    pub fn features(_: *const NullLane) u32 {
        return 0;
    }

    pub fn capability(_: *const NullLane, _: abi.Kind) lane.Capability {
        return .no;
    }

    pub fn submit(_: *NullLane, _: []const *Operation, _: []lane.Verdict) void {
        unreachable; // capability() said no
    }

    pub fn reap(_: *NullLane, _: []lane.Reaped) usize {
        return 0;
    }

    pub fn cancel(_: *NullLane, _: *Operation) lane.Cancellation {
        unreachable; // nothing was ever submitted
    }

    pub fn arm(_: *NullLane) bool {
        return true;
    }

    pub fn disarm(_: *NullLane) void {}

    pub fn cancelAll(_: *NullLane, _: u32) void {}
};
