//! Where a file has data: the parts that the systems share.

const abi = @import("../abi.zig");
const negative = @import("errno.zig").negative;

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

/// The answer where the system cannot tell: all the rest is data.
pub fn allData(answer: *abi.DataRanges, end: u64) isize {
    answer.count = 0;
    if (answer.next < end) append(answer, answer.next, end);
    return 0;
}
