//! The model of one file: a byte array, and what a crash may do to it.

const std = @import("std");
const abi = @import("core").abi;
const fake = @import("core").fake_kernel;
const oracle_file = @import("oracle.zig");
const fail = @import("report.zig").fail;

pub const bytes_max = 128 * 1024;
const block_bytes = 512;
const block_count = bytes_max / block_bytes;

pub const Model = struct {
    disk: *fake.Disk = undefined,
    bytes: []u8 = &.{},
    /// Per byte the last call that may change it and is not known to be durable; 0: stable.
    changed_by: []u16 = &.{},
    /// Blocks with any such byte.
    unstable: [block_count]bool = @splat(false),
    size: u64 = 0,
    gone: bool = false,

    pub fn init(model: *Model, disk: *fake.Disk, bytes: []u8, changed_by: []u16) void {
        model.* = .{ .disk = disk, .bytes = bytes, .changed_by = changed_by, .size = disk.size };
        @memset(bytes, 0);
        @memset(changed_by, 0);
    }

    /// Fills a buffer with what call `order` writes.
    pub fn pattern(order: u64, buffer: []u8) void {
        var prng = std.Random.SplitMix64.init(order);
        var at: usize = 0;
        while (at + 8 <= buffer.len) : (at += 8) std.mem.writeInt(u64, buffer[at..][0..8], prng.next(), .little);
        const rest: [8]u8 = @bitCast(prng.next());
        for (buffer[at..], 0..) |*byte, index| byte.* = rest[index];
    }

    /// The bytes a changing call may touch.
    fn reach(model: *const Model, call: *const oracle_file.Call) struct { start: u64, end: u64 } {
        if (call.kind == .truncate) return .{ .start = @min(call.offset, model.size), .end = bytes_max };
        return .{ .start = @min(call.offset, bytes_max), .end = @min(call.offset + call.length, bytes_max) };
    }

    pub fn called(model: *Model, call: *const oracle_file.Call) void {
        const range = model.reach(call);
        @memset(model.changed_by[range.start..range.end], @intCast(call.order));
        if (range.start == range.end) return;
        @memset(model.unstable[range.start / block_bytes .. (range.end - 1) / block_bytes + 1], true);
    }

    pub fn settled(model: *Model, oracle: *oracle_file.Oracle, call: *const oracle_file.Call, status: abi.Status) void {
        switch (call.kind) {
            .read, .readv => model.checkRead(oracle, call, status),
            .write, .writev => model.applyWrite(oracle, call, status),
            .sync_all, .sync_data, .invalidate_cache => if (status == .ok) model.checkSync(oracle, call),
            .truncate, .allocate, .discard, .write_zeroes => model.applyOther(call, status),
            .stat => if (status == .ok) {
                const info: *const abi.FileInfo = @ptrFromInt(oracle.memory.addressOf(call.slot));
                if (info.fd != call.fd) fail("stat of another file", .{});
            },
            else => {},
        }
    }

    fn checkRead(model: *const Model, oracle: *oracle_file.Oracle, call: *const oracle_file.Call, status: abi.Status) void {
        const expected = @min(call.length, model.size -| call.offset);
        if (status == .ok and call.moved != expected) {
            fail("slot {d} read {d} bytes instead of {d}", .{ call.slot, call.moved, expected });
        }
        if (call.moved == 0) return;
        const got = oracle.memory.bytes(call.slot)[0..call.moved];
        if (!std.mem.eql(u8, got, model.bytes[call.offset..][0..call.moved])) {
            fail("slot {d} read wrong data", .{call.slot});
        }
    }

    fn applyWrite(model: *Model, oracle: *oracle_file.Oracle, call: *const oracle_file.Call, status: abi.Status) void {
        if (status == .ok and call.moved != call.length) {
            fail("slot {d} wrote {d} bytes of {d}", .{ call.slot, call.moved, call.length });
        }
        const data = oracle.memory.bytes(call.slot)[0..call.length];
        const possible = @min(call.length, model.disk.writable(call.offset, call.length));
        if (call.moved > possible) fail("slot {d} wrote beyond the end", .{call.slot});
        if (possible == 0) return;
        const medium = model.disk.drive.bytes[call.offset..][0..possible];
        const bytes = model.bytes[call.offset..][0..possible];
        @memcpy(bytes[0..call.moved], data[0..call.moved]);
        if (model.gone) return;
        if (!std.mem.eql(u8, medium[0..call.moved], data[0..call.moved])) {
            fail("slot {d} wrote something else than its buffer", .{call.slot});
        }
        // Behind what it reports, a write that ended badly may have changed any byte.
        for (bytes[call.moved..], medium[call.moved..], data[call.moved..possible]) |*byte, now, wanted| {
            if (now != byte.* and now != wanted) fail("slot {d} left strange bytes", .{call.slot});
            byte.* = now;
        }
        model.adoptSize(call);
    }

    /// Whoever holds the range behind the end may find that the file has grown by more than was
    /// reported.
    fn adoptSize(model: *Model, call: *const oracle_file.Call) void {
        if (call.lock_end != std.math.maxInt(u64)) return;
        const size = model.disk.size;
        if (size < model.size) fail("slot {d} shrank its file", .{call.slot});
        if (size > @max(model.size, call.offset + call.length)) fail("slot {d} grew its file", .{call.slot});
        model.size = size;
    }

    fn applyOther(model: *Model, call: *const oracle_file.Call, status: abi.Status) void {
        if (model.gone) return;
        if (status != .ok) return model.adoptZeroes(call);
        const disk = model.disk;
        switch (call.kind) {
            .truncate => {
                if (call.offset < model.size) @memset(model.bytes[call.offset..model.size], 0);
                model.size = call.offset;
            },
            .allocate => model.size = @max(model.size, call.offset + call.length),
            .discard, .write_zeroes => @memset(model.bytes[call.offset..][0..call.length], 0),
            else => unreachable,
        }
        if (disk.size != model.size and call.lock_end == std.math.maxInt(u64)) {
            fail("slot {d}: size {d} instead of {d}", .{ call.slot, disk.size, model.size });
        }
    }

    /// A range that could not be zeroed may be zeroes in part.
    fn adoptZeroes(model: *Model, call: *const oracle_file.Call) void {
        if (call.kind != .discard and call.kind != .write_zeroes) return;
        const range = model.reach(call);
        const medium = model.disk.drive.bytes[range.start..range.end];
        for (model.bytes[range.start..range.end], medium) |*byte, now| {
            if (now != byte.* and now != 0) fail("slot {d} left strange bytes", .{call.slot});
            byte.* = now;
        }
    }

    /// A sync that succeeded: every change called before it is over and on the medium.
    fn checkSync(model: *Model, oracle: *oracle_file.Oracle, sync: *const oracle_file.Call) void {
        // `invalidate_cache` makes no promise about unawaited writes.
        if (sync.kind == .invalidate_cache) return;
        for (&oracle.calls) |*call| {
            if (call.state == .free or !call.changes() or call.file != sync.file) continue;
            if (call.order < sync.order) fail("sync {d} settles before write {d}", .{ sync.order, call.order });
        }
        for (&model.unstable, 0..) |*unstable, block| {
            if (!unstable.*) continue;
            unstable.* = false;
            for (block * block_bytes..(block + 1) * block_bytes) |index| {
                const by = model.changed_by[index];
                if (by == 0) continue;
                if (by > sync.order) {
                    unstable.* = true;
                    continue;
                }
                if (model.disk.drive.durable[index] != model.bytes[index]) {
                    fail("sync {d} settles, but byte {d} of write {d} is not durable", .{ sync.order, index, by });
                }
                model.changed_by[index] = 0;
            }
        }
    }

    /// After a crash everything that a sync has covered is still there.
    pub fn checkSurvivor(model: *const Model) void {
        for (model.bytes, model.changed_by, model.disk.drive.durable, 0..) |byte, by, durable, index| {
            if (by == 0 and byte != durable) fail("the crash took synced byte {d}", .{index});
        }
    }

    pub fn checkMedium(model: *const Model) void {
        if (model.gone) return;
        const disk = model.disk;
        if (disk.size != model.size) fail("size {d} instead of {d}", .{ disk.size, model.size });
        if (!std.mem.eql(u8, disk.drive.bytes, model.bytes)) fail("the medium holds other bytes", .{});
    }
};
