//! The result of a failed system call: the negative errno.

const E = @import("std").posix.E;

pub fn negative(errno: E) isize {
    return -@as(isize, @intFromEnum(errno));
}
