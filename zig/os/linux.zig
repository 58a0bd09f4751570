//! Raw Linux system calls: the library does not use a libc, so that one file works with glibc and
//! musl. Comments name the header of numbers that std lacks.

const builtin = @import("builtin");
const std = @import("std");
const linux = std.os.linux;
const abi = @import("../abi.zig");
const disk = @import("linux_disk.zig");
const Iovec = @import("iovec.zig").Iovec;
const negative = @import("errno.zig").negative;

const page_align = std.heap.page_size_min;

/// ThreadSanitizer must see memory mapped and unmapped, or it takes new memory for old: only
/// under it libc makes these calls.
const watched = builtin.sanitize_thread and builtin.link_libc;

pub fn mapMemory(bytes: u64) ?[]align(page_align) u8 {
    const access: linux.PROT = .{ .READ = true, .WRITE = true };
    const how: linux.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true };
    const result = if (watched)
        @intFromPtr(std.c.mmap(null, bytes, access, how, -1, 0))
    else
        linux.mmap(null, bytes, access, how, -1, 0);
    if (linux.errno(result) != .SUCCESS) return null;
    const pointer: [*]align(page_align) u8 = @ptrFromInt(result);
    return pointer[0..bytes];
}

/// Requests huge pages (madvise(2)), as a hint: direct I/O pins every page of a request, and a
/// huge page at once.
pub fn preferHugePages(memory: []align(page_align) u8) void {
    _ = linux.madvise(memory.ptr, memory.len, linux.MADV.HUGEPAGE);
}

pub fn unmapMemory(memory: []align(page_align) u8) void {
    const result = if (watched)
        @as(usize, @bitCast(@as(isize, std.c.munmap(memory.ptr, memory.len))))
    else
        linux.munmap(memory.ptr, memory.len);
    std.debug.assert(linux.errno(result) == .SUCCESS);
}

fn signed(result: usize) isize {
    return @bitCast(result);
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

pub fn pread(fd: i32, address: u64, bytes: u64, offset: u64) isize {
    return signed(linux.pread(fd, @ptrFromInt(address), bytes, @intCast(offset)));
}

pub fn pwrite(fd: i32, address: u64, bytes: u64, offset: u64) isize {
    return signed(linux.pwrite(fd, @ptrFromInt(address), bytes, @intCast(offset)));
}

pub fn preadv(fd: i32, iovecs: []const Iovec, offset: u64) isize {
    return signed(linux.preadv(fd, @ptrCast(iovecs.ptr), iovecs.len, @intCast(offset)));
}

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

pub fn pwritev(fd: i32, iovecs: []const Iovec, offset: u64) isize {
    return signed(linux.pwritev(fd, @ptrCast(iovecs.ptr), iovecs.len, @intCast(offset)));
}

/// fsync(2): on a block device this also flushes the drive's cache.
pub fn syncAll(fd: i32) isize {
    return signed(linux.fsync(fd));
}

pub fn syncData(fd: i32) isize {
    return signed(linux.fdatasync(fd));
}

pub fn truncate(fd: i32, length: u64) isize {
    return signed(linux.ftruncate(fd, @intCast(length)));
}

/// fallocate(2) with mode 0; EOPNOTSUPP on file systems without support.
pub fn allocate(fd: i32, offset: u64, length: u64) isize {
    return signed(linux.fallocate(fd, 0, @intCast(offset), @intCast(length)));
}

/// Another descriptor of the same open file.
pub fn duplicate(fd: i32) isize {
    return signed(linux.fcntl(fd, linux.F.DUPFD_CLOEXEC, 0));
}

/// The offset of the descriptor, after moving it to `offset` if that is given; lseek(2).
pub fn seek(fd: i32, offset: ?i64) isize {
    return signed(linux.lseek(fd, offset orelse 0, if (offset == null) linux.SEEK.CUR else linux.SEEK.SET));
}

pub fn close(fd: i32) isize {
    const result = signed(linux.close(fd));
    // The descriptor is closed even after EINTR (close(2)); another call might close a reused
    // one.
    return if (result == negative(.INTR)) 0 else result;
}

/// The current directory, only to resolve paths against: no right to read it is needed (O_PATH of
/// open(2)).
pub fn openCurrent() isize {
    return signed(linux.openat(linux.AT.FDCWD, ".", .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true }, 0));
}

// Opening and asking ---------------------------------------------------------------------------

/// Opens without blocking on a FIFO, and refuses files without positions. A relative path is
/// resolved against `directory`, or the current one if that is -1.
pub fn open(directory: i32, path: [*:0]const u8, flags: u32, mode: u32, info: *abi.FileInfo) isize {
    const bits = abi.OpenFlag;
    const wants_write = flags & bits.write != 0;
    const start = if (directory < 0) linux.AT.FDCWD else directory;
    const result = signed(linux.openat(start, path, .{
        .ACCMODE = if (!wants_write) .RDONLY else if (flags & bits.read != 0) .RDWR else .WRONLY,
        .CREAT = flags & (bits.create | bits.create_new) != 0,
        .EXCL = flags & (bits.create_new | bits.exclusive) != 0,
        .TRUNC = flags & bits.truncate != 0,
        .DIRECT = flags & bits.direct != 0,
        .DSYNC = flags & bits.dsync != 0,
        .NOCTTY = true,
        .NONBLOCK = true,
        .CLOEXEC = true,
    }, mode));
    // A FIFO without a reader and a socket report ENXIO here; so may a removed device.
    if (result == negative(.NXIO) and !hasPositions(start, path)) {
        return negative(.SPIPE);
    }
    if (result < 0) return result;
    const fd: i32 = @intCast(result);
    const examined = fileInfo(fd, info);
    const refused = if (examined < 0) examined else mediumRefused(fd, info, wants_write);
    if (refused < 0) {
        _ = linux.close(fd);
        return refused;
    }
    const status = linux.fcntl(fd, linux.F.GETFL, 0);
    const nonblock: usize = 1 << @bitOffsetOf(linux.O, "NONBLOCK");
    _ = linux.fcntl(fd, linux.F.SETFL, status & ~nonblock);
    info.fd = fd;
    return 0;
}

/// 0, or why the medium of a drive is refused: O_NONBLOCK, in whose way no FIFO blocks, opens it all
/// the same.
fn mediumRefused(fd: i32, info: *const abi.FileInfo, wants_write: bool) isize {
    if (info.kind != @intFromEnum(abi.FileKind.disk)) return 0;
    if (info.size == 0 and disk.presence(fd) == negative(.NOMEDIUM)) return negative(.NOMEDIUM);
    return if (wants_write and disk.isReadOnlyDisc(fd)) negative(.ROFS) else 0;
}

fn hasPositions(start: i32, path: [*:0]const u8) bool {
    var buffer: linux.Statx = undefined;
    const result = linux.statx(start, path, 0, .{ .TYPE = true }, &buffer);
    if (linux.errno(result) != .SUCCESS) return true;
    return switch (buffer.mode & linux.S.IFMT) {
        linux.S.IFIFO, linux.S.IFSOCK => false,
        else => true,
    };
}

/// linux/stat.h
const STATX_ATTR_IMMUTABLE = 0x10;
const STATX_ATTR_APPEND = 0x20;
const STATX_ATTR_VERITY = 0x100000;

/// Bits of `abi.Refusal`: attributes that forbid changes of the file; null if there is no such
/// file.
pub fn whyRefused(directory: i32, path: [*:0]const u8) ?u32 {
    const start = if (directory < 0) linux.AT.FDCWD else directory;
    var buffer: linux.Statx = undefined;
    const result = linux.statx(start, path, 0, .{ .TYPE = true }, &buffer);
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
    const kind: abi.FileKind = switch (stat.mode & linux.S.IFMT) {
        linux.S.IFREG => .regular,
        linux.S.IFBLK => .disk,
        linux.S.IFCHR => .character,
        linux.S.IFDIR => return negative(.ISDIR),
        else => return negative(.SPIPE),
    };
    if (kind == .character) {
        // A terminal, for example, has no positions: lseek(2) reports ESPIPE, and EINVAL for the
        // kernel log.
        const position = signed(linux.lseek(fd, 0, linux.SEEK.CUR));
        if (position == negative(.INVAL)) return negative(.SPIPE);
        if (position < 0) return position;
    }
    const status = signed(linux.fcntl(fd, linux.F.GETFL, 0));
    if (status < 0) return status;
    const flags: linux.O = @bitCast(@as(u32, @intCast(status)));
    // An O_PATH descriptor: read(2) and write(2) would report the same (open(2)).
    if (flags.PATH) return negative(.BADF);
    info.* = std.mem.zeroes(abi.FileInfo);
    info.fd = fd;
    info.kind = @intFromEnum(kind);
    info.direct = @intFromBool(flags.DIRECT);
    info.readable = @intFromBool(flags.ACCMODE != .WRONLY);
    info.writable = @intFromBool(flags.ACCMODE != .RDONLY);
    info.append = @intFromBool(flags.APPEND);
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
    info.atime_ms = milliseconds(stat.atime);
    info.mtime_ms = milliseconds(stat.mtime);
    info.ctime_ms = milliseconds(stat.ctime);
    info.birthtime_ms = if (stat.mask.BTIME) milliseconds(stat.btime) else info.ctime_ms;
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

fn milliseconds(time: linux.statx_timestamp) f64 {
    return @as(f64, @floatFromInt(time.sec)) * 1000 + @as(f64, @floatFromInt(time.nsec)) / 1e6;
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

// Loop devices ----------------------------------------------------------------------------------
// linux/loop.h

const LOOP_GET_STATUS64 = 0x4c05;
const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LO_FLAGS_AUTOCLEAR = 4;
const LO_FLAGS_PARTSCAN = 8;

/// struct loop_info64
const LoopInfo = extern struct {
    device: u64 = 0,
    inode: u64 = 0,
    rdevice: u64 = 0,
    offset: u64 = 0,
    size_limit: u64 = 0,
    number: u32 = 0,
    encrypt_type: u32 = 0,
    encrypt_key_size: u32 = 0,
    flags: u32 = 0,
    file_name: [64]u8 = @splat(0),
    crypt_name: [64]u8 = @splat(0),
    encrypt_key: [32]u8 = @splat(0),
    init: [2]u64 = @splat(0),
};

/// struct loop_config (Linux 5.8)
const LoopConfig = extern struct {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [8]u64 = @splat(0),
};

comptime {
    std.debug.assert(@sizeOf(LoopInfo) == 232);
    std.debug.assert(@sizeOf(LoopConfig) == 304);
}

/// Attempts to get a free loop device that other processes may take first.
const loop_attempts_max = 64;

/// Shows the file `fd` as a loop device. It detaches itself when its last descriptor is closed
/// (LO_FLAGS_AUTOCLEAR), be it by the end of the process.
pub fn attachImage(fd: i32, sector_size: u32, info: *abi.ImageInfo) isize {
    const control_result = signed(linux.openat(
        linux.AT.FDCWD,
        "/dev/loop-control",
        .{ .ACCMODE = .RDWR, .CLOEXEC = true },
        0,
    ));
    if (control_result < 0) return control_result;
    const control: i32 = @intCast(control_result);
    defer _ = linux.close(control);
    var attempt: u32 = 0;
    while (true) {
        const number = signed(linux.ioctl(control, LOOP_CTL_GET_FREE, 0));
        if (number < 0) return number;
        const result = attachTo(@intCast(number), fd, sector_size, info);
        // Somebody else was given the same number and was faster.
        attempt += 1;
        if (result == negative(.BUSY) and attempt < loop_attempts_max) continue;
        return result;
    }
}

/// Asks the driver what stands behind /dev/loopN: ENXIO if nothing does. It asks the file system in turn
/// (loop_get_status() in drivers/block/loop.c), so that the numbers are those of fstat(2).
pub fn loopStatus(number: u32, status: *abi.LoopStatus) isize {
    var path: [32]u8 = undefined;
    const name = std.fmt.bufPrintZ(&path, "/dev/loop{d}", .{number}) catch unreachable; // 19 bytes
    const opened = signed(linux.openat(
        linux.AT.FDCWD,
        name,
        .{ .ACCMODE = .RDONLY, .NONBLOCK = true, .CLOEXEC = true },
        0,
    ));
    if (opened < 0) return opened;
    const loop: i32 = @intCast(opened);
    defer _ = linux.close(loop);
    var info: LoopInfo = .{};
    const result = signed(linux.ioctl(loop, LOOP_GET_STATUS64, @intFromPtr(&info)));
    if (result < 0) return result;
    // Another device may have that name here.
    if (info.number != number) return negative(.NODEV);
    status.* = .{
        .device = info.device,
        .inode = info.inode,
        .rdevice = info.rdevice,
        .offset = info.offset,
    };
    return 0;
}

fn attachTo(number: u32, fd: i32, sector_size: u32, info: *abi.ImageInfo) isize {
    var path: [32]u8 = undefined;
    const name = std.fmt.bufPrintZ(&path, "/dev/loop{d}", .{number}) catch unreachable; // 19 bytes
    const opened = signed(linux.openat(
        linux.AT.FDCWD,
        name,
        .{ .ACCMODE = .RDWR, .CLOEXEC = true },
        0,
    ));
    if (opened < 0) return opened;
    const loop: i32 = @intCast(opened);
    const config: LoopConfig = .{
        // What is no descriptor is the kernel's to refuse.
        .fd = @bitCast(fd),
        .block_size = sector_size,
        .info = .{ .flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN },
    };
    const result = signed(linux.ioctl(loop, LOOP_CONFIGURE, @intFromPtr(&config)));
    if (result < 0) {
        _ = linux.close(loop);
        return result;
    }
    // What the last user of this number set with disk.BLKROSET outlives its image.
    const read_only: u32 = 0;
    _ = linux.ioctl(loop, disk.BLKROSET, @intFromPtr(&read_only));
    info.* = .{ .fd = loop, .number = number };
    return 0;
}

pub const uring = @import("linux_uring.zig");
pub const unmount = @import("linux_mounts.zig").unmount;
pub const watchDevices = @import("linux_uevents.zig").watchDevices;

/// Sleeps, for teardown only.
pub fn sleepMs(ms: u32) void {
    const time: linux.timespec = .{ .sec = ms / 1000, .nsec = @as(isize, ms % 1000) * std.time.ns_per_ms };
    _ = linux.nanosleep(&time, null);
}

/// One write to standard error before the process ends.
pub fn lastWords(prefix: []const u8, message: []const u8) void {
    _ = linux.write(2, prefix.ptr, prefix.len);
    _ = linux.write(2, message.ptr, message.len);
    _ = linux.write(2, "\n", 1);
}

/// Whether reads and writes bypass the page cache; for fault injection.
pub fn isDirect(fd: i32) bool {
    const status = signed(linux.fcntl(fd, linux.F.GETFL, 0));
    if (status < 0) return false;
    const flags: linux.O = @bitCast(@as(u32, @intCast(status)));
    return flags.DIRECT;
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
