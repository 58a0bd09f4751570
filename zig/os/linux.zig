//! Raw Linux system calls: the library does not use a libc, so that one file works with glibc and
//! musl. Comments name the header of numbers that std lacks.

const std = @import("std");
const linux = std.os.linux;
const abi = @import("../abi.zig");
const calls = @import("calls.zig");
const disk = @import("linux_disk.zig");
const opening = @import("opening.zig");
const Iovec = @import("iovec.zig").Iovec;
const negative = @import("errno.zig").negative;
const signed = @import("errno.zig").signed;

/// Requests huge pages (madvise(2)), as a hint: direct I/O pins every page of a request, and a
/// huge page at once.
pub fn preferHugePages(memory: []align(std.heap.page_size_min) u8) void {
    _ = linux.madvise(memory.ptr, memory.len, linux.MADV.HUGEPAGE);
}

// Wake descriptor ------------------------------------------------------------------------------

/// One descriptor to read and to ring: eventfd(2).
pub const Wake = struct {
    fd: i32,

    pub fn open() union(enum) { wake: Wake, errno: i32 } {
        const result = linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK);
        return switch (linux.errno(result)) {
            .SUCCESS => .{ .wake = .{ .fd = @intCast(result) } },
            else => |errno| .{ .errno = @intFromEnum(errno) },
        };
    }

    pub fn readFd(wake: Wake) i32 {
        return wake.fd;
    }

    /// EAGAIN means that the counter is full: the descriptor is readable, which is enough.
    pub fn ring(wake: Wake) void {
        const one: u64 = 1;
        _ = linux.write(wake.fd, @ptrCast(&one), 8);
    }

    pub fn close(wake: Wake) void {
        _ = linux.close(wake.fd);
    }
};

/// POSIX AIO of libc.
pub const Aio = @import("linux_aio.zig").Aio;

// Transfers ------------------------------------------------------------------------------------

pub const pread = calls.pread;
pub const pwrite = calls.pwrite;
pub const preadv = calls.preadv;
pub const pwritev = calls.pwritev;
pub const truncate = calls.truncate;
pub const close = calls.close;
pub const sleepMs = calls.sleepMs;
/// fsync(2): on a block device this also flushes the drive's cache.
pub const syncAll = calls.fsync;

/// preadv2(2) with RWF_NOWAIT (4.14): reads cached data, else EAGAIN; EOPNOTSUPP on file systems
/// without support.
pub fn readNow(fd: i32, iovecs: []const Iovec, offset: u64) isize {
    const rwf_nowait = 0x8;
    const position: usize = @intCast(offset);
    // 64-bit systems pass the position in one register, and nothing in the next.
    return signed(linux.syscall6(.preadv2, @as(u32, @bitCast(fd)), @intFromPtr(iovecs.ptr), iovecs.len, position, 0, rwf_nowait));
}

pub fn isTmpfs(fd: i32) bool {
    return fileSystemType(fd) == TMPFS_MAGIC;
}

/// cachestat(2) (6.5): 1 if every page of the range is in memory, else 0.
pub fn isCached(fd: i32, offset: u64, bytes: u64) isize {
    // linux/mman.h: struct cachestat_range; struct cachestat, of which nr_cache is the first.
    const range = [2]u64{ offset, bytes };
    var pages: [5]u64 = undefined;
    const result = signed(linux.syscall4(.cachestat, @as(u32, @bitCast(fd)), @intFromPtr(&range), @intFromPtr(&pages), 0));
    if (result < 0) return result;
    const page = std.heap.pageSize();
    return @intFromBool(pages[0] == (offset + bytes - 1) / page - offset / page + 1);
}

pub fn syncData(fd: i32) isize {
    return signed(linux.fdatasync(fd));
}

/// fallocate(2) with mode 0; EOPNOTSUPP on file systems without support.
pub fn allocate(fd: i32, offset: u64, length: u64) isize {
    return signed(linux.fallocate(fd, 0, @intCast(offset), @intCast(length)));
}

/// The current directory, only to resolve paths against: no right to read it is needed (O_PATH of
/// open(2)).
pub fn openCurrent() isize {
    return signed(linux.openat(linux.AT.FDCWD, ".", .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true }, 0));
}

// Opening and asking ---------------------------------------------------------------------------

pub fn open(directory: i32, path: [*:0]const u8, flags: u32, mode: u32, info: *abi.FileInfo) isize {
    return opening.open(directory, path, flags, mode, info, examine);
}

/// Refuses the medium of a drive, too: O_NONBLOCK, in whose way no FIFO blocks, opens it all the same.
fn examine(fd: i32, info: *abi.FileInfo) isize {
    const examined = fileInfo(fd, info);
    if (examined < 0 or info.kind != @intFromEnum(abi.FileKind.disk)) return examined;
    if (info.size == 0 and disk.presence(fd) == negative(.NOMEDIUM)) return negative(.NOMEDIUM);
    return if (info.writable == 1 and disk.isReadOnlyDisc(fd)) negative(.ROFS) else 0;
}

/// linux/stat.h
const STATX_ATTR_IMMUTABLE = 0x10;
const STATX_ATTR_APPEND = 0x20;
const STATX_ATTR_VERITY = 0x100000;

/// Bits of `abi.Refusal`: attributes that forbid changes of the file; null if there is no such
/// file.
pub fn whyRefused(directory: i32, path: [*:0]const u8) ?u32 {
    var buffer: linux.Statx = undefined;
    const result = linux.statx(opening.startOf(directory), path, 0, .{ .TYPE = true }, &buffer);
    if (linux.errno(result) != .SUCCESS) return null;
    const bits = abi.Refusal;
    const attributes: u64 = @bitCast(buffer.attributes);
    return (if (attributes & STATX_ATTR_IMMUTABLE != 0) bits.immutable else 0) |
        (if (attributes & STATX_ATTR_APPEND != 0) bits.append_only else 0) |
        (if (attributes & STATX_ATTR_VERITY != 0) bits.verity else 0);
}

/// Fills all of `info` but `fd`. Refuses directories with EISDIR and what cannot seek with ESPIPE.
pub fn fileInfo(fd: i32, info: *abi.FileInfo) isize {
    var stat: linux.Statx = undefined;
    const wanted: linux.STATX = @bitCast(
        @as(u32, @bitCast(linux.STATX.BASIC_STATS)) |
            @as(u32, @bitCast(linux.STATX{ .BTIME = true, .DIOALIGN = true })),
    );
    const result = signed(linux.statx(fd, "", linux.AT.EMPTY_PATH, wanted, &stat));
    if (result < 0) return result;
    const kind = switch (opening.kindOf(fd, stat.mode, false)) {
        .kind => |kind| kind,
        .refused => |refused| return refused,
    };
    const flags = switch (calls.statusFlags(fd)) {
        .flags => |flags| flags,
        .refused => |refused| return refused,
    };
    // An O_PATH descriptor: read(2) and write(2) would report the same (open(2)).
    if (flags.PATH) return negative(.BADF);
    opening.describe(info, fd, kind, flags);
    info.waits = @intFromBool(kind == .regular and fileSystemType(fd) == FUSE_SUPER_MAGIC);
    fillStat(info, &stat);
    if (kind == .disk) info.size = @floatFromInt(disk.size(fd));
    info.instance = instanceOf(fd, kind, &stat);
    const alignment = if (flags.DIRECT) directAlignment(fd, kind, &stat) else Alignment{ .memory = 1, .offset = 1 };
    info.memory_alignment = alignment.memory;
    info.offset_alignment = alignment.offset;
    return 0;
}

fn fillStat(info: *abi.FileInfo, stat: *const linux.Statx) void {
    info.mode = stat.mode;
    info.size = @floatFromInt(stat.size);
    info.dev = deviceNumber(stat.dev_major, stat.dev_minor);
    info.ino = stat.ino;
    info.nlink = @floatFromInt(stat.nlink);
    info.uid = @floatFromInt(stat.uid);
    info.gid = @floatFromInt(stat.gid);
    info.rdev = deviceNumber(stat.rdev_major, stat.rdev_minor);
    info.blksize = @floatFromInt(stat.blksize);
    info.blocks = @floatFromInt(stat.blocks);
    info.atime_ms = opening.milliseconds(stat.atime);
    info.mtime_ms = opening.milliseconds(stat.mtime);
    info.ctime_ms = opening.milliseconds(stat.ctime);
    info.birthtime_ms = if (stat.mask.BTIME) opening.milliseconds(stat.btime) else info.ctime_ms;
}

/// linux/fs.h: _IOR('v', 1, long), though file systems write an int.
const FS_IOC_GETVERSION = 0x80087601;

/// Tells apart files that reuse an inode (by birth time or generation), and media that reuse a
/// loop device or card reader (disk.BLKGETDISKSEQ, Linux 5.15).
fn instanceOf(fd: i32, kind: abi.FileKind, stat: *const linux.Statx) u64 {
    if (kind == .disk) return disk.ioctlNumber(u64, fd, disk.BLKGETDISKSEQ) orelse 0;
    if (kind != .regular) return 0;
    if (stat.mask.BTIME) return unixNanoseconds(stat.btime.sec, stat.btime.nsec);
    return disk.ioctlNumber(u64, fd, FS_IOC_GETVERSION) orelse 0;
}

fn unixNanoseconds(seconds: i64, nanoseconds: u32) u64 {
    return @bitCast(seconds *% std.time.ns_per_s +% nanoseconds);
}

/// The dev_t encoding of glibc (makedev(3)), as Node shows it.
fn deviceNumber(major: u64, minor: u64) u64 {
    return (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~@as(u64, 0xff)) << 12) |
        ((major & ~@as(u64, 0xfff)) << 32);
}

const Alignment = struct { memory: u32, offset: u32 };

/// STATX_DIOALIGN (Linux 6.1) if the file system answers. The sector size of a device is always
/// known. tmpfs accepts O_DIRECT since 6.6 and ignores it; a device node may lie on it, too
/// (devtmpfs). Otherwise a page, which every file system accepts.
fn directAlignment(fd: i32, kind: abi.FileKind, stat: *const linux.Statx) Alignment {
    const sector: u32 = if (kind == .disk) disk.ioctlNumber(u32, fd, disk.BLKSSZGET) orelse 4096 else 4096;
    if (stat.mask.DIOALIGN and stat.dio_offset_align != 0) return .{
        .memory = @max(stat.dio_mem_align, 1),
        .offset = if (kind == .disk) sector else stat.dio_offset_align,
    };
    const ignores = kind == .character or (kind == .regular and isTmpfs(fd));
    if (ignores) return .{ .memory = 1, .offset = 1 };
    return .{ .memory = sector, .offset = sector };
}

/// linux/magic.h
const TMPFS_MAGIC = 0x01021994;
const FUSE_SUPER_MAGIC = 0x65735546;

fn fileSystemType(fd: i32) u64 {
    // struct statfs is 120 bytes on 64-bit Linux, f_type its first word (statfs(2)).
    var buffer: [16]u64 = @splat(0);
    const result = linux.syscall2(.fstatfs, @bitCast(@as(isize, fd)), @intFromPtr(&buffer));
    return if (linux.errno(result) == .SUCCESS) buffer[0] else 0;
}

/// Drops cached pages, so that later reads come from the medium.
pub fn invalidateCache(fd: i32, kind: abi.FileKind) isize {
    if (kind == .disk) {
        const flushed = signed(linux.ioctl(fd, disk.BLKFLSBUF, 0));
        if (flushed == 0) return 0;
        // disk.BLKFLSBUF needs CAP_SYS_ADMIN (EACCES); otherwise the advice below is used.
    }
    // POSIX_FADV_DONTNEED keeps dirty pages (posix_fadvise(2)).
    const synced = signed(linux.fdatasync(fd));
    if (synced < 0 and synced != negative(.INVAL)) return synced;
    return signed(linux.fadvise(fd, 0, 0, linux.POSIX_FADV.DONTNEED));
}

pub const dataRanges = @import("linux_data_ranges.zig").dataRanges;
pub const copyRange = @import("linux_range_copy.zig").copyRange;
pub const geometry = disk.geometry;
pub const discard = disk.discard;
pub const writeZeroes = disk.writeZeroes;
pub const rereadPartitions = disk.rereadPartitions;

pub const attachImage = @import("linux_loop.zig").attachImage;
pub const loopStatus = @import("linux_loop.zig").loopStatus;
pub const uring = @import("linux_uring.zig");
pub const unmount = @import("linux_mounts.zig").unmount;
pub const watchDevices = @import("linux_uevents.zig").watchDevices;

/// Whether reads and writes bypass the page cache; for fault injection.
pub fn isDirect(fd: i32) bool {
    return switch (calls.statusFlags(fd)) {
        .flags => |flags| flags.DIRECT,
        .refused => false,
    };
}

test "a device node has the alignment of its sectors, whatever file system it lies on" {
    const created = signed(linux.memfd_create("alignment", 0));
    try std.testing.expect(created >= 0);
    // A file on tmpfs, as a node on devtmpfs is; and a kernel without STATX_DIOALIGN.
    const fd: i32 = @intCast(created);
    defer _ = linux.close(fd);
    try std.testing.expect(isTmpfs(fd));
    const stat = std.mem.zeroes(linux.Statx);
    try std.testing.expectEqual(Alignment{ .memory = 1, .offset = 1 }, directAlignment(fd, .regular, &stat));
    try std.testing.expectEqual(Alignment{ .memory = 4096, .offset = 4096 }, directAlignment(fd, .disk, &stat));
}
