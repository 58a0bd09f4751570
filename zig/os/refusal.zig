//! Why a backend cannot be used.

const Step = @import("../abi.zig").Step;
const E = @import("std").posix.E;

pub const Refusal = struct {
    errno: i32,
    step: Step,

    pub fn of(errno: E, step: Step) Refusal {
        return .{ .errno = @intFromEnum(errno), .step = step };
    }
};
