//! The parts that FreeBSD and macOS share, through libc.

const builtin = @import("builtin");
const std = @import("std");
const abi = @import("../abi.zig");
const Iovec = @import("iovec.zig").Iovec;
const c = std.c;
const E = std.posix.E;
const negative = @import("errno.zig").negative;

const page_align = std.heap.page_size_min;

extern "c" fn ioctl(fd: c_int, request: c_ulong, ...) c_int;
extern "c" fn nanosleep(time: *const c.timespec, rest: ?*c.timespec) c_int;

pub fn lastErrno() E {
    return @enumFromInt(c._errno().*);
}

/// A libc result as it travels: a count, or a negative errno.
pub fn signed(result: isize) isize {
    return if (result >= 0) result else negative(lastErrno());
}

pub fn errnoOf(result: isize) E {
    return if (result >= 0) .SUCCESS else @enumFromInt(-result);
}

pub fn mapMemory(bytes: u64) ?[]align(page_align) u8 {
    const result = c.mmap(
        null,
        bytes,
        .{ .READ = true, .WRITE = true },
        .{ .TYPE = .PRIVATE, .ANONYMOUS = true },
        -1,
        0,
    );
    if (result == c.MAP_FAILED) return null;
    const pointer: [*]align(page_align) u8 = @ptrCast(@alignCast(result));
    return pointer[0..bytes];
}

pub fn unmapMemory(memory: []align(page_align) u8) void {
    const result = c.munmap(memory.ptr, memory.len);
    std.debug.assert(result == 0);
}

/// A pipe, since there is no eventfd everywhere: both ends without blocking.
pub const Wake = struct {
    read_fd: i32,
    write_fd: i32,

    pub fn open() union(enum) { wake: Wake, errno: i32 } {
        var fds: [2]c.fd_t = undefined;
        if (c.pipe(&fds) != 0) return .{ .errno = @intFromEnum(lastErrno()) };
        for (fds) |fd| {
            closeOnExec(fd);
            setNonblock(fd, true);
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

fn setNonblock(fd: i32, on: bool) void {
    const status = c.fcntl(fd, c.F.GETFL);
    if (status < 0) return;
    var flags: c.O = @bitCast(status);
    flags.NONBLOCK = on;
    _ = c.fcntl(fd, c.F.SETFL, @as(c_int, @bitCast(flags)));
}

pub fn pread(fd: i32, address: u64, bytes: u64, offset: u64) isize {
    return signed(c.pread(fd, @ptrFromInt(address), bytes, @intCast(offset)));
}

pub fn pwrite(fd: i32, address: u64, bytes: u64, offset: u64) isize {
    return signed(c.pwrite(fd, @ptrFromInt(address), bytes, @intCast(offset)));
}

pub fn preadv(fd: i32, iovecs: []const Iovec, offset: u64) isize {
    return signed(c.preadv(fd, @ptrCast(iovecs.ptr), @intCast(iovecs.len), @intCast(offset)));
}

pub fn pwritev(fd: i32, iovecs: []const Iovec, offset: u64) isize {
    return signed(c.pwritev(fd, @ptrCast(iovecs.ptr), @intCast(iovecs.len), @intCast(offset)));
}

pub fn fsync(fd: i32) isize {
    return signed(c.fsync(fd));
}

pub fn truncate(fd: i32, length: u64) isize {
    return signed(c.ftruncate(fd, @intCast(length)));
}

/// Another descriptor of the same open file.
pub fn duplicate(fd: i32) isize {
    return signed(c.fcntl(fd, c.F.DUPFD_CLOEXEC, @as(c_int, 0)));
}

/// Where the descriptor stands, after it was moved to `offset` if that is given; lseek(2).
pub fn seek(fd: i32, offset: ?i64) isize {
    return signed(c.lseek(fd, offset orelse 0, if (offset == null) c.SEEK.CUR else c.SEEK.SET));
}

pub fn close(fd: i32) isize {
    const result = signed(c.close(fd));
    // FreeBSD has closed it even after EINTR (close(2)); calling again might close another's.
    return if (result == negative(.INTR)) 0 else result;
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

/// Opens without ever blocking on a FIFO; `extra` are the system's own flags. A relative path begins at
/// `directory`, or, if that is -1, at the current one. A FIFO without a reader and a socket say ENXIO or
/// EOPNOTSUPP here; so may a device that is gone.
pub fn open(directory: i32, path: [*:0]const u8, flags: u32, mode: u32, extra: c.O) isize {
    const bits = abi.OpenFlag;
    const wants_write = flags & bits.write != 0;
    const common: c.O = .{
        .ACCMODE = if (!wants_write) .RDONLY else if (flags & bits.read != 0) .RDWR else .WRONLY,
        .CREAT = flags & (bits.create | bits.create_new) != 0,
        .EXCL = flags & (bits.create_new | bits.exclusive) != 0,
        .TRUNC = flags & bits.truncate != 0,
        .NOCTTY = true,
        .NONBLOCK = true,
        .CLOEXEC = true,
    };
    const all: c.O = @bitCast(@as(u32, @bitCast(common)) | @as(u32, @bitCast(extra)));
    const start = if (directory < 0) c.AT.FDCWD else directory;
    const result = signed(c.openat(start, path, all, @as(c_uint, mode)));
    switch (errnoOf(result)) {
        .NXIO, .OPNOTSUPP => if (!hasPositions(start, path)) return negative(.SPIPE),
        else => {},
    }
    return result;
}

fn hasPositions(start: i32, path: [*:0]const u8) bool {
    var found: c.Stat = undefined;
    if (c.fstatat(start, path, &found, 0) != 0) return true;
    return switch (found.mode & c.S.IFMT) {
        c.S.IFIFO, c.S.IFSOCK => false,
        else => true,
    };
}

/// sys/stat.h of FreeBSD and macOS: the owner's flags, and the superuser's.
const UF_IMMUTABLE = 0x2;
const UF_APPEND = 0x4;
const SF_IMMUTABLE = 0x20000;
const SF_APPEND = 0x40000;

/// Bits of `abi.Refusal`: what of the file itself forbids changes; null if there is no such file.
pub fn whyRefused(directory: i32, path: [*:0]const u8) ?u32 {
    const start = if (directory < 0) c.AT.FDCWD else directory;
    var found: c.Stat = undefined;
    if (c.fstatat(start, path, &found, 0) != 0) return null;
    const bits = abi.Refusal;
    return (if (found.flags & (UF_IMMUTABLE | SF_IMMUTABLE) != 0) bits.immutable else 0) |
        (if (found.flags & (UF_APPEND | SF_APPEND) != 0) bits.append_only else 0);
}

/// The second half of `open`: refuses what has no positions, and lets it block again.
pub fn opened(
    fd: i32,
    info: *abi.FileInfo,
    fileInfo: *const fn (i32, *abi.FileInfo) isize,
) isize {
    const refused = fileInfo(fd, info);
    if (refused < 0) {
        _ = c.close(fd);
        return refused;
    }
    setNonblock(fd, false);
    info.fd = fd;
    return 0;
}

pub fn stat(fd: i32, out: *c.Stat) isize {
    return signed(c.fstat(fd, out));
}

pub const StatusFlags = union(enum) { flags: c.O, refused: isize };

pub fn statusFlags(fd: i32) StatusFlags {
    const status = c.fcntl(fd, c.F.GETFL);
    if (status < 0) return .{ .refused = negative(lastErrno()) };
    return .{ .flags = @bitCast(status) };
}

pub const Kind = union(enum) { kind: abi.FileKind, refused: isize };

/// Directories are refused with EISDIR, what has no positions with ESPIPE. A terminal lets itself
/// be positioned on FreeBSD, so it is asked for.
pub fn kindOf(fd: i32, mode: u32, is_disk: bool) Kind {
    switch (mode & c.S.IFMT) {
        c.S.IFREG => return .{ .kind = .regular },
        c.S.IFDIR => return .{ .refused = negative(.ISDIR) },
        c.S.IFBLK => return .{ .kind = .disk },
        c.S.IFCHR => {
            if (is_disk) return .{ .kind = .disk };
            if (c.isatty(fd) == 1) return .{ .refused = negative(.SPIPE) };
            if (c.lseek(fd, 0, c.SEEK.CUR) < 0) {
                const errno = lastErrno();
                return .{ .refused = negative(if (errno == .INVAL) .SPIPE else errno) };
            }
            return .{ .kind = .character };
        },
        else => return .{ .refused = negative(.SPIPE) },
    }
}

pub fn fillInfo(info: *abi.FileInfo, fd: i32, kind: abi.FileKind, from: *const c.Stat, flags: c.O) void {
    info.* = std.mem.zeroes(abi.FileInfo);
    info.fd = fd;
    info.kind = @intFromEnum(kind);
    info.memory_alignment = 1;
    info.offset_alignment = 1;
    info.readable = @intFromBool(flags.ACCMODE != .WRONLY);
    info.writable = @intFromBool(flags.ACCMODE != .RDONLY);
    info.append = @intFromBool(flags.APPEND);
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
    info.atime_ms = milliseconds(from.atime());
    info.mtime_ms = milliseconds(from.mtime());
    info.ctime_ms = milliseconds(from.ctime());
    info.birthtime_ms = milliseconds(from.birthtime());
}

/// dev_t is signed on macOS.
fn unsigned(number: anytype) u64 {
    return @bitCast(@as(i64, if (@typeInfo(@TypeOf(number)).int.signedness == .signed) number else @bitCast(@as(u64, number))));
}

fn milliseconds(time: c.timespec) f64 {
    return @as(f64, @floatFromInt(time.sec)) * 1000 + @as(f64, @floatFromInt(time.nsec)) / 1e6;
}

/// Sleeps, for teardown only.
pub fn sleepMs(ms: u32) void {
    const time: c.timespec = .{ .sec = ms / 1000, .nsec = @as(c_long, ms % 1000) * std.time.ns_per_ms };
    _ = nanosleep(&time, null);
}

/// One write to standard error before the process ends.
pub fn lastWords(prefix: []const u8, message: []const u8) void {
    _ = c.write(2, prefix.ptr, prefix.len);
    _ = c.write(2, message.ptr, message.len);
    _ = c.write(2, "\n", 1);
}
