//! macOS through its libc. AIO is not used: the backend is `threads`.

const std = @import("std");
const abi = @import("../abi.zig");
const calls = @import("calls.zig");
const data_ranges = @import("data_ranges.zig");
const opening = @import("opening.zig");
const unix = @import("unix.zig");
const c = std.c;
const ioctlNumber = unix.ioctlNumber;
const known = unix.known;
const errnoOf = @import("errno.zig").errnoOf;
const negative = @import("errno.zig").negative;
const signed = @import("errno.zig").signed;

pub const Wake = unix.Wake;
pub const openCurrent = unix.openCurrent;
pub const whyRefused = unix.whyRefused;
pub const pread = calls.pread;
pub const pwrite = calls.pwrite;
pub const preadv = calls.preadv;
pub const pwritev = calls.pwritev;
pub const truncate = calls.truncate;
pub const close = calls.close;
pub const sleepMs = calls.sleepMs;

// sys/fcntl.h; check_darwin.zig compares.
pub const F_PREALLOCATE = 42;
pub const F_NOCACHE = 48;
pub const F_FULLFSYNC = 51;
pub const F_BARRIERFSYNC = 85;
pub const F_PUNCHHOLE = 99;
pub const F_ALLOCATEALL = 4;
pub const F_PEOFPOSMODE = 3;
/// sys/unistd.h
pub const SEEK_HOLE = 3;
pub const SEEK_DATA = 4;

/// fstore_t and fpunchhole_t (sys/fcntl.h).
pub const Store = extern struct {
    flags: c_uint,
    position_mode: c_int,
    offset: i64,
    length: i64,
    allocated: i64 = 0,
};
pub const Hole = extern struct { flags: c_uint = 0, reserved: c_uint = 0, offset: i64, length: i64 };

// sys/disk.h, which Zig does not bundle: _IOR('d', n, type) and _IOW by sys/ioccom.h.
pub const DKIOCSYNCHRONIZE = 0x80186416;
pub const DKIOCGETBLOCKSIZE = 0x40046418;
pub const DKIOCGETBLOCKCOUNT = 0x40086419;
pub const DKIOCISWRITABLE = 0x4004641d;
pub const DKIOCUNMAP = 0x8010641f;
pub const DKIOCGETMAXBYTECOUNTREAD = 0x40086446;
pub const DKIOCGETPHYSICALBLOCKSIZE = 0x4004644d;
pub const DKIOCISSOLIDSTATE = 0x4004644f;

pub const Synchronize = extern struct { offset: u64, length: u64, options: u32, reserved: u32 = 0 };
const Extent = extern struct { offset: u64, length: u64 };
pub const Unmap = extern struct { extents: u64, count: u32, options: u32 = 0 };

comptime {
    std.debug.assert(@sizeOf(Synchronize) == 24);
    std.debug.assert(@sizeOf(Unmap) == 16);
}

/// fsync(2) on macOS does not flush the drive's cache; F_FULLFSYNC does. If a file system lacks
/// that (network), an fsync with a barrier, then a plain one, is the best available.
pub fn syncAll(fd: i32) isize {
    if (isDisk(fd)) return syncDisk(fd);
    const full = fcntlPlain(fd, F_FULLFSYNC);
    if (!lacks(full)) return full;
    const barrier = fcntlPlain(fd, F_BARRIERFSYNC);
    if (!lacks(barrier)) return barrier;
    return calls.fsync(fd);
}

/// macOS has nothing between a barrier, which guarantees only order, and a full sync.
pub fn syncData(fd: i32) isize {
    return syncAll(fd);
}

fn syncDisk(fd: i32) isize {
    const synced = calls.fsync(fd);
    if (synced < 0 and !lacks(synced)) return synced;
    const all: Synchronize = .{ .offset = 0, .length = 0, .options = 0 };
    const flushed = unix.control(fd, DKIOCSYNCHRONIZE, @intFromPtr(&all));
    return if (lacks(flushed)) 0 else flushed;
}

fn lacks(result: isize) bool {
    return switch (errnoOf(result)) {
        .OPNOTSUPP, .NOTTY, .INVAL => true,
        else => false,
    };
}

fn fcntlPlain(fd: i32, command: c_int) isize {
    return signed(c.fcntl(fd, command, @as(c_int, 0)));
}

/// F_PREALLOCATE reserves space after the file's blocks and keeps its size (fcntl(2)). The size
/// is read again right before it is set, so that a file that has grown meanwhile is not cut.
pub fn allocate(fd: i32, offset: u64, length: u64) isize {
    const wanted: i64 = @intCast(offset + length);
    var stat: c.Stat = undefined;
    const before = unix.stat(fd, &stat);
    if (before < 0) return before;
    if (stat.size >= wanted) return 0;
    var store: Store = .{
        .flags = F_ALLOCATEALL,
        .position_mode = F_PEOFPOSMODE,
        .offset = 0,
        .length = wanted - stat.size,
    };
    const reserved = signed(c.fcntl(fd, F_PREALLOCATE, &store));
    if (reserved < 0) return reserved;
    const after = unix.stat(fd, &stat);
    if (after < 0) return after;
    return if (stat.size >= wanted) 0 else truncate(fd, @intCast(wanted));
}

pub fn open(directory: i32, path: [*:0]const u8, flags: u32, mode: u32, info: *abi.FileInfo) isize {
    const refused = opening.open(directory, path, flags, mode, info, fileInfo);
    if (refused < 0 or flags & abi.OpenFlag.direct == 0) return refused;
    // No alignment is required: unaligned requests go through the cache.
    _ = c.fcntl(info.fd, F_NOCACHE, @as(c_int, 1));
    info.direct = 1;
    return 0;
}

fn diskSize(fd: i32) ?u64 {
    const sectors = ioctlNumber(u64, fd, DKIOCGETBLOCKCOUNT) orelse return null;
    return sectors *| sectorSize(fd);
}

fn sectorSize(fd: i32) u32 {
    return ioctlNumber(u32, fd, DKIOCGETBLOCKSIZE) orelse 512;
}

fn isDisk(fd: i32) bool {
    return diskSize(fd) != null;
}

/// `/dev/diskN` goes through the cache and takes any range; `/dev/rdiskN`, the character device,
/// takes whole sectors and says EINVAL to anything else.
pub fn fileInfo(fd: i32, info: *abi.FileInfo) isize {
    return unix.fileInfo(fd, info, diskSize, sectorSize);
}

/// Nothing drops a file's cached pages here; F_NOCACHE makes later reads bypass what is not cached
/// yet. Written pages are on the medium afterwards.
pub fn invalidateCache(fd: i32, kind: abi.FileKind) isize {
    if (kind == .disk) return syncDisk(fd);
    const synced = calls.fsync(fd);
    if (synced < 0) return synced;
    return signed(c.fcntl(fd, F_NOCACHE, @as(c_int, 1)));
}

pub fn geometry(fd: i32, out: *abi.Geometry) isize {
    const size = diskSize(fd) orelse return negative(.NOTBLK);
    const physical = known(u32, fd, DKIOCGETPHYSICALBLOCKSIZE);
    const solid = known(u32, fd, DKIOCISSOLIDSTATE);
    const writable = known(u32, fd, DKIOCISWRITABLE);
    out.* = .{
        .size = @floatFromInt(size),
        .logical_sector_size = @floatFromInt(sectorSize(fd)),
        .physical_sector_size = physical,
        .minimum_io_size = physical,
        .maximum_transfer_size = known(u64, fd, DKIOCGETMAXBYTECOUNTREAD),
        .rotational = if (solid < 0) -1 else 1 - solid,
        .read_only = if (writable < 0) -1 else 1 - writable,
    };
    return 0;
}

/// lseek(2), and the offset of the descriptor is put back. There is no other way: of a file whose
/// offset others may use, nothing is known. APFS has called data a hole that was not on the disk yet
/// (coreutils bug 51857), so that it is written first.
pub fn dataRanges(fd: i32, shared: bool, end: u64, answer: *abi.DataRanges) isize {
    if (shared) return data_ranges.allData(answer, end);
    const start = answer.next;
    const synced = calls.fsync(fd);
    if (synced < 0) return synced;
    const before = calls.seek(fd, null);
    if (before < 0) return before;
    const result = data_ranges.collect(seekData, fd, end, answer);
    _ = calls.seek(fd, before);
    return data_ranges.orAllData(result, start, end, answer);
}

fn seekData(fd: i32, from: u64, sought: data_ranges.Sought) isize {
    return signed(c.lseek(fd, @intCast(from), switch (sought) {
        .data => SEEK_DATA,
        .hole => SEEK_HOLE,
    }));
}

pub fn discard(fd: i32, kind: abi.FileKind, offset: u64, length: u64, method: *abi.Method) isize {
    if (kind == .disk) {
        method.* = .discard;
        const extent: Extent = .{ .offset = offset, .length = length };
        const unmap: Unmap = .{ .extents = @intFromPtr(&extent), .count = 1 };
        return unix.control(fd, DKIOCUNMAP, @intFromPtr(&unmap));
    }
    method.* = .punch;
    return punch(fd, offset, length);
}

/// Whole blocks only, else EINVAL (fcntl(2)).
fn punch(fd: i32, offset: u64, length: u64) isize {
    var hole: Hole = .{ .offset = @intCast(offset), .length = @intCast(length) };
    const result = signed(c.fcntl(fd, F_PUNCHHOLE, &hole));
    return if (lacks(result)) negative(.OPNOTSUPP) else result;
}

pub fn writeZeroes(fd: i32, kind: abi.FileKind, offset: u64, length: u64, method: *abi.Method) isize {
    if (kind == .regular) {
        method.* = .punch;
        const result = punch(fd, offset, length);
        if (result != negative(.OPNOTSUPP)) return result;
    }
    method.* = .unsupported;
    return 0;
}

/// Disk Arbitration looks again when the last writer closes; nothing asks it to do so before.
pub fn rereadPartitions(_: i32) isize {
    return negative(.OPNOTSUPP);
}

/// F_NOCACHE cannot be read back, and asks for no alignment.
pub fn isDirect(fd: i32) bool {
    return isDisk(fd);
}
