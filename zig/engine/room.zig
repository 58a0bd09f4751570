//! What is known of the kernel's room for operations, where it is limited and shared with other
//! processes, and no event says that there is some again (`vfs.aio.max_aio_queue` of FreeBSD).
//!
//! A place of ours that becomes free is used at once. Otherwise one operation asks now and then.
//! A kernel that has no place at all for `wait_ms_max` is left alone: the pool does the work.

const std = @import("std");
const limits = @import("limits.zig");
const plant = @import("plant.zig");

const unlimited = std.math.maxInt(u32);
/// Without any place, operations wait this long for one.
pub const wait_ms_max = 100;
/// Pause between two questions while nothing of ours is in the kernel; it doubles from
/// `limits.retry_ms_idle`.
const pause_ms_max = 1024;

pub const Room = struct {
    /// Operations of ours that the kernel takes at a time, as far as known.
    places: u32 = unlimited,
    /// When it may be asked for one more.
    ask_ns: u64 = 0,
    /// Since when it has no place, with nothing of ours in it; or 0.
    none_since_ns: u64 = 0,
    pause_ms: u32 = 0,

    /// Operations that may be submitted while the kernel has `running`.
    pub fn free(room: *const Room, running: u32, now_ns: u64) u32 {
        if (room.places == unlimited or plant.is(.room_ask_at_once)) return unlimited;
        if (running < room.places) return room.places - running;
        return @intFromBool(now_ns >= room.ask_ns);
    }

    /// Some of a run were accepted, or refused for another reason, which comes after the check for
    /// room (lio_listio, vfs_aio.c): `running` are in the kernel now.
    pub fn accepted(room: *Room, running: u32) void {
        room.none_since_ns = 0;
        room.pause_ms = 0;
        if (running > room.places) room.places = unlimited;
    }

    /// Some of a run were refused for lack of room.
    pub fn refused(room: *Room, running: u32, now_ns: u64) void {
        room.places = running;
        if (running > 0) {
            room.pause_ms = 0;
            room.ask_ns = now_ns + limits.retry_ms_busy * std.time.ns_per_ms;
            return;
        }
        if (room.none_since_ns == 0) room.none_since_ns = now_ns;
        room.pause_ms = if (room.pause_ms == 0) limits.retry_ms_idle else @min(room.pause_ms * 2, pause_ms_max);
        room.ask_ns = now_ns + @as(u64, room.pause_ms) * std.time.ns_per_ms;
    }

    /// Whether operations no longer wait for a place.
    pub fn isGone(room: *const Room, now_ns: u64) bool {
        if (room.none_since_ns == 0 or plant.is(.room_wait_for_ever)) return false;
        return now_ns >= room.goneNs();
    }

    /// Milliseconds until an operation that waits for a place is asked for again, or handed over.
    pub fn waitMs(room: *const Room, now_ns: u64) u32 {
        const until_ns = if (room.none_since_ns == 0) room.ask_ns else @min(room.ask_ns, room.goneNs());
        return @intCast(@max(1, std.math.divCeil(u64, until_ns -| now_ns, std.time.ns_per_ms) catch unreachable));
    }

    fn goneNs(room: *const Room) u64 {
        return room.none_since_ns + wait_ms_max * std.time.ns_per_ms;
    }
};

test "a place that becomes free is used at once, one more is asked for after a pause" {
    const expectEqual = std.testing.expectEqual;
    const ms = std.time.ns_per_ms;
    var room: Room = .{};
    try expectEqual(@as(u32, unlimited), room.free(8, 0));
    room.refused(8, 100 * ms);
    try expectEqual(@as(u32, 0), room.free(8, 100 * ms));
    try expectEqual(@as(u32, limits.retry_ms_busy), room.waitMs(100 * ms));
    try expectEqual(@as(u32, 3), room.free(5, 100 * ms));
    room.accepted(8);
    try expectEqual(@as(u32, 0), room.free(8, 100 * ms));
    try expectEqual(@as(u32, 1), room.free(8, 120 * ms));
    room.accepted(9);
    try expectEqual(@as(u32, unlimited), room.free(9, 120 * ms));
}

test "without any place the pauses double, and after a while nobody waits" {
    const expectEqual = std.testing.expectEqual;
    const ms = std.time.ns_per_ms;
    var room: Room = .{};
    var now_ns: u64 = 5 * ms;
    var questions: u32 = 0;
    while (!room.isGone(now_ns)) {
        if (room.free(0, now_ns) > 0) {
            questions += 1;
            room.refused(0, now_ns);
        }
        now_ns += room.waitMs(now_ns) * ms;
    }
    try expectEqual(@as(u64, (5 + wait_ms_max) * ms), now_ns);
    try expectEqual(@as(u32, 7), questions);
    room.accepted(1);
    try std.testing.expect(!room.isGone(now_ns));
}
