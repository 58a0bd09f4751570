//! The buffers of the fuzzer's calls: a few slabs with several slots each, and room for the
//! vectors. Made once for all seeds.

const std = @import("std");
const assert = std.debug.assert;
const fake = @import("core").fake_kernel;
const oracle_file = @import("oracle.zig");
const Iovec = @import("core").iovec.Iovec;
const Slab = @import("core").slab.Slab;
const fail = @import("report.zig").fail;

pub const slot_bytes = 48 * 1024;
pub const iovecs_max = 8;
const slots_per_slab = 8;
const slab_count = oracle_file.slots_max / slots_per_slab;

pub const Memory = struct {
    slabs: [slab_count]*Slab,
    addresses: [slab_count]u64,
    /// Slabs that the lane holds because it has registered them.
    registered: [slab_count]bool = @splat(false),
    /// Iovecs, then as many slab headers.
    vectors: [oracle_file.slots_max][iovecs_max * 3]u64,

    pub fn init(memory: *Memory) void {
        memory.registered = @splat(false);
        for (&memory.slabs, &memory.addresses) |*slab, *address| {
            const made = Slab.create(slot_bytes * slots_per_slab, 4096, false) orelse unreachable;
            slab.* = made.slab;
            address.* = made.address;
        }
    }

    pub fn slabOf(memory: *const Memory, slot: u32) *Slab {
        return memory.slabs[slot / slots_per_slab];
    }

    pub fn addressOf(memory: *const Memory, slot: u32) u64 {
        return memory.addresses[slot / slots_per_slab] + (slot % slots_per_slab) * slot_bytes;
    }

    pub fn bytes(memory: *const Memory, slot: u32) []u8 {
        return @as([*]u8, @ptrFromInt(memory.addressOf(slot)))[0..slot_bytes];
    }

    /// Cuts the first `length` bytes of the slot into `count` buffers; multiples of `unit`.
    pub fn makeVector(memory: *Memory, slot: u32, random: std.Random, length: u64, count: u32, unit: u32) void {
        assert(count > 0 and count <= iovecs_max);
        assert(length % unit == 0);
        const words = &memory.vectors[slot];
        const iovecs: [*]Iovec = @ptrCast(words);
        const headers = words[count * 2 ..][0..count];
        var at: u64 = 0;
        for (0..count) |index| {
            const rest = (length - at) / unit;
            const last = index + 1 == count;
            const part = if (last) rest else random.uintAtMost(u64, if (random.boolean()) rest else rest / 4);
            iovecs[index] = .{ .base = memory.addressOf(slot) + at, .len = part * unit };
            at += part * unit;
            // Bounce memory has no slab.
            headers[index] = if (random.boolean()) @intFromPtr(memory.slabOf(slot)) else 0;
        }
        assert(at == length);
    }

    pub fn uses(memory: *const Memory, ask: *const fake.Ask, slot: u32) bool {
        if (ask.address == 0 or (ask.bytes == 0 and ask.iovec_count == 0)) return false;
        const start = memory.addressOf(slot);
        if (ask.iovec_count == 0) return ask.address >= start and ask.address < start + slot_bytes;
        const vector = @intFromPtr(&memory.vectors[slot]);
        return ask.address >= vector and ask.address < vector + @sizeOf([iovecs_max * 3]u64);
    }

    /// Has the lane register a slab, or let go of it. Either may be refused.
    pub fn changeRegistered(memory: *Memory, lane: anytype, random: std.Random) void {
        const index = random.uintLessThan(usize, slab_count);
        const slab = memory.slabs[index];
        if (memory.registered[index]) {
            lane.unregisterSlab(@intFromPtr(slab));
            memory.registered[index] = lane.buffers.has(@intFromPtr(slab));
            return;
        }
        const chunks = [_]u32{ 8192, 3 * 4096, slot_bytes, slot_bytes + 4096, slot_bytes * slots_per_slab };
        memory.registered[index] = lane.registerSlab(slab, chunks[random.uintLessThan(usize, chunks.len)]);
        if (lane.registerSlab(slab, slot_bytes)) fail("a slab is registered twice", .{});
    }

    /// One reference is ours, one the lane's if it has registered the slab; each operation in the engine holds one for each buffer in a slab.
    pub fn checkReferences(memory: *const Memory, oracle: *const oracle_file.Oracle) void {
        var expected: [slab_count]u32 = undefined;
        for (&expected, memory.registered) |*count, registered| count.* = if (registered) 2 else 1;
        for (&oracle.calls) |*call| {
            if (call.state != .native and call.state != .lost) continue;
            const count = &expected[call.slot / slots_per_slab];
            if (call.in_slab) count.* += 1;
            if (call.iovec_count == 0) continue;
            for (memory.vectors[call.slot][call.iovec_count * 2 ..][0..call.iovec_count]) |header| {
                count.* += @intFromBool(header != 0);
            }
        }
        for (memory.slabs, expected) |slab, count| {
            const references = slab.references.load(.monotonic);
            if (references != count) fail("a slab has {d} references instead of {d}", .{ references, count });
        }
    }
};
