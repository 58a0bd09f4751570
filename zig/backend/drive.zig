//! The medium of a simulated device: what reads see, what a power cut would leave, and the writes
//! that make the difference, in order. Used by `simulated_device.zig`.
//!
//! A crash decides for each of these writes by itself: nothing of it survives, all of it, or some of
//! its sectors. So a later write may survive without an earlier one, and an older version of a sector
//! without the newer one, as with a drive that orders its cache as it likes.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const os = @import("../os.zig");

const Mapping = []align(std.heap.page_size_min) u8;

/// A cache that is full writes everything back.
const cache_bytes_min = abi.piece_bytes_max;
const cache_bytes_max = 64 * 1024 * 1024;
const cache_writes_max = 65536;
/// Memory is looked at in such steps when it is zeroed, so that what was never used stays unused.
const zero_step = 4096;
/// One in so many writes of several sectors is torn by a crash.
const torn_one_in = 4;

const Write = struct {
    sequence: u64,
    offset: u64,
    length: u64,
    /// Where its data is in the cache; zeroes have none.
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
        return .{
            .size = size,
            .sector_size = sector_size,
            .bytes = made[0],
            .durable = made[1],
            .cache = made[2],
            .writes = made[3],
        };
    }

    pub fn deinit(drive: *Drive) void {
        for ([_]Mapping{ drive.bytes, drive.durable, drive.cache, drive.writes }) |mapping| {
            os.unmapMemory(mapping);
        }
        drive.* = undefined;
    }

    pub fn read(drive: *const Drive, offset: u64, out: []u8) void {
        @memcpy(out, drive.bytes[offset..][0..out.len]);
    }

    pub fn write(drive: *Drive, offset: u64, data: []const u8) void {
        if (data.len == 0) return;
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
        zeroMemory(drive.bytes[offset..][0..length]);
        drive.append(offset, length).zeroes = true;
    }

    /// Puts bytes there from the beginning of time.
    pub fn preload(drive: *Drive, offset: u64, data: []const u8) void {
        @memcpy(drive.bytes[offset..][0..data.len], data);
        @memcpy(drive.durable[offset..][0..data.len], data);
    }

    fn append(drive: *Drive, offset: u64, length: u64) *Write {
        assert(offset + length <= drive.size);
        if (drive.count == cache_writes_max) drive.sync(drive.sequence);
        // A sync may have kept the end of the list.
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

    /// Makes durable what was written up to `sequence`, and nothing more: that is the least that a
    /// device may do, so that nobody comes to rely on more.
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

    /// `length` bytes of a write, from `from` on, reach the medium.
    fn keep(drive: *Drive, entry: *const Write, from: u64, length: u64) void {
        const target = drive.durable[entry.offset + from ..][0..length];
        if (entry.zeroes) return zeroMemory(target);
        @memcpy(target, drive.cache[entry.data + from ..][0..length]);
    }

    /// The power is cut. Afterwards reads see what survived.
    pub fn crash(drive: *Drive, random: std.Random) void {
        // Anything from hardly a write to nearly all, not always about half.
        const rate = random.int(u8);
        const lost = drive.list()[drive.first..drive.count];
        for (lost) |*entry| {
            const sectors = drive.sectorsOf(entry);
            if (sectors > 1 and random.uintLessThan(u8, torn_one_in) == 0) {
                drive.keepSome(entry, sectors, random);
            } else if (random.int(u8) < rate) {
                drive.keep(entry, 0, entry.length);
            }
        }
        for (lost) |*entry| {
            const range = drive.durable[entry.offset..][0..entry.length];
            @memcpy(drive.bytes[entry.offset..][0..entry.length], range);
        }
        drive.first = 0;
        drive.count = 0;
        drive.cache_used = 0;
    }

    fn sectorsOf(drive: *const Drive, entry: *const Write) u64 {
        const last = (entry.offset + entry.length - 1) / drive.sector_size;
        return last - entry.offset / drive.sector_size + 1;
    }

    /// A sector is written whole or not at all.
    fn keepSome(drive: *Drive, entry: *const Write, sectors: u64, random: std.Random) void {
        const first = entry.offset / drive.sector_size;
        for (first..first + sectors) |sector| {
            if (!random.boolean()) continue;
            const start = @max(sector * drive.sector_size, entry.offset);
            const end = @min((sector + 1) * drive.sector_size, entry.offset + entry.length);
            drive.keep(entry, start - entry.offset, end - start);
        }
    }
};

/// Leaves pages alone that hold zeroes already.
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
