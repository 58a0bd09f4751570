//! Frees ranges of a file where the kernel must be given whole pages only: on FreeBSD 14 and 15, in
//! a tmpfs, fspacectl(2) of a range that starts on a page and ends within it never returns, and not
//! even SIGKILL ends it (seen on 15.0-RELEASE: 0 to 100; the last 3,616 bytes of 20,000). So what is
//! left at both ends is written.
//!
//! `system` has `fileSize(fd)`, `freePages(fd, offset, length)` and `pwrite`.

const std = @import("std");
const assert = std.debug.assert;
const os = @import("../os/os.zig");
const plant = @import("../engine/plant.zig");

const zeroes: [16 * 1024]u8 = @splat(0);

/// The range reads as zeroes afterwards, as far as the file reaches; its length stays. Returns 0 or
/// a negative errno: then some bytes may be zeroes already.
pub fn zero(system: anytype, fd: i32, offset: u64, length: u64) isize {
    const size = system.fileSize(fd);
    if (size < 0) return size;
    // The kernel cuts the range there, within a page.
    const end = @min(offset + length, @as(u64, @intCast(size)));
    if (offset >= end) return 0;
    const page = os.pageSize();
    const first = std.mem.alignForward(u64, offset, page);
    const last = std.mem.alignBackward(u64, end, page);
    if (plant.is(.free_parts_of_pages)) return repeat(system, fd, offset, end - offset);
    if (first >= last) return write(system, fd, offset, end);
    const freed = repeat(system, fd, first, last - first);
    if (freed < 0) return freed;
    const before = write(system, fd, offset, first);
    return if (before < 0) before else write(system, fd, last, end);
}

fn repeat(system: anytype, fd: i32, offset: u64, length: u64) isize {
    while (true) {
        const result = system.freePages(fd, offset, length);
        if (result != os.negative(.INTR)) return result;
    }
}

fn write(system: anytype, fd: i32, from: u64, to: u64) isize {
    var offset = from;
    while (offset < to) {
        const result = system.pwrite(fd, @intFromPtr(&zeroes), @min(to - offset, zeroes.len), offset);
        if (result == os.negative(.INTR)) continue;
        if (result < 0) return result;
        if (result == 0) return os.negative(.IO);
        offset += @intCast(result);
    }
    return 0;
}

/// A file of a kernel that hangs.
const Hanging = struct {
    size: u64,
    bytes: [3 * 65536]u8 = @splat(1),
    freed: u64 = 0,

    fn fileSize(file: *Hanging, _: i32) isize {
        return @intCast(file.size);
    }

    fn freePages(file: *Hanging, _: i32, offset: u64, length: u64) isize {
        const page = os.pageSize();
        assert(offset % page == 0);
        assert(length > 0);
        assert(length % page == 0);
        assert(offset + length <= file.size);
        @memset(file.bytes[offset..][0..length], 0);
        file.freed += length;
        return 0;
    }

    fn pwrite(file: *Hanging, _: i32, address: u64, bytes: u64, offset: u64) isize {
        assert(offset + bytes <= file.size);
        // Short, as any write may be.
        const some = @max(1, bytes / 2);
        @memcpy(file.bytes[offset..][0..some], @as([*]const u8, @ptrFromInt(address))[0..some]);
        return @intCast(some);
    }
};

test "whole pages are freed, the rest is written, and the length stays" {
    const page = os.pageSize();
    const size = 2 * page + 900;
    for ([_][2]u64{
        .{ 0, 100 },        .{ page, 100 },   .{ 2 * page, 900 }, .{ 2 * page, page },
        .{ 0, 2 * page },   .{ 100, page },   .{ 100, 200 },      .{ 100, 3 * page },
        .{ size - 1, 100 }, .{ size, page },  .{ 4 * page, 100 }, .{ page, page },
        .{ 0, 2 * size },   .{ page - 1, 2 },
    }) |range| {
        var file: Hanging = .{ .size = size };
        try std.testing.expectEqual(@as(isize, 0), zero(&file, 3, range[0], range[1]));
        for (file.bytes[0 .. 3 * page], 0..) |byte, index| {
            const inside = index >= range[0] and index < range[0] + range[1] and index < size;
            try std.testing.expectEqual(@as(u8, if (inside) 0 else 1), byte);
        }
        const end = @min(range[0] + range[1], size);
        const pages = (end / page) -| std.math.divCeil(u64, range[0], page) catch unreachable;
        try std.testing.expectEqual(pages * page, file.freed);
    }
}
