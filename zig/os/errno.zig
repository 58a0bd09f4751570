//! How a system call's failure travels: as the negative errno.

const E = @import("std").posix.E;

pub fn negative(errno: E) isize {
    return -@as(isize, @intFromEnum(errno));
}
