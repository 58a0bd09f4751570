//! Registered buffers of io_uring: memory of a few slabs whose pages are pinned once, at first
//! use, instead of for each request.
//!
//! A slab is retained while an index of the kernel's table refers to it: no index can ever refer
//! to reused memory.

const std = @import("std");
const abi = @import("../abi.zig");
const plant = @import("../engine/plant.zig");
const Slab = @import("../engine/slab.zig").Slab;

/// Few: each request on a registered slab searches them.
const slabs_max = 64;
/// Chunks are registered one by one, so that none takes long: all of its pages become resident.
const chunks_max = abi.registered_chunks_max;

pub fn RegisteredBuffers(comptime Os: type) type {
    return struct {
        const Self = @This();

        const Entry = struct {
            slab: ?*Slab = null,
            chunk_bytes: u32 = 0,
            registered: std.StaticBitSet(chunks_max) = .initEmpty(),
            refused: std.StaticBitSet(chunks_max) = .initEmpty(),
        };

        /// The chunks of entry `i` have the indexes from `i * chunks_max`.
        entries: [slabs_max]Entry = @splat(.{}),
        count: u32 = 0,
        table: enum { unknown, made, refused } = .unknown,

        /// Call when the ring has been closed.
        pub fn deinit(self: *Self) void {
            for (&self.entries) |*entry| if (entry.slab) |slab| {
                slab.registrations -= 1;
                slab.release();
            };
        }

        /// Returns false if it is impossible: no room, or a kernel before 6.4.
        pub fn add(self: *Self, ring: *Os.uring.Ring, slab: *Slab, chunk_bytes: u32) bool {
            if (chunk_bytes == 0) return false;
            if (slab.memory.len > @as(u64, chunk_bytes) * chunks_max) return false;
            if (self.table == .unknown) {
                const made = Os.uring.registerBuffers(ring, slabs_max * chunks_max) >= 0;
                self.table = if (made) .made else .refused;
            }
            if (self.table == .refused or self.find(@intFromPtr(slab)) != null) return false;
            for (&self.entries) |*entry| {
                if (entry.slab != null) continue;
                if (!plant.is(.buffers_forget_slab)) slab.retain();
                entry.* = .{ .slab = slab, .chunk_bytes = chunk_bytes };
                slab.registrations += 1;
                self.count += 1;
                return true;
            }
            return false;
        }

        /// Operations in flight on this memory are not affected. The slab may be freed already:
        /// only its address is used.
        pub fn remove(self: *Self, ring: *Os.uring.Ring, address: u64) void {
            const index = self.find(address) orelse return;
            const entry = &self.entries[index];
            if (entry.registered.count() > 0) {
                // Refused by a sandbox: the table keeps the memory until the ring ends.
                if (Os.uring.clearBuffers(ring, @intCast(index * chunks_max), chunks_max) < 0) return;
            }
            entry.slab.?.registrations -= 1;
            entry.slab.?.release();
            entry.* = .{};
            self.count -= 1;
        }

        pub fn has(self: *const Self, address: u64) bool {
            return self.find(address) != null;
        }

        fn find(self: *const Self, address: u64) ?usize {
            if (self.count == 0 or address == 0) return null;
            for (&self.entries, 0..) |*entry, index| {
                if (@intFromPtr(entry.slab) == address) return index;
            }
            return null;
        }

        /// The index of the chunk that holds all of this memory, if there is one. Registers it if
        /// needed: a request would pin its pages anyway.
        pub fn place(self: *Self, ring: *Os.uring.Ring, slab: *Slab, address: u64, bytes: u64) ?u16 {
            if (slab.registrations == 0) return null;
            const index = self.find(@intFromPtr(slab)) orelse return null;
            if (bytes == 0 or !slab.holds(address, bytes)) return null;
            const entry = &self.entries[index];
            const offset = address - @intFromPtr(slab.memory.ptr);
            const chunk = offset / entry.chunk_bytes;
            if (!plant.is(.buffers_over_edge) and chunk != (offset + bytes - 1) / entry.chunk_bytes) return null;
            if (entry.refused.isSet(chunk)) return null;
            const number: u16 = @intCast(index * chunks_max + if (plant.is(.buffers_wrong_place)) 0 else chunk);
            if (!entry.registered.isSet(chunk)) {
                const begin = chunk * entry.chunk_bytes;
                const end = @min(begin + entry.chunk_bytes, slab.memory.len);
                if (Os.uring.updateBuffer(ring, number, slab.memory[begin..end]) < 0) {
                    // RLIMIT_MEMLOCK or no memory: requests work without.
                    entry.refused.set(chunk);
                    return null;
                }
                entry.registered.set(chunk);
            }
            return number;
        }
    };
}
