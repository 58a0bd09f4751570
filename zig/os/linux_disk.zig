//! Block devices of Linux: whether there is a medium, its size and geometry, discarding and zeroing.
//! Numbers are of linux/fs.h, unless another header is named.

const std = @import("std");
const linux = std.os.linux;
const abi = @import("../abi.zig");
const negative = @import("errno.zig").negative;
const signed = @import("errno.zig").signed;

pub const BLKROSET = 0x125d;
const BLKROGET = 0x125e;
const BLKRRPART = 0x125f;
pub const BLKFLSBUF = 0x1261;
pub const BLKSSZGET = 0x1268;
const BLKGETSIZE64 = 0x80081272;
const BLKDISCARD = 0x1277;
const BLKIOMIN = 0x1278;
const BLKIOOPT = 0x1279;
const BLKALIGNOFF = 0x127a;
const BLKPBSZGET = 0x127b;
const BLKROTATIONAL = 0x127e;
const BLKZEROOUT = 0x127f;
pub const BLKGETDISKSEQ = 0x80081280;

/// Capacity in bytes; 0 for a device that was unplugged or has no medium.
pub fn size(fd: i32) u64 {
    const bytes = ioctlNumber(u64, fd, BLKGETSIZE64) orelse return 0;
    // An optical drive goes on reporting the size of an ejected disc, and 1 GB if it never had one
    // (sr_probe() in drivers/scsi/sr.c). So does any device that is gone on kernels before 5.11.
    return if (bytes > 0 and presence(fd) == 0) bytes else 0;
}

/// linux/cdrom.h
const CDROM_DRIVE_STATUS = 0x5326;
const CDSL_CURRENT = std.math.maxInt(i32);
const CDS_NO_DISC = 1;
const CDS_TRAY_OPEN = 2;

/// 0, or why an open of the device fails now: ENOMEDIUM, or ENXIO or ENODEV if it is gone. 0 also
/// where this cannot be said.
pub fn presence(fd: i32) isize {
    const status = driveStatus(fd);
    // Another open would close the tray.
    if (status == CDS_NO_DISC or status == CDS_TRAY_OPEN) return negative(.NOMEDIUM);
    if (status >= 0) return 0;
    // With O_NONBLOCK, drivers of removable media do not look for one.
    const opened = openAgain(fd, .RDONLY);
    for ([_]linux.E{ .NOMEDIUM, .NXIO, .NODEV }) |errno| {
        if (opened == negative(errno)) return opened;
    }
    return 0;
}

/// Whether the medium in an optical drive cannot be written, which an open with O_NONBLOCK does not
/// find out (cdrom_open() in drivers/cdrom/cdrom.c).
pub fn isReadOnlyDisc(fd: i32) bool {
    return driveStatus(fd) >= 0 and openAgain(fd, .RDWR) == negative(.ROFS);
}

/// Negative for what is no optical drive.
fn driveStatus(fd: i32) isize {
    return signed(linux.ioctl(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT));
}

/// 0, or the errno of another open of the same device.
fn openAgain(fd: i32, access: std.posix.ACCMODE) isize {
    var path: [32]u8 = undefined;
    const name = std.fmt.bufPrintZ(&path, "/proc/self/fd/{d}", .{fd}) catch unreachable; // 25 bytes
    const opened = signed(linux.openat(linux.AT.FDCWD, name, .{ .ACCMODE = access, .CLOEXEC = true }, 0));
    if (opened < 0) return opened;
    _ = linux.close(@intCast(opened));
    return 0;
}

pub fn ioctlNumber(comptime T: type, fd: i32, request: u32) ?T {
    var value: T = 0;
    const result = linux.ioctl(fd, request, @intFromPtr(&value));
    return if (linux.errno(result) == .SUCCESS) value else null;
}

fn known(comptime T: type, fd: i32, request: u32) f64 {
    return orUnknown(ioctlNumber(T, fd, request));
}

fn orUnknown(number: anytype) f64 {
    return @floatFromInt(number orelse return -1);
}

pub fn geometry(fd: i32, out: *abi.Geometry) isize {
    var stat: linux.Statx = undefined;
    const result = signed(linux.statx(fd, "", linux.AT.EMPTY_PATH, linux.STATX.BASIC_STATS, &stat));
    if (result < 0) return result;
    if (stat.mode & linux.S.IFMT != linux.S.IFBLK) return negative(.NOTBLK);
    out.* = .{
        .size = @floatFromInt(size(fd)),
        .logical_sector_size = known(u32, fd, BLKSSZGET),
        .physical_sector_size = known(u32, fd, BLKPBSZGET),
        .minimum_io_size = known(u32, fd, BLKIOMIN),
        .optimal_io_size = known(u32, fd, BLKIOOPT),
        .alignment_offset = known(i32, fd, BLKALIGNOFF),
        .rotational = known(u16, fd, BLKROTATIONAL),
        .read_only = known(u32, fd, BLKROGET),
        .major = @floatFromInt(stat.rdev_major),
        .minor = @floatFromInt(stat.rdev_minor),
    };
    return 0;
}

/// linux/falloc.h
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;

pub fn discard(fd: i32, kind: abi.FileKind, offset: u64, length: u64, method: *abi.Method) isize {
    if (kind == .disk) {
        const result = ofDisk(fd, BLKDISCARD, offset, length);
        method.* = .discard;
        if (result != negative(.OPNOTSUPP)) return result;
    }
    method.* = .punch;
    return ofFile(fd, FALLOC_FL_PUNCH_HOLE, offset, length);
}

fn ofDisk(fd: i32, request: u32, offset: u64, length: u64) isize {
    const range = [2]u64{ offset, length };
    return signed(linux.ioctl(fd, request, @intFromPtr(&range)));
}

fn ofFile(fd: i32, mode: i32, offset: u64, length: u64) isize {
    return signed(linux.fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, @intCast(offset), @intCast(length)));
}

pub fn writeZeroes(fd: i32, kind: abi.FileKind, offset: u64, length: u64, method: *abi.Method) isize {
    if (kind == .disk) {
        const result = ofDisk(fd, BLKZEROOUT, offset, length);
        method.* = .zeroout;
        if (result != negative(.OPNOTSUPP)) return result;
    } else {
        method.* = .punch;
        const punched = ofFile(fd, FALLOC_FL_PUNCH_HOLE, offset, length);
        if (punched != negative(.OPNOTSUPP)) return punched;
        method.* = .zeroout;
        const zeroed = ofFile(fd, FALLOC_FL_ZERO_RANGE, offset, length);
        if (zeroed != negative(.OPNOTSUPP)) return zeroed;
    }
    method.* = .unsupported;
    return 0;
}

pub fn rereadPartitions(fd: i32) isize {
    return signed(linux.ioctl(fd, BLKRRPART, 0));
}
