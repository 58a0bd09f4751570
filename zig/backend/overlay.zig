//! Copy-on-write over a file or device that is only ever read: changed sectors live in memory, the
//! rest comes from below. Used by `simulated_device.zig`.

const std = @import("std");
const assert = std.debug.assert;
const os = @import("../os.zig");
const zeroMemory = @import("drive.zig").zeroMemory;
const E = std.posix.E;

const Mapping = []align(std.heap.page_size_min) u8;
const Words = std.DynamicBitSetUnmanaged.MaskInt;
const word_bits = @bitSizeOf(Words);

pub const Overlay = struct {
    size: u64,
    sector_size: u32,
    /// Ours, open for reading at least; nothing here writes to it.
    fd: i32,
    /// The changed sectors, where they belong; pages that are never used cost no memory.
    bytes: Mapping,
    /// One bit for each changed sector.
    map: Mapping,

    pub fn init(fd: i32, size: u64, sector_size: u32) ?Overlay {
        assert(size > 0);
        const sectors = std.math.divCeil(u64, size, sector_size) catch unreachable;
        const word_count = std.math.divCeil(u64, sectors, word_bits) catch unreachable;
        // Whole sectors, also where the base ends within one.
        const bytes = os.mapMemory(sectors * sector_size) orelse return null;
        const map = os.mapMemory(word_count * @sizeOf(Words)) orelse {
            os.unmapMemory(bytes);
            return null;
        };
        const duplicate = os.native.duplicate(fd);
        if (duplicate < 0) {
            os.unmapMemory(bytes);
            os.unmapMemory(map);
            return null;
        }
        return .{
            .size = size,
            .sector_size = sector_size,
            .fd = @intCast(duplicate),
            .bytes = bytes,
            .map = map,
        };
    }

    pub fn deinit(overlay: *Overlay) void {
        _ = os.native.close(overlay.fd);
        os.unmapMemory(overlay.bytes);
        os.unmapMemory(overlay.map);
        overlay.* = undefined;
    }

    fn words(overlay: *const Overlay) []Words {
        const pointer: [*]Words = @ptrCast(@alignCast(overlay.map.ptr));
        return pointer[0 .. overlay.map.len / @sizeOf(Words)];
    }

    fn isChanged(overlay: *const Overlay, sector: u64) bool {
        const bit = @as(Words, 1) << @intCast(sector % word_bits);
        return overlay.words()[sector / word_bits] & bit != 0;
    }

    fn note(overlay: *Overlay, sector: u64) void {
        overlay.words()[sector / word_bits] |= @as(Words, 1) << @intCast(sector % word_bits);
    }

    /// 0, or a negative errno of the base.
    pub fn read(overlay: *const Overlay, offset: u64, out: []u8) isize {
        assert(offset + out.len <= overlay.size);
        var done: u64 = 0;
        while (done < out.len) {
            const from = offset + done;
            const first = from / overlay.sector_size;
            const changed = overlay.isChanged(first);
            var end = first + 1;
            while (end * overlay.sector_size < offset + out.len) : (end += 1) {
                if (overlay.isChanged(end) != changed) break;
            }
            const bytes = @min(end * overlay.sector_size, offset + out.len) - from;
            const part = out[done..][0..bytes];
            if (changed) {
                @memcpy(part, overlay.bytes[from..][0..bytes]);
            } else {
                const result = overlay.readBase(from, part);
                if (result < 0) return result;
            }
            done += bytes;
        }
        return 0;
    }

    fn readBase(overlay: *const Overlay, offset: u64, out: []u8) isize {
        var done: u64 = 0;
        while (done < out.len) {
            const address = @intFromPtr(out.ptr) + done;
            const result = os.native.pread(overlay.fd, address, out.len - done, offset + done);
            if (result == os.negative(.INTR)) continue;
            if (result < 0) return result;
            // The base has become shorter: what is missing reads as zeroes.
            if (result == 0) {
                @memset(out[done..], 0);
                return 0;
            }
            done += @intCast(result);
        }
        return 0;
    }

    /// 0, or a negative errno: a sector that is changed in part is read from the base first.
    pub fn write(overlay: *Overlay, offset: u64, data: []const u8) isize {
        const result = overlay.own(offset, data.len);
        if (result < 0) return result;
        @memcpy(overlay.bytes[offset..][0..data.len], data);
        return 0;
    }

    pub fn zero(overlay: *Overlay, offset: u64, length: u64) isize {
        const result = overlay.own(offset, length);
        if (result < 0) return result;
        zeroMemory(overlay.bytes[offset..][0..length]);
        return 0;
    }

    /// Makes every sector of the range ours.
    fn own(overlay: *Overlay, offset: u64, length: u64) isize {
        if (length == 0) return 0;
        assert(offset + length <= overlay.size);
        const size = overlay.sector_size;
        const first = offset / size;
        const last = (offset + length - 1) / size;
        if (offset % size != 0) {
            const result = overlay.fetch(first);
            if (result < 0) return result;
        }
        if ((offset + length) % size != 0 and offset + length < overlay.size) {
            const result = overlay.fetch(last);
            if (result < 0) return result;
        }
        for (first..last + 1) |sector| overlay.note(sector);
        return 0;
    }

    fn fetch(overlay: *Overlay, sector: u64) isize {
        if (overlay.isChanged(sector)) return 0;
        const start = sector * overlay.sector_size;
        const bytes = @min(overlay.sector_size, overlay.size - start);
        return overlay.readBase(start, overlay.bytes[start..][0..bytes]);
    }

    /// Writes runs of changed sectors that begin at `from` or later, as offset and length in bytes;
    /// returns how many.
    pub fn changes(overlay: *const Overlay, from: u64, out: [][2]f64) u32 {
        const total = std.math.divCeil(u64, overlay.size, overlay.sector_size) catch unreachable;
        var sector = from / overlay.sector_size;
        var count: u32 = 0;
        while (count < out.len) {
            const first = overlay.next(sector, total, true);
            if (first == total) break;
            sector = overlay.next(first, total, false);
            const start = first * overlay.sector_size;
            const end = @min(sector * overlay.sector_size, overlay.size);
            out[count] = .{ @floatFromInt(start), @floatFromInt(end - start) };
            count += 1;
        }
        return count;
    }

    /// The first sector from `from` on that is changed, or is not; `total` if there is none.
    fn next(overlay: *const Overlay, from: u64, total: u64, changed: bool) u64 {
        const uniform: Words = if (changed) 0 else std.math.maxInt(Words);
        var sector = from;
        while (sector < total) {
            if (sector % word_bits == 0 and overlay.words()[sector / word_bits] == uniform) {
                sector += word_bits;
                continue;
            }
            if (overlay.isChanged(sector) == changed) return sector;
            sector += 1;
        }
        return total;
    }
};
