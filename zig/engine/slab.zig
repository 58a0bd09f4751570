//! A slab: native memory that JavaScript sees as an `ArrayBuffer`. Reference counted: one
//! reference for JavaScript, dropped by the deallocator of the buffer on any thread, and one for
//! each operation in flight. The memory is freed with the last one, so that the kernel never
//! writes into reused memory.

const std = @import("std");
const assert = std.debug.assert;
const os = @import("../os/os.zig");

/// Identifies a slab header among whatever JavaScript might pass.
const magic_alive: u64 = 0x62_61_5f_73_6c_61_62_31;
const magic_dead: u64 = 0x62_61_5f_64_65_61_64_30;

/// Huge page size of x86-64 and arm64 with 4 KiB pages. Smaller slabs would only waste the rest
/// of a huge page.
const huge_page_bytes = 2 * 1024 * 1024;

pub const Slab = struct {
    magic: u64,
    references: std.atomic.Value(u32),
    /// Rings that have registered it with their kernel; of the thread that made it.
    registrations: u32 = 0,
    /// The whole mapping, header included.
    mapping: []align(std.heap.page_size_min) u8,
    /// The part that JavaScript sees.
    memory: []u8,

    /// Maps `size` zeroed bytes aligned to `alignment` (a power of two), with a page before them
    /// for the header. Returns null when the system has no memory.
    pub fn create(size: u64, alignment: u64, huge_pages: bool) ?struct { slab: *Slab, address: u64 } {
        assert(size > 0);
        assert(std.math.isPowerOfTwo(alignment));
        const page = std.heap.pageSize();
        const gap = @max(alignment, page);
        const bytes = std.math.add(u64, size, gap + (gap - page)) catch return null;
        const mapping = os.mapMemory(bytes) orelse return null;
        if (@hasDecl(os.native, "preferHugePages") and huge_pages and size >= huge_page_bytes) {
            os.native.preferHugePages(mapping);
        }
        const address = std.mem.alignForward(u64, @intFromPtr(mapping.ptr) + page, gap);
        const slab: *Slab = @ptrCast(mapping.ptr);
        assert(address + size <= @intFromPtr(mapping.ptr) + mapping.len);
        slab.* = .{
            .magic = magic_alive,
            .references = .init(1),
            .mapping = mapping,
            .memory = @as([*]u8, @ptrFromInt(address))[0..size],
        };
        return .{ .slab = slab, .address = address };
    }

    pub fn fromAddress(address: u64) ?*Slab {
        if (address == 0 or address % std.heap.page_size_min != 0) return null;
        const slab: *Slab = @ptrFromInt(address);
        return if (slab.magic == magic_alive) slab else null;
    }

    /// Whether all of `bytes` bytes at `address` belong to the slab.
    pub fn holds(slab: *const Slab, address: u64, bytes: u64) bool {
        const begin = @intFromPtr(slab.memory.ptr);
        if (address < begin or bytes > slab.memory.len) return false;
        return address - begin <= slab.memory.len - bytes;
    }

    pub fn retain(slab: *Slab) void {
        assert(slab.magic == magic_alive);
        const before = slab.references.fetchAdd(1, .monotonic);
        assert(before > 0);
    }

    pub fn release(slab: *Slab) void {
        assert(slab.magic == magic_alive);
        const before = slab.references.fetchSub(1, .acq_rel);
        assert(before > 0);
        if (before > 1) return;
        slab.magic = magic_dead;
        os.unmapMemory(slab.mapping);
    }
};
