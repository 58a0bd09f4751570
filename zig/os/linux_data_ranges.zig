//! Where a file has data, on Linux.

const std = @import("std");
const linux = std.os.linux;
const abi = @import("../abi.zig");
const common = @import("data_ranges.zig");
const negative = @import("errno.zig").negative;
const signed = @import("errno.zig").signed;

// linux/fs.h
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/// lseek(2), and the offset of the descriptor is put back; with `shared`, FS_IOC_FIEMAP, which does
/// not use the offset. A file system may lack the one or the other.
pub fn dataRanges(fd: i32, shared: bool, end: u64, answer: *abi.DataRanges) isize {
    const start = answer.next;
    const result = if (shared) fromExtents(fd, end, answer) else fromSeeks(fd, end, answer);
    return common.orAllData(result, start, end, answer);
}

fn fromSeeks(fd: i32, end: u64, answer: *abi.DataRanges) isize {
    const before = signed(linux.lseek(fd, 0, linux.SEEK.CUR));
    if (before < 0) return before;
    defer _ = linux.lseek(fd, before, linux.SEEK.SET);
    return common.collect(seek, fd, end, answer);
}

fn seek(fd: i32, from: u64, sought: common.Sought) isize {
    return signed(linux.lseek(fd, @intCast(from), switch (sought) {
        .data => SEEK_DATA,
        .hole => SEEK_HOLE,
    }));
}

// linux/fiemap.h, linux/fs.h: _IOWR('f', 11, struct fiemap)
const FS_IOC_FIEMAP = 0xc020660b;
const FIEMAP_FLAG_SYNC = 1;

const Extent = extern struct {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [2]u64,
    flags: u32,
    reserved_too: [3]u32,
};

const extents_max = 32;

const Fiemap = extern struct {
    start: u64,
    length: u64,
    flags: u32 = FIEMAP_FLAG_SYNC,
    mapped: u32 = 0,
    count: u32 = extents_max,
    reserved: u32 = 0,
    extents: [extents_max]Extent = undefined,
};

comptime {
    std.debug.assert(@sizeOf(Extent) == 56);
    std.debug.assert(@offsetOf(Fiemap, "extents") == 32);
}

/// Data that has no blocks yet is written first (FIEMAP_FLAG_SYNC). Space that is only reserved
/// counts as data.
fn fromExtents(fd: i32, end: u64, answer: *abi.DataRanges) isize {
    while (answer.next < end) {
        var map: Fiemap = .{ .start = answer.next, .length = end - answer.next };
        const result = signed(linux.ioctl(fd, FS_IOC_FIEMAP, @intFromPtr(&map)));
        if (result < 0) return result;
        const before = answer.next;
        for (map.extents[0..@min(map.mapped, extents_max)]) |extent| {
            // The first one may begin before the range.
            const start = @max(extent.logical, answer.next);
            const stop = @min(extent.logical +| extent.length, end);
            if (start >= stop) continue;
            if (answer.count == abi.data_ranges_max) return 0;
            common.append(answer, start, stop);
        }
        if (map.mapped < extents_max) answer.next = end;
        // An answer that contradicts itself is none.
        if (answer.next == before) return negative(.INVAL);
    }
    return 0;
}
