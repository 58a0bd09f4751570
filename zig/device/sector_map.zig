//! A bitmap of the sectors of a medium in memory that were written. Runs of other sectors are
//! skipped 64 at a time, and cost no memory.

const std = @import("std");
const assert = std.debug.assert;
const os = @import("../os/os.zig");

const Word = u64;
const word_bits = @bitSizeOf(Word);

/// A range of bytes of a medium.
pub const Range = struct { offset: u64, length: u64 };

pub const SectorMap = struct {
    size: u64,
    sector_size: u32,
    memory: []align(std.heap.page_size_min) u8,

    /// Null when the system has no memory.
    pub fn init(size: u64, sector_size: u32) ?SectorMap {
        assert(size > 0);
        assert(sector_size > 0);
        const word_count = std.math.divCeil(u64, countOf(size, sector_size), word_bits) catch unreachable;
        const memory = os.mapMemory(word_count * @sizeOf(Word)) orelse return null;
        return .{ .size = size, .sector_size = sector_size, .memory = memory };
    }

    pub fn deinit(map: *SectorMap) void {
        os.unmapMemory(map.memory);
        map.* = undefined;
    }

    fn words(map: *const SectorMap) []Word {
        const pointer: [*]Word = @ptrCast(map.memory.ptr);
        return pointer[0 .. map.memory.len / @sizeOf(Word)];
    }

    /// Number of sectors in `bytes` bytes; the last one may be partial.
    fn countOf(bytes: u64, sector_size: u32) u64 {
        return std.math.divCeil(u64, bytes, sector_size) catch unreachable;
    }

    pub fn isMarked(map: *const SectorMap, sector: u64) bool {
        const bit = @as(Word, 1) << @intCast(sector % word_bits);
        return map.words()[sector / word_bits] & bit != 0;
    }

    /// Marks every sector that the range touches.
    pub fn mark(map: *SectorMap, offset: u64, length: u64) void {
        if (length == 0) return;
        assert(offset + length <= map.size);
        const last = (offset + length - 1) / map.sector_size;
        for (offset / map.sector_size..last + 1) |sector| {
            map.words()[sector / word_bits] |= @as(Word, 1) << @intCast(sector % word_bits);
        }
    }

    /// The first run of marked sectors that ends after `from`, cut to the range from there to
    /// `end`.
    pub fn next(map: *const SectorMap, from: u64, end: u64) ?Range {
        assert(end <= map.size);
        if (from >= end) return null;
        const total = countOf(end, map.sector_size);
        const first = map.find(from / map.sector_size, total, true);
        if (first == total) return null;
        const behind = map.find(first, total, false);
        const start = @max(first * map.sector_size, from);
        return .{ .offset = start, .length = @min(behind * map.sector_size, end) - start };
    }

    /// The first sector from `from` on that is (or is not) marked; `total` if there is none.
    fn find(map: *const SectorMap, from: u64, total: u64, marked: bool) u64 {
        const uniform: Word = if (marked) 0 else std.math.maxInt(Word);
        var sector = from;
        while (sector < total) {
            if (sector % word_bits == 0 and map.words()[sector / word_bits] == uniform) {
                sector += word_bits;
                continue;
            }
            if (map.isMarked(sector) == marked) return sector;
            sector += 1;
        }
        return total;
    }
};

const expectEqual = std.testing.expectEqual;

test "runs are found whole, cut to what is asked for, and the last sector may be a part" {
    var map = SectorMap.init(512 * 200 + 100, 512).?;
    defer map.deinit();
    const size = map.size;
    try expectEqual(null, map.next(0, size));
    map.mark(700, 1);
    map.mark(512 * 63, 512 * 3);
    map.mark(size - 1, 1);
    map.mark(5, 0);
    try expectEqual(Range{ .offset = 512, .length = 512 }, map.next(0, size).?);
    try expectEqual(Range{ .offset = 600, .length = 100 }, map.next(600, 700).?);
    try expectEqual(Range{ .offset = 512 * 63, .length = 512 * 3 }, map.next(1024, size).?);
    try expectEqual(Range{ .offset = 512 * 64 + 1, .length = 512 * 2 - 1 }, map.next(512 * 64 + 1, size).?);
    try expectEqual(Range{ .offset = 512 * 200, .length = 100 }, map.next(512 * 66, size).?);
    try expectEqual(null, map.next(512 * 66, 512 * 200));
    try expectEqual(null, map.next(size, size));
}
