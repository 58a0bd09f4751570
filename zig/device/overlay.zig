//! Copy-on-write over a file or device that is only read: changed sectors are in memory, the rest
//! comes from the base.

const std = @import("std");
const assert = std.debug.assert;
const os = @import("../os/os.zig");
const SectorMap = @import("sector_map.zig").SectorMap;
const zeroMemory = @import("drive.zig").zeroMemory;

const Mapping = []align(std.heap.page_size_min) u8;

pub const Overlay = struct {
    size: u64,
    sector_size: u32,
    /// A descriptor of our own, open for reading; never written to.
    fd: i32,
    /// The changed sectors, at their offsets; unused pages cost no memory.
    bytes: Mapping,
    changed: SectorMap,

    pub fn init(fd: i32, size: u64, sector_size: u32) ?Overlay {
        assert(size > 0);
        const sectors = std.math.divCeil(u64, size, sector_size) catch unreachable;
        // Whole sectors, even if the base ends within one.
        const duplicate = os.calls.duplicate(fd);
        if (duplicate < 0) return null;
        const base: i32 = @intCast(duplicate);
        if (os.mapMemory(sectors * sector_size)) |bytes| {
            if (SectorMap.init(size, sector_size)) |changed| {
                return .{ .size = size, .sector_size = sector_size, .fd = base, .bytes = bytes, .changed = changed };
            }
            os.unmapMemory(bytes);
        }
        _ = os.native.close(base);
        return null;
    }

    pub fn deinit(overlay: *Overlay) void {
        _ = os.native.close(overlay.fd);
        os.unmapMemory(overlay.bytes);
        overlay.changed.deinit();
        overlay.* = undefined;
    }

    /// Returns 0, or a negative errno of the base.
    pub fn read(overlay: *const Overlay, offset: u64, out: []u8) isize {
        assert(offset + out.len <= overlay.size);
        const end = offset + out.len;
        var from = offset;
        while (from < end) {
            const ours = overlay.changed.next(from, end);
            const begin = if (ours) |range| range.offset else end;
            const result = overlay.readBase(from, out[from - offset ..][0 .. begin - from]);
            if (result < 0) return result;
            from = begin;
            if (ours) |range| {
                @memcpy(out[from - offset ..][0..range.length], overlay.bytes[from..][0..range.length]);
                from += range.length;
            }
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
            // The base has shrunk: what is missing reads as zeroes.
            if (result == 0) {
                @memset(out[done..], 0);
                return 0;
            }
            done += @intCast(result);
        }
        return 0;
    }

    /// Returns 0, or a negative errno: a partly changed sector is read from the base first.
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

    /// Copies every sector of the range from the base that was not copied before.
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
        overlay.changed.mark(offset, length);
        return 0;
    }

    fn fetch(overlay: *Overlay, sector: u64) isize {
        if (overlay.changed.isMarked(sector)) return 0;
        const start = sector * overlay.sector_size;
        const bytes = @min(overlay.sector_size, overlay.size - start);
        return overlay.readBase(start, overlay.bytes[start..][0..bytes]);
    }

    /// Writes runs of changed sectors that begin at `from` or later, as offset and length in
    /// bytes; returns how many.
    pub fn changes(overlay: *const Overlay, from: u64, out: [][2]f64) u32 {
        var at = from - from % overlay.sector_size;
        var count: u32 = 0;
        while (count < out.len) : (count += 1) {
            const range = overlay.changed.next(at, overlay.size) orelse break;
            out[count] = .{ @floatFromInt(range.offset), @floatFromInt(range.length) };
            at = range.offset + range.length;
        }
        return count;
    }
};
