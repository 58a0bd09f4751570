//! The medium of a fake disk: the bytes that reads see (the cache), the bytes that a crash leaves, and
//! which sectors differ. A sync makes durable what was written before it *began*, never more: that
//! is the least a kernel may do, so that nothing above can rely on more.

const std = @import("std");
const assert = std.debug.assert;

pub const Medium = struct {
    /// What reads see.
    bytes: []u8,
    /// What survives a crash.
    durable: []u8,
    /// Per sector the write that made it differ first, 0 while it does not.
    dirty_since: []u64,
    sector_size: u32,
    /// Bytes in use: a device's capacity, a regular file's length.
    size: u64,
    /// Counts writes.
    sequence: u64 = 0,
    /// Files grow, devices do not.
    grows: bool,
    unplugged: bool = false,

    pub const Options = struct {
        size: u64,
        /// Regular files grow to this at most; then ENOSPC.
        size_max: u64,
        sector_size: u32 = 512,
        grows: bool = false,
    };

    pub fn init(allocator: std.mem.Allocator, options: Options) !Medium {
        assert(options.sector_size > 0);
        assert(options.size <= options.size_max);
        assert(options.size_max % options.sector_size == 0);
        const bytes = try allocator.alloc(u8, options.size_max);
        errdefer allocator.free(bytes);
        const durable = try allocator.alloc(u8, options.size_max);
        errdefer allocator.free(durable);
        const sectors = options.size_max / options.sector_size;
        const dirty_since = try allocator.alloc(u64, sectors);
        @memset(bytes, 0);
        @memset(durable, 0);
        @memset(dirty_since, 0);
        return .{
            .bytes = bytes,
            .durable = durable,
            .dirty_since = dirty_since,
            .sector_size = options.sector_size,
            .size = options.size,
            .grows = options.grows,
        };
    }

    pub fn deinit(medium: *Medium, allocator: std.mem.Allocator) void {
        allocator.free(medium.bytes);
        allocator.free(medium.durable);
        allocator.free(medium.dirty_since);
        medium.* = undefined;
    }

    /// Bytes that can be read at `offset`.
    pub fn readable(medium: *const Medium, offset: u64, bytes: u64) u64 {
        return @min(bytes, medium.size -| offset);
    }

    /// Bytes that can be written at `offset`.
    pub fn writable(medium: *const Medium, offset: u64, bytes: u64) u64 {
        const end = if (medium.grows) medium.bytes.len else medium.size;
        return @min(bytes, end -| offset);
    }

    pub fn write(medium: *Medium, offset: u64, data: []const u8) void {
        medium.touch(offset, data.len);
        @memcpy(medium.bytes[offset..][0..data.len], data);
    }

    pub fn zero(medium: *Medium, offset: u64, length: u64) void {
        medium.touch(offset, length);
        @memset(medium.bytes[offset..][0..length], 0);
    }

    fn touch(medium: *Medium, offset: u64, length: u64) void {
        if (length == 0) return;
        assert(medium.writable(offset, length) == length);
        medium.sequence += 1;
        const first = offset / medium.sector_size;
        const last = (offset + length - 1) / medium.sector_size;
        for (medium.dirty_since[first .. last + 1]) |*since| {
            if (since.* == 0) since.* = medium.sequence;
        }
        medium.size = @max(medium.size, offset + length);
    }

    pub fn truncate(medium: *Medium, size: u64) void {
        assert(medium.grows);
        assert(size <= medium.bytes.len);
        if (size < medium.size) {
            const old = medium.size;
            medium.zero(size, old - size);
        }
        medium.size = size;
    }

    /// Makes durable what was first written no later than `sequence`.
    pub fn sync(medium: *Medium, sequence: u64) void {
        assert(sequence <= medium.sequence);
        for (medium.dirty_since, 0..) |since, sector| {
            if (since != 0 and since <= sequence) medium.flushSector(sector);
        }
    }

    fn flushSector(medium: *Medium, sector: usize) void {
        const start = sector * medium.sector_size;
        const size = medium.sector_size;
        @memcpy(medium.durable[start..][0..size], medium.bytes[start..][0..size]);
        medium.dirty_since[sector] = 0;
    }

    /// A cache writes back whenever it likes: with probability `rate`/256 each dirty sector becomes
    /// durable. So an older version of a sector may be what a crash leaves.
    pub fn writeBack(medium: *Medium, random: std.Random, rate: u8) void {
        for (medium.dirty_since, 0..) |since, sector| {
            if (since != 0 and random.int(u8) < rate) medium.flushSector(sector);
        }
    }

    /// Power is lost: an arbitrary subset of the unsynced sectors survives. With `tear` some
    /// sectors are cut in the middle as well, as a drive without atomic sectors would.
    pub fn crash(medium: *Medium, random: std.Random, tear: bool) void {
        // Anything from nothing kept to all kept, not only about half.
        const rate = random.int(u8);
        for (medium.dirty_since, 0..) |since, sector| {
            if (since == 0 or random.int(u8) >= rate) continue;
            if (tear and random.int(u8) < 32) {
                const start = sector * medium.sector_size;
                const kept = random.uintAtMost(usize, medium.sector_size);
                @memcpy(medium.durable[start..][0..kept], medium.bytes[start..][0..kept]);
            } else {
                medium.flushSector(sector);
            }
        }
        @memcpy(medium.bytes, medium.durable);
        @memset(medium.dirty_since, 0);
    }
};

test "a crash keeps what was synced and any subset of the rest" {
    var medium: Medium = try .init(std.testing.allocator, .{ .size = 8192, .size_max = 8192 });
    defer medium.deinit(std.testing.allocator);
    var prng = std.Random.DefaultPrng.init(7);
    medium.write(0, &@as([4096]u8, @splat(1)));
    const synced = medium.sequence;
    medium.write(4096, &@as([4096]u8, @splat(2)));
    medium.sync(synced);
    medium.crash(prng.random(), false);
    try std.testing.expect(std.mem.allEqual(u8, medium.bytes[0..4096], 1));
    var kept: usize = 0;
    for (0..8) |sector| {
        const bytes = medium.bytes[4096 + sector * 512 ..][0..512];
        try std.testing.expect(bytes[0] == 0 or bytes[0] == 2);
        try std.testing.expect(std.mem.allEqual(u8, bytes, bytes[0]));
        kept += @intFromBool(bytes[0] == 2);
    }
    try std.testing.expect(kept > 0);
    try std.testing.expect(kept < 8);
}
