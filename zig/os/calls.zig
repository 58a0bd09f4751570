//! System calls that look the same everywhere: raw ones on Linux, where the library uses no libc, else
//! those of libc.

const builtin = @import("builtin");
const std = @import("std");
const Iovec = @import("iovec.zig").Iovec;
const negative = @import("errno.zig").negative;
const signed = @import("errno.zig").signed;

/// Where they are declared.
pub const system = if (builtin.os.tag == .linux) std.os.linux else std.c;
const nothing: c_int = 0;

pub fn pread(fd: i32, address: u64, bytes: u64, offset: u64) isize {
    return signed(system.pread(fd, @ptrFromInt(address), bytes, @intCast(offset)));
}

pub fn pwrite(fd: i32, address: u64, bytes: u64, offset: u64) isize {
    return signed(system.pwrite(fd, @ptrFromInt(address), bytes, @intCast(offset)));
}

pub fn preadv(fd: i32, iovecs: []const Iovec, offset: u64) isize {
    return signed(system.preadv(fd, @ptrCast(iovecs.ptr), @intCast(iovecs.len), @intCast(offset)));
}

pub fn pwritev(fd: i32, iovecs: []const Iovec, offset: u64) isize {
    return signed(system.pwritev(fd, @ptrCast(iovecs.ptr), @intCast(iovecs.len), @intCast(offset)));
}

/// What it flushes differs: see `syncAll` of each system.
pub fn fsync(fd: i32) isize {
    return signed(system.fsync(fd));
}

pub fn truncate(fd: i32, length: u64) isize {
    return signed(system.ftruncate(fd, @intCast(length)));
}

/// Another descriptor of the same open file.
pub fn duplicate(fd: i32) isize {
    return signed(system.fcntl(fd, system.F.DUPFD_CLOEXEC, nothing));
}

/// The offset of the descriptor, after moving it to `offset` if that is given; lseek(2).
pub fn seek(fd: i32, offset: ?i64) isize {
    return signed(system.lseek(fd, offset orelse 0, if (offset == null) system.SEEK.CUR else system.SEEK.SET));
}

pub fn close(fd: i32) isize {
    const result = signed(system.close(fd));
    // The descriptor is closed even after EINTR (close(2)); another call might close a reused one.
    return if (result == negative(.INTR)) 0 else result;
}

pub const StatusFlags = union(enum) { flags: system.O, refused: isize };

pub fn statusFlags(fd: i32) StatusFlags {
    const status = signed(system.fcntl(fd, system.F.GETFL, nothing));
    if (status < 0) return .{ .refused = status };
    return .{ .flags = @bitCast(@as(u32, @intCast(status))) };
}

pub fn setNonblock(fd: i32, on: bool) void {
    var flags = switch (statusFlags(fd)) {
        .flags => |flags| flags,
        .refused => return,
    };
    flags.NONBLOCK = on;
    _ = system.fcntl(fd, system.F.SETFL, @as(u32, @bitCast(flags)));
}

/// Sleeps, for teardown only.
pub fn sleepMs(ms: u32) void {
    const time: system.timespec = .{ .sec = ms / 1000, .nsec = @as(c_long, ms % 1000) * std.time.ns_per_ms };
    _ = system.nanosleep(&time, null);
}

/// One write to standard error before the process ends.
pub fn lastWords(prefix: []const u8, message: []const u8) void {
    for ([_][]const u8{ prefix, message, "\n" }) |words| _ = system.write(2, words.ptr, words.len);
}
