//! The operating system that the library is built for. Each file below has the same declarations,
//! as thin as possible: system calls return a count or a negative errno and keep no state.

const builtin = @import("builtin");
const std = @import("std");

pub const native = switch (builtin.os.tag) {
    .linux => @import("linux.zig"),
    .freebsd => @import("freebsd.zig"),
    .macos => @import("darwin.zig"),
    else => @compileError("bun-aio has no system layer for " ++ @tagName(builtin.os.tag)),
};

pub const E = std.posix.E;

pub const negative = @import("errno.zig").negative;

pub const calls = @import("calls.zig");
pub const mapMemory = @import("mapping.zig").mapMemory;
pub const unmapMemory = @import("mapping.zig").unmapMemory;

/// Threads come from the host process's libc: a library without libc of its own must not start
/// raw threads, which would lack that libc's thread-local storage.
pub const pthread = @import("pthread.zig");

/// Nanoseconds of CLOCK_MONOTONIC. libc answers from the vDSO, a raw system call would not.
pub fn monotonicNs() u64 {
    var now: Timespec = undefined;
    const status = clock_gettime(clock_monotonic, &now);
    std.debug.assert(status == 0);
    return @as(u64, @intCast(now.sec)) * std.time.ns_per_s + @as(u64, @intCast(now.nsec));
}

const Timespec = extern struct { sec: c_long, nsec: c_long };
const clock_monotonic: c_int = switch (builtin.os.tag) {
    .linux => 1,
    .freebsd => 4,
    .macos => 6,
    else => unreachable,
};
extern fn clock_gettime(clock: c_int, time: *Timespec) c_int;
extern fn getpagesize() c_int;

pub fn pageSize() usize {
    return @intCast(getpagesize());
}
