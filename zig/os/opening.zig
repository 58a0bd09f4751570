//! Opening a file and telling what it is: what the systems have in common.

const builtin = @import("builtin");
const std = @import("std");
const abi = @import("../abi.zig");
const calls = @import("calls.zig");
const errnoOf = @import("errno.zig").errnoOf;
const negative = @import("errno.zig").negative;
const signed = @import("errno.zig").signed;
const system = calls.system;

/// Opens without blocking on a FIFO, and refuses files without positions. A relative path is resolved
/// against `directory`, or the current one if that is -1. `examine` fills all of `info` but `fd`, or says
/// why the file is refused.
pub fn open(
    directory: i32,
    path: [*:0]const u8,
    flags: u32,
    mode: u32,
    info: *abi.FileInfo,
    comptime examine: fn (i32, *abi.FileInfo) isize,
) isize {
    const bits = abi.OpenFlag;
    const wants_write = flags & bits.write != 0;
    var how: system.O = .{
        .ACCMODE = if (!wants_write) .RDONLY else if (flags & bits.read != 0) .RDWR else .WRONLY,
        .CREAT = flags & (bits.create | bits.create_new) != 0,
        .EXCL = flags & (bits.create_new | bits.exclusive) != 0,
        .TRUNC = flags & bits.truncate != 0,
        .DSYNC = flags & bits.dsync != 0,
        .NOCTTY = true,
        .NONBLOCK = true,
        .CLOEXEC = true,
    };
    if (@hasField(system.O, "DIRECT")) how.DIRECT = flags & bits.direct != 0;
    const start = startOf(directory);
    const result = signed(system.openat(start, path, how, @as(c_uint, mode)));
    switch (errnoOf(result)) {
        .SUCCESS => {},
        // A FIFO without a reader and a socket report these; so may a device that is gone.
        .NXIO, .OPNOTSUPP => return if (hasPositions(start, path)) result else negative(.SPIPE),
        else => return result,
    }
    const fd: i32 = @intCast(result);
    const examined = examine(fd, info);
    if (examined < 0) {
        _ = calls.close(fd);
        return examined;
    }
    calls.setNonblock(fd, false);
    info.fd = fd;
    return 0;
}

/// Where a relative path begins.
pub fn startOf(directory: i32) i32 {
    return if (directory < 0) system.AT.FDCWD else directory;
}

fn hasPositions(start: i32, path: [*:0]const u8) bool {
    var found: if (builtin.os.tag == .linux) system.Statx else system.Stat = undefined;
    const result = if (builtin.os.tag == .linux)
        system.statx(start, path, 0, .{ .TYPE = true }, &found)
    else
        system.fstatat(start, path, &found, 0);
    if (signed(result) < 0) return true;
    return switch (found.mode & system.S.IFMT) {
        system.S.IFIFO, system.S.IFSOCK => false,
        else => true,
    };
}

pub const Kind = union(enum) { kind: abi.FileKind, refused: isize };

/// Directories are refused with EISDIR, what has no positions with ESPIPE. `is_disk`: of a character
/// device.
pub fn kindOf(fd: i32, mode: u32, is_disk: bool) Kind {
    switch (mode & system.S.IFMT) {
        system.S.IFREG => return .{ .kind = .regular },
        system.S.IFDIR => return .{ .refused = negative(.ISDIR) },
        system.S.IFBLK => return .{ .kind = .disk },
        system.S.IFCHR => {},
        else => return .{ .refused = negative(.SPIPE) },
    }
    if (is_disk) return .{ .kind = .disk };
    // A terminal has no positions, but lets itself be positioned on FreeBSD.
    if (builtin.os.tag != .linux and system.isatty(fd) == 1) return .{ .refused = negative(.SPIPE) };
    // lseek(2) reports ESPIPE for a terminal on Linux, and EINVAL for the kernel log.
    const position = calls.seek(fd, null);
    if (position >= 0) return .{ .kind = .character };
    return .{ .refused = if (position == negative(.INVAL)) negative(.SPIPE) else position };
}

/// The part of `info` that does not depend on the system.
pub fn describe(info: *abi.FileInfo, fd: i32, kind: abi.FileKind, flags: system.O) void {
    info.* = std.mem.zeroes(abi.FileInfo);
    info.fd = fd;
    info.kind = @intFromEnum(kind);
    info.memory_alignment = 1;
    info.offset_alignment = 1;
    if (@hasField(system.O, "DIRECT")) info.direct = @intFromBool(flags.DIRECT);
    info.readable = @intFromBool(flags.ACCMODE != .WRONLY);
    info.writable = @intFromBool(flags.ACCMODE != .RDONLY);
    info.append = @intFromBool(flags.APPEND);
}

/// As JavaScript counts time.
pub fn milliseconds(time: anytype) f64 {
    return @as(f64, @floatFromInt(time.sec)) * 1000 + @as(f64, @floatFromInt(time.nsec)) / 1e6;
}
