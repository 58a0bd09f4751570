//! Where a file has data: the parts that the systems share.

const abi = @import("../abi.zig");
const errnoOf = @import("errno.zig").errnoOf;
const negative = @import("errno.zig").negative;
const E = @import("std").posix.E;

pub const Sought = enum { data, hole };

/// Continues `answer` from its `next` up to `end`, as far as it has room. `seek` answers like
/// lseek(2) with SEEK_DATA or SEEK_HOLE: a position, ENXIO where there is none before the end of
/// the file, or another negative errno.
pub fn collect(
    comptime seek: fn (i32, u64, Sought) isize,
    fd: i32,
    end: u64,
    answer: *abi.DataRanges,
) isize {
    while (answer.next < end and answer.count < abi.data_ranges_max) {
        const data = seek(fd, answer.next, .data);
        const hole = if (data < 0 or data >= end) data else seek(fd, @intCast(data), .hole);
        // Also from a file that was shortened between the calls.
        if (hole == negative(.NXIO) or data >= end) {
            answer.next = end;
            return 0;
        }
        if (hole < 0) return hole;
        // An answer that contradicts itself is none.
        if (data < answer.next or hole <= data) return negative(.INVAL);
        append(answer, @intCast(data), @min(@as(u64, @intCast(hole)), end));
    }
    return 0;
}

/// Adds a range, which begins at `next` or later, and moves `next` to its end. The caller has seen
/// that there is room.
pub fn append(answer: *abi.DataRanges, start: u64, end: u64) void {
    const last = if (answer.count == 0) null else &answer.ranges[answer.count - 1];
    if (last != null and last.?.end == start) {
        last.?.end = end;
    } else {
        answer.ranges[answer.count] = .{ .start = start, .end = end };
        answer.count += 1;
    }
    answer.next = end;
}

/// `result`, unless the file system cannot tell where it has data (EBADR of FIEMAP_FLAG_SYNC: fiemap_prep()
/// in fs/ioctl.c): then all from `start` on is.
pub fn orAllData(result: isize, start: u64, end: u64, answer: *abi.DataRanges) isize {
    switch (errnoOf(result)) {
        .INVAL, .OPNOTSUPP, .NOTTY => {},
        else => |errno| if (!@hasField(E, "BADR") or errno != .BADR) return result,
    }
    answer.next = start;
    return allData(answer, end);
}

/// The answer where the system cannot tell: all the rest is data.
pub fn allData(answer: *abi.DataRanges, end: u64) isize {
    answer.count = 0;
    if (answer.next < end) append(answer, answer.next, end);
    return 0;
}

const expectEqual = @import("std").testing.expectEqual;

/// Answers of a file with data at 10 to 20 and from 40 to its end at 50.
fn seekExample(_: i32, from: u64, sought: Sought) isize {
    if (from >= 50) return negative(.NXIO);
    const position: isize = @intCast(from);
    const in_data = (from >= 10 and from < 20) or from >= 40;
    return switch (sought) {
        .data => if (in_data) position else if (from < 10) 10 else 40,
        .hole => if (!in_data) position else if (from < 20) 20 else 50,
    };
}

fn seekNowhere(_: i32, _: u64, _: Sought) isize {
    return 7;
}

fn seekCut(_: i32, from: u64, sought: Sought) isize {
    return if (sought == .data) @intCast(from) else negative(.NXIO);
}

test "ranges are cut to what was asked for" {
    var answer: abi.DataRanges = .{ .next = 15 };
    try expectEqual(@as(isize, 0), collect(seekExample, 0, 45, &answer));
    try expectEqual(@as(u64, 45), answer.next);
    try expectEqual(@as(u64, 2), answer.count);
    try expectEqual(abi.DataRange{ .start = 15, .end = 20 }, answer.ranges[0]);
    try expectEqual(abi.DataRange{ .start = 40, .end = 45 }, answer.ranges[1]);
}

test "behind the end, in a hole at the end, and in a file that was cut, there is nothing" {
    var answer: abi.DataRanges = .{ .next = 60 };
    try expectEqual(@as(isize, 0), collect(seekExample, 0, 90, &answer));
    try expectEqual(@as(u64, 90), answer.next);
    answer = .{ .next = 20 };
    try expectEqual(@as(isize, 0), collect(seekExample, 0, 30, &answer));
    answer.next = 0;
    try expectEqual(@as(isize, 0), collect(seekCut, 0, 30, &answer));
    try expectEqual(@as(u64, 30), answer.next);
    try expectEqual(@as(u64, 0), answer.count);
}

test "an answer that contradicts itself is none; then all is data" {
    var answer: abi.DataRanges = .{ .next = 5 };
    try expectEqual(negative(.INVAL), collect(seekNowhere, 0, 30, &answer));
    try expectEqual(@as(isize, 0), allData(&answer, 30));
    try expectEqual(@as(u64, 1), answer.count);
    try expectEqual(abi.DataRange{ .start = 5, .end = 30 }, answer.ranges[0]);
}
