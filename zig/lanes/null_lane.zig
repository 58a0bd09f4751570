//! A kernel lane that can do nothing: with it everything goes to the pool. That is the backend
//! `threads`, for kernels that refuse io_uring and for macOS, whose own AIO allows 16 requests a
//! process and answers EAGAIN to every mistake (aio_read(2), xnu).

const abi = @import("../abi.zig");
const lane = @import("../engine/lane.zig");
const Operation = @import("../engine/operation.zig").Operation;

pub const None = struct {
    system_calls: u64 = 0,
    submit_calls: u64 = 0,

    pub fn deinit(_: *None) void {}

    pub fn features(_: *const None) u32 {
        return 0;
    }

    pub fn capability(_: *const None, _: abi.Kind) lane.Capability {
        return .no;
    }

    pub fn submit(_: *None, _: []const *Operation, _: []lane.Verdict) void {
        unreachable; // capability() said no
    }

    pub fn reap(_: *None, _: []lane.Reaped) usize {
        return 0;
    }

    pub fn cancel(_: *None, _: *Operation) lane.Cancellation {
        unreachable; // nothing was ever submitted
    }

    pub fn arm(_: *None) bool {
        return true;
    }

    pub fn disarm(_: *None) void {}

    pub fn cancelAll(_: *None, _: u32) void {}
};
