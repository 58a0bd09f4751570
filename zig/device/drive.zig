//! The medium of a simulated device: what reads see, what a power cut would leave, and the writes
//! in between, in order.
//!
//! A crash decides for each of these writes independently: none of it survives, all of it, or
//! some of its sectors. So a later write may survive without an earlier one, and an older version
//! of a sector without the newer one, as with a drive that reorders its cache.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const os = @import("../os/os.zig");
const SectorMap = @import("sector_map.zig").SectorMap;
const whole = @import("../engine/submission.zig").whole;

const Mapping = []align(std.heap.page_size_min) u8;

/// A full cache is written back.
const cache_bytes_min = abi.piece_bytes_max;
const cache_bytes_max = 64 * 1024 * 1024;
const cache_writes_max = 65536;
/// Step in which memory is checked before it is zeroed, so that unused pages stay unused.
const zero_step = 4096;
const header_bytes = @sizeOf(abi.ImageRange);
/// A crash tears one in this many writes of several sectors.
const torn_one_in = 4;

const Write = struct {
    sequence: u64,
    offset: u64,
    length: u64,
    /// Position of its data in the cache; zeroes have none.
    data: u64,
    zeroes: bool,
};

pub const Drive = struct {
    size: u64,
    sector_size: u32,
    /// What reads see.
    bytes: Mapping,
    /// What is on the medium for sure.
    durable: Mapping,
    /// Sectors that may hold anything but zeroes in either; no others are ever read.
    written: SectorMap,
    cache: Mapping,
    cache_used: u64 = 0,
    /// `Write`s, of which `first..count` are not on the medium yet.
    writes: Mapping,
    first: u32 = 0,
    count: u32 = 0,
    sequence: u64 = 0,

    /// Null when the system has no memory. Pages that are never written cost none.
    pub fn init(size: u64, sector_size: u32) ?Drive {
        assert(size > 0);
        assert(sector_size > 0);
        const cache_bytes = @min(@max(size *| 4, cache_bytes_min), cache_bytes_max);
        const sizes = [_]u64{ size, size, cache_bytes, cache_writes_max * @sizeOf(Write) };
        var made: [sizes.len]Mapping = undefined;
        for (sizes, 0..) |bytes, index| {
            made[index] = os.mapMemory(bytes) orelse {
                for (made[0..index]) |mapping| os.unmapMemory(mapping);
                return null;
            };
        }
        const written = SectorMap.init(size, sector_size) orelse {
            for (made) |mapping| os.unmapMemory(mapping);
            return null;
        };
        return .{
            .size = size,
            .sector_size = sector_size,
            .bytes = made[0],
            .durable = made[1],
            .written = written,
            .cache = made[2],
            .writes = made[3],
        };
    }

    pub fn deinit(drive: *Drive) void {
        for ([_]Mapping{ drive.bytes, drive.durable, drive.cache, drive.writes }) |mapping| {
            os.unmapMemory(mapping);
        }
        drive.written.deinit();
        drive.* = undefined;
    }

    pub fn read(drive: *const Drive, offset: u64, out: []u8) void {
        @memcpy(out, drive.bytes[offset..][0..out.len]);
    }

    pub fn write(drive: *Drive, offset: u64, data: []const u8) void {
        if (data.len == 0) return;
        drive.written.mark(offset, data.len);
        @memcpy(drive.bytes[offset..][0..data.len], data);
        assert(data.len <= drive.cache.len);
        if (drive.cache_used + data.len > drive.cache.len) drive.sync(drive.sequence);
        const entry = drive.append(offset, data.len);
        entry.zeroes = false;
        entry.data = drive.cache_used;
        @memcpy(drive.cache[drive.cache_used..][0..data.len], data);
        drive.cache_used += data.len;
    }

    pub fn zero(drive: *Drive, offset: u64, length: u64) void {
        if (length == 0) return;
        drive.clear(drive.bytes, offset, length);
        drive.append(offset, length).zeroes = true;
    }

    /// Zeroes the range, without touching sectors that were never written.
    fn clear(drive: *const Drive, medium: Mapping, offset: u64, length: u64) void {
        const end = offset + length;
        var from = offset;
        while (drive.written.next(from, end)) |range| {
            zeroMemory(medium[range.offset..][0..range.length]);
            from = range.offset + range.length;
        }
    }

    /// Stores initial contents.
    fn preload(drive: *Drive, offset: u64, data: []const u8) void {
        var done: u64 = 0;
        while (done < data.len) {
            const at = offset + done;
            const part = data[done..][0..@min(data.len - done, drive.sector_size - at % drive.sector_size)];
            done += part.len;
            // Skip empty parts: only the rest of a mostly empty image is read later.
            const is_empty = std.mem.allEqual(u8, part, 0);
            if (is_empty and !drive.written.isMarked(at / drive.sector_size)) continue;
            drive.written.mark(at, part.len);
            @memcpy(drive.bytes[at..][0..part.len], part);
            @memcpy(drive.durable[at..][0..part.len], part);
        }
    }

    /// Writes what was ever written from `from` on into `out`, as far as it fits: runs of bytes,
    /// each after its `abi.ImageRange`. Returns how much of `out` is used; 0: there is no more.
    pub fn pack(drive: *const Drive, from: u64, out: []u8) u64 {
        var at = from;
        var used: u64 = 0;
        while (out.len - used > header_bytes) {
            const range = drive.written.next(at, drive.size) orelse break;
            const length = @min(range.length, out.len - used - header_bytes);
            const header: abi.ImageRange = .{
                .offset = @floatFromInt(range.offset),
                .length = @floatFromInt(length),
            };
            @memcpy(out[used..][0..header_bytes], std.mem.asBytes(&header));
            used += header_bytes;
            @memcpy(out[used..][0..length], drive.bytes[range.offset..][0..length]);
            used += length;
            at = range.offset + length;
        }
        return used;
    }

    /// Loads what `pack` has written as initial contents. Returns false if `pack` cannot have
    /// written it.
    pub fn unpack(drive: *Drive, in: []const u8) bool {
        var rest = in;
        while (rest.len > 0) {
            if (rest.len < header_bytes) return false;
            const header = std.mem.bytesToValue(abi.ImageRange, rest[0..header_bytes]);
            rest = rest[header_bytes..];
            const offset = wholeUpTo(header.offset, drive.size) orelse return false;
            const length = wholeUpTo(header.length, @min(rest.len, drive.size - offset)) orelse return false;
            drive.preload(offset, rest[0..length]);
            rest = rest[length..];
        }
        return true;
    }

    fn wholeUpTo(number: f64, most: u64) ?u64 {
        const integer = whole(number) orelse return null;
        return if (integer <= most) integer else null;
    }

    fn append(drive: *Drive, offset: u64, length: u64) *Write {
        assert(offset + length <= drive.size);
        if (drive.count == cache_writes_max) drive.sync(drive.sequence);
        // A sync may have left entries at the end of the list.
        if (drive.count == cache_writes_max) drive.compact();
        drive.sequence += 1;
        const entry = &drive.list()[drive.count];
        drive.count += 1;
        entry.* = .{
            .sequence = drive.sequence,
            .offset = offset,
            .length = length,
            .data = 0,
            .zeroes = true,
        };
        return entry;
    }

    fn list(drive: *const Drive) []Write {
        const pointer: [*]Write = @ptrCast(@alignCast(drive.writes.ptr));
        return pointer[0..cache_writes_max];
    }

    fn compact(drive: *Drive) void {
        const rest = drive.list()[drive.first..drive.count];
        std.mem.copyForwards(Write, drive.list(), rest);
        drive.count -= drive.first;
        drive.first = 0;
    }

    /// Makes durable what was written up to `sequence`, and nothing more: the least that a device
    /// may do, so that nothing relies on more.
    pub fn sync(drive: *Drive, sequence: u64) void {
        while (drive.first < drive.count) : (drive.first += 1) {
            const entry = &drive.list()[drive.first];
            if (entry.sequence > sequence) return;
            drive.keep(entry, 0, entry.length);
        }
        drive.first = 0;
        drive.count = 0;
        drive.cache_used = 0;
    }

    /// Moves `length` bytes of a write from `from` on to the medium.
    fn keep(drive: *Drive, entry: *const Write, from: u64, length: u64) void {
        const at = entry.offset + from;
        if (entry.zeroes) return drive.clear(drive.durable, at, length);
        @memcpy(drive.durable[at..][0..length], drive.cache[entry.data + from ..][0..length]);
    }

    /// Cuts the power. Afterwards reads see what survived.
    pub fn crash(drive: *Drive, random: std.Random) void {
        // Any rate from hardly a write to nearly all, not always about half.
        const rate = random.int(u8);
        const lost = drive.list()[drive.first..drive.count];
        for (lost) |*entry| {
            const sectors = drive.sectorsOf(entry);
            if (sectors > 1 and random.uintLessThan(u8, torn_one_in) == 0) {
                drive.keepSome(entry, random);
            } else if (random.int(u8) < rate) {
                drive.keep(entry, 0, entry.length);
            }
        }
        for (lost) |*entry| drive.forget(entry);
        drive.first = 0;
        drive.count = 0;
        drive.cache_used = 0;
    }

    /// Resets what reads see to the medium.
    fn forget(drive: *Drive, entry: *const Write) void {
        const end = entry.offset + entry.length;
        var from = entry.offset;
        while (drive.written.next(from, end)) |range| {
            @memcpy(drive.bytes[range.offset..][0..range.length], drive.durable[range.offset..][0..range.length]);
            from = range.offset + range.length;
        }
    }

    fn sectorsOf(drive: *const Drive, entry: *const Write) u64 {
        const last = (entry.offset + entry.length - 1) / drive.sector_size;
        return last - entry.offset / drive.sector_size + 1;
    }

    /// Keeps some sectors of a write. A sector is written whole or not at all. Sectors of zeroes
    /// over zeroes need no decision.
    fn keepSome(drive: *Drive, entry: *const Write, random: std.Random) void {
        const end = entry.offset + entry.length;
        var from = entry.offset;
        while (drive.written.next(from, end)) |range| {
            const behind = range.offset + range.length;
            while (from < behind) {
                const start = @max(from, range.offset);
                from = @min((start / drive.sector_size + 1) * drive.sector_size, behind);
                if (random.boolean()) drive.keep(entry, start - entry.offset, from - start);
            }
        }
    }
};

/// Zeroes memory, without touching pages that hold zeroes already.
pub fn zeroMemory(memory: []u8) void {
    var done: usize = 0;
    while (done < memory.len) {
        const step = memory[done..][0..@min(zero_step, memory.len - done)];
        if (!std.mem.allEqual(u8, step, 0)) @memset(step, 0);
        done += step.len;
    }
}

fn fill(drive: *Drive, sector: u64, count: usize, value: u8) void {
    var data: [8 * 512]u8 = undefined;
    @memset(data[0 .. count * 512], value);
    drive.write(sector * 512, data[0 .. count * 512]);
}

test "a sync keeps what was written before it began, and a crash some of the rest" {
    var seen_torn = false;
    var seen_later_alone = false;
    for (0..200) |seed| {
        var prng = std.Random.DefaultPrng.init(seed);
        var drive = Drive.init(64 * 512, 512).?;
        defer drive.deinit();
        fill(&drive, 0, 1, 1);
        const synced = drive.sequence;
        fill(&drive, 0, 1, 2);
        fill(&drive, 1, 1, 3);
        fill(&drive, 8, 8, 4);
        drive.sync(synced);
        drive.crash(prng.random());
        try std.testing.expect(drive.bytes[0] == 1 or drive.bytes[0] == 2);
        try std.testing.expect(drive.bytes[512] == 0 or drive.bytes[512] == 3);
        if (drive.bytes[0] == 1 and drive.bytes[512] == 3) seen_later_alone = true;
        var kept: u32 = 0;
        for (8..16) |sector| {
            const bytes = drive.bytes[sector * 512 ..][0..512];
            try std.testing.expect(std.mem.allEqual(u8, bytes, bytes[0]));
            kept += @intFromBool(bytes[0] == 4);
        }
        if (kept > 0 and kept < 8) seen_torn = true;
        try std.testing.expect(std.mem.eql(u8, drive.bytes, drive.durable));
    }
    try std.testing.expect(seen_torn);
    try std.testing.expect(seen_later_alone);
}

test "a full cache writes back, and zeroes survive like writes" {
    var drive = Drive.init(64 * 512, 512).?;
    defer drive.deinit();
    for (0..cache_writes_max + 10) |index| fill(&drive, index % 64, 1, @intCast(index % 251));
    try std.testing.expectEqual(@as(u32, 10), drive.count);
    drive.zero(0, 64 * 512);
    drive.sync(drive.sequence);
    try std.testing.expect(std.mem.allEqual(u8, drive.durable[0 .. 64 * 512], 0));
    try std.testing.expect(std.mem.allEqual(u8, drive.bytes[0 .. 64 * 512], 0));
}

test "what was written is packed, however much fits, and nothing else is" {
    var drive = Drive.init(1000 * 512, 512).?;
    defer drive.deinit();
    fill(&drive, 3, 2, 1);
    fill(&drive, 999, 1, 2);
    drive.zero(0, 1000 * 512);
    fill(&drive, 4, 1, 3);
    drive.sync(drive.sequence);
    for ([_]usize{ 17, 100, 528, 529, 1040, 4096 }) |room| {
        var other = Drive.init(1000 * 512, 512).?;
        defer other.deinit();
        var out: [4096]u8 = undefined;
        var bytes: u64 = 0;
        var from: u64 = 0;
        while (true) {
            const used = drive.pack(from, out[0..room]);
            if (used == 0) break;
            try std.testing.expect(other.unpack(out[0..used]));
            // Ranges lie one behind the other: the last one ends furthest.
            var rest: []const u8 = out[0..used];
            while (rest.len > 0) {
                const header = std.mem.bytesToValue(abi.ImageRange, rest[0..header_bytes]);
                from = @intFromFloat(header.offset + header.length);
                bytes += @intFromFloat(header.length);
                rest = rest[header_bytes + @as(usize, @intFromFloat(header.length)) ..];
            }
        }
        try std.testing.expectEqual(@as(u64, 3 * 512), bytes);
        try std.testing.expect(std.mem.eql(u8, drive.bytes, other.bytes));
        try std.testing.expect(std.mem.eql(u8, drive.bytes, other.durable));
        // Sectors of zeroes are as good as never written, unless they were cut.
        if (room > 528) try std.testing.expect(!other.written.isMarked(3));
    }
}

test "what pack has not written is refused" {
    var drive = Drive.init(4096, 512).?;
    defer drive.deinit();
    const nan = std.math.nan(f64);
    for ([_][2]f64{ .{ -1, 1 }, .{ 0.5, 1 }, .{ nan, 1 }, .{ 0, nan }, .{ 0, 2 }, .{ 4096, 1 }, .{ 0x1p63, 0 } }) |numbers| {
        const header: abi.ImageRange = .{ .offset = numbers[0], .length = numbers[1] };
        var in: [header_bytes + 1]u8 = undefined;
        @memcpy(in[0..header_bytes], std.mem.asBytes(&header));
        try std.testing.expect(!drive.unpack(&in));
    }
    try std.testing.expect(!drive.unpack(&[1]u8{0}));
    try std.testing.expect(drive.unpack(&.{}));
}

extern "c" fn mincore(address: *const anyopaque, length: usize, pages: [*]u8) c_int;

/// Pages of a mapping that were ever looked at.
fn visited(medium: Mapping) !usize {
    const allocator = std.testing.allocator;
    const pages = try allocator.alloc(u8, medium.len / std.heap.pageSize());
    defer allocator.free(pages);
    try std.testing.expectEqual(@as(c_int, 0), mincore(medium.ptr, medium.len, pages.ptr));
    var count: usize = 0;
    for (pages) |page| count += page & 1;
    return count;
}

test "what was never written is never looked at, whatever is zeroed and lost" {
    var drive = Drive.init(1 << 30, 512).?;
    defer drive.deinit();
    var prng = std.Random.DefaultPrng.init(1);
    for (0..100) |_| drive.zero(0, drive.size);
    fill(&drive, 1 << 20, 1, 1);
    for (0..100) |_| drive.zero(1, drive.size - 1);
    drive.crash(prng.random());
    var out: [4096]u8 = undefined;
    try std.testing.expectEqual(@as(u64, header_bytes + 512), drive.pack(0, &out));
    try std.testing.expectEqual(@as(usize, 1), try visited(drive.bytes));
    try std.testing.expectEqual(@as(usize, 1), try visited(drive.durable));
}
