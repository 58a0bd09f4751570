//! FreeBSD through its libc. Comments name the header of each number; `check_freebsd.zig`
//! compares them with the headers that Zig bundles.

const std = @import("std");
const abi = @import("../abi.zig");
const calls = @import("calls.zig");
const data_ranges = @import("data_ranges.zig");
const opening = @import("opening.zig");
const RangeCopy = @import("range_copy.zig").RangeCopy;
const unix = @import("unix.zig");
const Answer = @import("space.zig").Answer;
const c = std.c;
const E = std.posix.E;
const ioctlNumber = unix.ioctlNumber;
const known = unix.known;
const errnoOf = @import("errno.zig").errnoOf;
const negative = @import("errno.zig").negative;
const signed = @import("errno.zig").signed;

pub const Aio = @import("freebsd_aio.zig").Aio;

pub const Wake = unix.Wake;
pub const openCurrent = unix.openCurrent;
pub const closeOnExec = unix.closeOnExec;
pub const whyRefused = unix.whyRefused;
pub const pread = calls.pread;
pub const pwrite = calls.pwrite;
pub const preadv = calls.preadv;
pub const pwritev = calls.pwritev;
pub const truncate = calls.truncate;
pub const cut = calls.truncate;
pub const close = calls.close;
pub const sleepMs = calls.sleepMs;
pub const lastErrno = @import("errno.zig").lastErrno;

// sys/disk.h, sys/ioccom.h
pub const DIOCGSECTORSIZE = 0x40046480;
pub const DIOCGMEDIASIZE = 0x40086481;
pub const DIOCGFLUSH = 0x20006487;
pub const DIOCGDELETE = 0x80106488;
pub const DIOCGIDENT = 0x41006489;
pub const DIOCGSTRIPESIZE = 0x4008648b;
pub const DIOCGSTRIPEOFFSET = 0x4008648c;
pub const DIOCGATTR = 0xc148648e;
/// sys/filio.h
pub const FIOSEEKDATA = 0xc0086661;
pub const FIOSEEKHOLE = 0xc0086662;
/// sys/fcntl.h
pub const POSIX_FADV_DONTNEED = 4;
pub const SPACECTL_DEALLOC = 1;
/// 13.0-RELEASE (sys/param.h): copy_file_range(2).
const osreldate_13_0 = 1300139;
/// 14.0-RELEASE (sys/param.h): fspacectl(2).
const osreldate_14_0 = 1400097;

/// struct diocgattr_arg (sys/disk.h).
pub const Attribute = extern struct {
    name: [64]u8 = @splat(0),
    len: c_int,
    value: extern union { str: [256]u8, number: u16, alignment: u64 },
};

/// struct spacectl_range (sys/fcntl.h).
pub const SpaceRange = extern struct { offset: i64, len: i64 };

/// struct statvfs (sys/statvfs.h).
pub const StatVfs = extern struct {
    bavail: u64,
    bfree: u64,
    blocks: u64,
    favail: u64,
    ffree: u64,
    files: u64,
    bsize: c_ulong,
    flag: c_ulong,
    frsize: c_ulong,
    fsid: c_ulong,
    namemax: c_ulong,
};

extern "c" fn fstatvfs(fd: c_int, out: *StatVfs) c_int;
extern "c" fn sysctl(name: [*]const c_int, len: c_uint, old: ?*anyopaque, old_len: ?*usize, new: ?*const anyopaque, new_len: usize) c_int;
extern "c" fn posix_fadvise(fd: c_int, offset: i64, length: i64, advice: c_int) c_int;
extern "c" fn posix_fallocate(fd: c_int, offset: i64, length: i64) c_int;
const CopyFileRange = fn (c_int, ?*i64, c_int, ?*i64, usize, c_uint) callconv(.c) isize;
const FSpaceCtl = fn (c_int, c_int, *const SpaceRange, c_int, ?*SpaceRange) callconv(.c) c_int;

/// sysctl(3): "The name-to-number translation". sysctlbyname(3) has become a system call of its own
/// in 13, which would kill a program linked statically on an older kernel (SIGSYS).
const name_to_oid = [2]c_int{ 0, 3 };

const Oid = struct {
    /// CTL_MAXNAME (sys/sysctl.h).
    numbers: [24]c_int,
    len: c_uint,

    fn find(name: [*:0]const u8) ?Oid {
        var oid: Oid = .{ .numbers = undefined, .len = 0 };
        var bytes: usize = @sizeOf(@TypeOf(oid.numbers));
        const length = std.mem.len(name);
        if (sysctl(&name_to_oid, 2, &oid.numbers, &bytes, name, length) != 0) return null;
        oid.len = @intCast(bytes / @sizeOf(c_int));
        return oid;
    }
};

/// An integer of any width, or null where the kernel has no such name.
pub fn sysctlNumber(name: [*:0]const u8) ?i64 {
    const oid = Oid.find(name) orelse return null;
    var buffer: [8]u8 = @splat(0);
    var len: usize = buffer.len;
    if (sysctl(&oid.numbers, oid.len, &buffer, &len, null, 0) != 0) return null;
    return switch (len) {
        4 => std.mem.readInt(i32, buffer[0..4], .little),
        8 => std.mem.readInt(i64, &buffer, .little),
        else => null,
    };
}

/// For tests, as root.
pub fn setSysctl(name: [*:0]const u8, value: i32) bool {
    const oid = Oid.find(name) orelse return false;
    return sysctl(&oid.numbers, oid.len, null, null, &value, @sizeOf(i32)) == 0;
}

/// fsync(2) does not flush the cache of a disk (devfs); DIOCGFLUSH does. It fails without write
/// access (EPERM, g_io_check), where nothing of ours needs flushing, and on disks without such a
/// command (EOPNOTSUPP).
pub fn syncAll(fd: i32) isize {
    const synced = calls.fsync(fd);
    if (synced < 0) return synced;
    const flushed = unix.controlPlain(fd, DIOCGFLUSH);
    return switch (errnoOf(flushed)) {
        .NOTTY, .NODEV, .INVAL, .PERM, .OPNOTSUPP => 0,
        else => flushed,
    };
}

pub fn syncData(fd: i32) isize {
    if (isDisk(fd)) return syncAll(fd);
    return signed(c.fdatasync(fd));
}

/// Space of the file and its file system, for `allocate`.
pub fn space(fd: i32) Answer {
    var stat: c.Stat = undefined;
    const result = unix.stat(fd, &stat);
    if (result < 0) return .{ .refused = result };
    var system: StatVfs = undefined;
    const asked = signed(fstatvfs(fd, &system));
    if (asked < 0) return .{ .refused = asked };
    return .{
        .space = .{
            .size = @intCast(stat.size),
            .reserved = @as(u64, @intCast(stat.blocks)) * 512,
            // Never refuse what would have worked: what is kept for the superuser counts, and some file
            // systems (of FUSE) say nothing.
            .free = if (system.blocks == 0) std.math.maxInt(u64) else system.bfree *| system.frsize,
        },
    };
}

/// posix_fallocate(2) returns the errno; EINVAL on file systems without it, such as ZFS. UFS and
/// tmpfs write zeroes.
pub fn allocate(fd: i32, offset: u64, length: u64) isize {
    const errno: E = @enumFromInt(posix_fallocate(fd, @intCast(offset), @intCast(length)));
    return switch (errno) {
        .INVAL => negative(.OPNOTSUPP),
        else => negative(errno),
    };
}

pub fn open(directory: i32, path: [*:0]const u8, flags: u32, mode: u32, info: *abi.FileInfo) isize {
    return opening.open(directory, path, flags, mode, info, fileInfo);
}

/// Disks are character devices; nothing else answers DIOCGMEDIASIZE (ENOTTY on /dev/null and ttys).
fn diskSize(fd: i32) ?u64 {
    return ioctlNumber(u64, fd, DIOCGMEDIASIZE);
}

fn sectorSize(fd: i32) u32 {
    return ioctlNumber(u32, fd, DIOCGSECTORSIZE) orelse 512;
}

fn isDisk(fd: i32) bool {
    return diskSize(fd) != null;
}

pub fn fileInfo(fd: i32, info: *abi.FileInfo) isize {
    return unix.fileInfo(fd, info, diskSize, sectorSize);
}

/// The kernel does not cache disks. Of a file only clean pages are dropped.
pub fn invalidateCache(fd: i32, kind: abi.FileKind) isize {
    if (kind == .disk) return 0;
    const synced = calls.fsync(fd);
    if (synced < 0) return synced;
    return negative(@enumFromInt(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)));
}

// Disks -----------------------------------------------------------------------------------------

pub fn geometry(fd: i32, out: *abi.Geometry) isize {
    const size = diskSize(fd) orelse return negative(.NOTBLK);
    const stripe = known(i64, fd, DIOCGSTRIPESIZE);
    out.* = .{
        .size = @floatFromInt(size),
        .logical_sector_size = known(u32, fd, DIOCGSECTORSIZE),
        .maximum_transfer_size = @floatFromInt(sysctlNumber("kern.maxphys") orelse -1),
        .rotational = rotational(fd),
    };
    // 0: the disk does not report it (sys/disk.h). The offset is of a stripe.
    if (stripe > 0) {
        out.physical_sector_size = stripe;
        out.minimum_io_size = stripe;
        out.alignment_offset = known(i64, fd, DIOCGSTRIPEOFFSET);
    }
    var identity: [256]u8 = @splat(0);
    if (unix.control(fd, DIOCGIDENT, @intFromPtr(&identity)) == 0) copyText(&out.serial, &identity);
    var description: Attribute = .{ .len = 256, .value = .{ .str = @splat(0) } };
    if (attribute(fd, "GEOM::descr", &description)) copyText(&out.model, &description.value.str);
    return 0;
}

/// 0 unknown, 1 does not rotate, else revolutions a minute (geom_disk.h, DISK_RR_*).
fn rotational(fd: i32) f64 {
    var rate: Attribute = .{ .len = 2, .value = .{ .str = @splat(0) } };
    if (!attribute(fd, "GEOM::rotation_rate", &rate)) return -1;
    return switch (rate.value.number) {
        0 => -1,
        1 => 0,
        else => 1,
    };
}

fn attribute(fd: i32, name: []const u8, out: *Attribute) bool {
    @memcpy(out.name[0..name.len], name);
    return unix.control(fd, DIOCGATTR, @intFromPtr(out)) == 0;
}

fn copyText(out: []u8, text: []const u8) void {
    const end = std.mem.indexOfScalar(u8, text, 0) orelse text.len;
    const length = @min(out.len, end);
    @memcpy(out[0..length], text[0..length]);
}

/// By the request that lseek(2) makes of the file system itself (vn_seek() in kern/vfs_vnops.c): it
/// does not use the offset of the descriptor. ENOTTY: the file system does not know it.
pub fn dataRanges(fd: i32, _: bool, end: u64, answer: *abi.DataRanges) isize {
    const start = answer.next;
    return data_ranges.orAllData(data_ranges.collect(seekData, fd, end, answer), start, end, answer);
}

fn seekData(fd: i32, from: u64, sought: data_ranges.Sought) isize {
    var position: i64 = @intCast(from);
    const result = unix.control(fd, switch (sought) {
        .data => FIOSEEKDATA,
        .hole => FIOSEEKHOLE,
    }, @intFromPtr(&position));
    return if (result < 0) result else position;
}

/// Of a disk; files are done by `freePages`.
pub fn discard(fd: i32, kind: abi.FileKind, offset: u64, length: u64, method: *abi.Method) isize {
    if (kind != .disk) return negative(.OPNOTSUPP);
    method.* = .discard;
    const range = [2]i64{ @intCast(offset), @intCast(length) };
    return unix.control(fd, DIOCGDELETE, @intFromPtr(&range));
}

/// A call that older kernels lack: an unknown one kills the process (SIGSYS), so that both the symbol and
/// the kernel's version are checked.
fn callSince(release: i64, comptime Call: type, comptime name: []const u8) ?*const Call {
    if ((sysctlNumber("kern.osreldate") orelse 0) < release) return null;
    return @extern(?*const Call, .{ .name = name, .linkage = .weak });
}

/// copy_file_range(2) shares blocks where the file system can.
pub fn copyRange(method: abi.CopyMethod, copy: RangeCopy) isize {
    if (method != .copy_file_range) return negative(.OPNOTSUPP);
    const call = callSince(osreldate_13_0, CopyFileRange, "copy_file_range") orelse return negative(.OPNOTSUPP);
    var from: i64 = @intCast(copy.source_offset);
    var to: i64 = @intCast(copy.offset);
    return signed(call(copy.source_fd, &from, copy.fd, &to, copy.length, 0));
}

/// fspacectl(2).
fn spaceControl() ?*const FSpaceCtl {
    return callSince(osreldate_14_0, FSpaceCtl, "fspacectl");
}

/// Whether a regular file is freed by `freePages`.
pub fn freesPages(_: i32) bool {
    return spaceControl() != null;
}

/// Frees whole pages of a file, all before its end (lanes/whole_pages.zig says why).
pub fn freePages(fd: i32, offset: u64, length: u64) isize {
    const call = spaceControl() orelse return negative(.OPNOTSUPP);
    var rest: SpaceRange = .{ .offset = @intCast(offset), .len = @intCast(length) };
    while (rest.len > 0) {
        var left: SpaceRange = rest;
        const result = signed(call(fd, SPACECTL_DEALLOC, &rest, 0, &left));
        if (result == negative(.INTR)) continue;
        if (result < 0) return result;
        if (left.len >= rest.len) break;
        rest = left;
    }
    return 0;
}

pub fn fileSize(fd: i32) isize {
    var stat: c.Stat = undefined;
    const result = unix.stat(fd, &stat);
    return if (result < 0) result else @intCast(stat.size);
}

/// DIOCGDELETE guarantees nothing about later reads, so the caller writes zeroes to a disk.
pub fn writeZeroes(_: i32, _: abi.FileKind, _: u64, _: u64, method: *abi.Method) isize {
    method.* = .unsupported;
    return 0;
}

const mounts = struct {
    extern "c" fn unmount(path: [*:0]const u8, flags: c_int) c_int;
};

/// unmount(2) without MNT_FORCE: EBUSY while anything uses it. Mounts have no numbers.
pub fn unmount(path: [*:0]const u8, _: u32) isize {
    return signed(mounts.unmount(path, 0));
}

const devd_path = "/var/run/devd.seqpacket.pipe";

/// What the kernel announces of devices, as devd(8) passes it on: a socket that does not block, with
/// one message in each datagram.
pub fn watchDevices() isize {
    const kind = c.SOCK.SEQPACKET | c.SOCK.CLOEXEC | c.SOCK.NONBLOCK;
    const opened = signed(c.socket(c.AF.UNIX, kind, 0));
    if (opened < 0) return opened;
    const fd: i32 = @intCast(opened);
    var address: c.sockaddr.un = .{ .path = @splat(0) };
    @memcpy(address.path[0..devd_path.len], devd_path);
    const connected = signed(c.connect(fd, @ptrCast(&address), @sizeOf(c.sockaddr.un)));
    if (connected >= 0) return fd;
    _ = c.close(fd);
    return connected;
}

/// GEOM tastes a disk again when its last writer closes it; no call triggers that earlier.
pub fn rereadPartitions(_: i32) isize {
    return negative(.OPNOTSUPP);
}

pub fn isDirect(fd: i32) bool {
    if (isDisk(fd)) return true;
    return switch (calls.statusFlags(fd)) {
        .flags => |flags| flags.DIRECT,
        .refused => false,
    };
}
