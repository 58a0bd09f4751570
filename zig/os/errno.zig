//! The result of a system call as it travels: a count, or the negative errno.

const builtin = @import("builtin");
const std = @import("std");
const E = std.posix.E;

pub fn negative(errno: E) isize {
    return -@as(isize, @intFromEnum(errno));
}

pub fn errnoOf(result: isize) E {
    return if (result >= 0) .SUCCESS else @enumFromInt(-result);
}

/// Linux answers raw system calls so itself; libc puts the errno elsewhere.
pub const signed = if (builtin.os.tag == .linux) ofKernel else ofLibc;

fn ofKernel(result: usize) isize {
    return @bitCast(result);
}

fn ofLibc(result: isize) isize {
    return if (result >= 0) result else negative(lastErrno());
}

pub fn lastErrno() E {
    return @enumFromInt(std.c._errno().*);
}
