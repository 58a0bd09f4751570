//! The parts that FreeBSD and macOS share, through libc.

const builtin = @import("builtin");
const std = @import("std");
const abi = @import("../abi.zig");
const calls = @import("calls.zig");
const opening = @import("opening.zig");
const c = std.c;
const signed = @import("errno.zig").signed;

extern "c" fn ioctl(fd: c_int, request: c_ulong, ...) c_int;

/// A pipe, since there is no eventfd everywhere: both ends without blocking.
pub const Wake = struct {
    read_fd: i32,
    write_fd: i32,

    pub fn open() union(enum) { wake: Wake, errno: i32 } {
        var fds: [2]c.fd_t = undefined;
        if (c.pipe(&fds) != 0) return .{ .errno = @intFromEnum(@import("errno.zig").lastErrno()) };
        for (fds) |fd| {
            closeOnExec(fd);
            calls.setNonblock(fd, true);
        }
        return .{ .wake = .{ .read_fd = fds[0], .write_fd = fds[1] } };
    }

    pub fn readFd(wake: Wake) i32 {
        return wake.read_fd;
    }

    /// EAGAIN means that the pipe is full: it is readable, which is all we want.
    pub fn ring(wake: Wake) void {
        _ = c.write(wake.write_fd, "1", 1);
    }

    pub fn close(wake: Wake) void {
        _ = c.close(wake.read_fd);
        _ = c.close(wake.write_fd);
    }
};

pub fn closeOnExec(fd: i32) void {
    _ = c.fcntl(fd, c.F.SETFD, @as(c_int, c.FD_CLOEXEC));
}

/// The current directory, only to resolve paths against: O_EXEC of FreeBSD and macOS (O_SEARCH) needs
/// no right to read it.
pub fn openCurrent() isize {
    const search: u32 = if (builtin.os.tag == .freebsd) 0x40000 else 0x40000000;
    const flags: c.O = .{ .DIRECTORY = true, .CLOEXEC = true };
    const all: c.O = @bitCast(@as(u32, @bitCast(flags)) | search);
    return signed(c.openat(c.AT.FDCWD, ".", all, @as(c_uint, 0)));
}

pub fn control(fd: i32, request: u32, argument: u64) isize {
    return signed(ioctl(fd, request, @as(*anyopaque, @ptrFromInt(argument))));
}

/// A request without an argument takes a null.
pub fn controlPlain(fd: i32, request: u32) isize {
    return signed(ioctl(fd, request, @as(?*anyopaque, null)));
}

pub fn ioctlNumber(comptime T: type, fd: i32, request: u32) ?T {
    var value: T = 0;
    if (control(fd, request, @intFromPtr(&value)) < 0) return null;
    return value;
}

/// The same for `abi.Geometry`.
pub fn known(comptime T: type, fd: i32, request: u32) f64 {
    return @floatFromInt(ioctlNumber(T, fd, request) orelse return -1);
}

/// sys/stat.h of FreeBSD and macOS: the owner's flags, and the superuser's.
const UF_IMMUTABLE = 0x2;
const UF_APPEND = 0x4;
const SF_IMMUTABLE = 0x20000;
const SF_APPEND = 0x40000;

/// Bits of `abi.Refusal`: what of the file itself forbids changes; null if there is no such file.
pub fn whyRefused(directory: i32, path: [*:0]const u8) ?u32 {
    var found: c.Stat = undefined;
    if (c.fstatat(opening.startOf(directory), path, &found, 0) != 0) return null;
    const bits = abi.Refusal;
    return (if (found.flags & (UF_IMMUTABLE | SF_IMMUTABLE) != 0) bits.immutable else 0) |
        (if (found.flags & (UF_APPEND | SF_APPEND) != 0) bits.append_only else 0);
}

pub fn stat(fd: i32, out: *c.Stat) isize {
    return signed(c.fstat(fd, out));
}

/// Fills all of `info` but `fd`. A disk that is a character device is raw: it takes whole sectors, from
/// any memory. `diskSize` answers null for what is no disk.
pub fn fileInfo(
    fd: i32,
    info: *abi.FileInfo,
    comptime diskSize: fn (i32) ?u64,
    comptime sectorSize: fn (i32) u32,
) isize {
    var found: c.Stat = undefined;
    const result = stat(fd, &found);
    if (result < 0) return result;
    const raw = found.mode & c.S.IFMT == c.S.IFCHR and diskSize(fd) != null;
    const kind = switch (opening.kindOf(fd, found.mode, raw)) {
        .kind => |kind| kind,
        .refused => |refused| return refused,
    };
    const flags = switch (calls.statusFlags(fd)) {
        .flags => |flags| flags,
        .refused => |refused| return refused,
    };
    opening.describe(info, fd, kind, flags);
    fillStat(info, kind, &found);
    if (kind == .disk) info.size = @floatFromInt(diskSize(fd) orelse 0);
    if (!raw) return 0;
    info.direct = 1;
    info.offset_alignment = sectorSize(fd);
    return 0;
}

fn fillStat(info: *abi.FileInfo, kind: abi.FileKind, from: *const c.Stat) void {
    info.mode = from.mode;
    info.size = @floatFromInt(from.size);
    info.dev = unsigned(from.dev);
    info.ino = unsigned(from.ino);
    info.nlink = @floatFromInt(from.nlink);
    info.uid = @floatFromInt(from.uid);
    info.gid = @floatFromInt(from.gid);
    info.rdev = unsigned(from.rdev);
    // An inode is used again by another file, born later. -1 where the file system does not say.
    const birth = from.birthtime();
    if (kind == .regular and birth.sec > 0) {
        info.instance = @bitCast(@as(i64, birth.sec) *% std.time.ns_per_s +% birth.nsec);
    }
    info.blksize = @floatFromInt(from.blksize);
    info.blocks = @floatFromInt(from.blocks);
    info.atime_ms = opening.milliseconds(from.atime());
    info.mtime_ms = opening.milliseconds(from.mtime());
    info.ctime_ms = opening.milliseconds(from.ctime());
    info.birthtime_ms = opening.milliseconds(birth);
}

/// dev_t is signed on macOS.
fn unsigned(number: anytype) u64 {
    return @bitCast(@as(i64, if (@typeInfo(@TypeOf(number)).int.signedness == .signed) number else @bitCast(@as(u64, number))));
}
