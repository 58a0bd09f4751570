//! The oracle's rules for a kernel whose room other processes share (`engine/room.zig`): a place of
//! ours that becomes free is used, else one operation asks after a pause, and without any place
//! nobody waits for long.

const std = @import("std");
const limits = @import("core").limits;
const room = @import("core").room;
const fail = @import("report.zig").fail;

pub const RoomModel = struct {
    /// Operations of ours that the kernel took at most as it last refused one, or null.
    places: ?u32 = null,
    ask_again_ns: u64 = 0,
    /// Since when it has refused all, with nothing of ours in it; or 0.
    none_since_ns: u64 = 0,
    refusals: u5 = 0,

    /// `count` operations are about to ask, beside `running`.
    pub fn asked(model: *const RoomModel, count: u32, running: u32, now_ns: u64) void {
        const places = model.places orelse return;
        if (running < places) {
            if (count > places - running) fail("{d} ask for {d} places", .{ count, places - running });
            return;
        }
        if (now_ns < model.ask_again_ns) fail("asks for room {d} us early", .{(model.ask_again_ns - now_ns) / 1000});
        if (count > 1) fail("{d} ask for a place", .{count});
    }

    /// A kernel that refuses for another reason has looked for room before.
    pub fn answered(model: *RoomModel, taken: u32, refused: u32, running: u32, now_ns: u64) void {
        if (taken > 0) {
            model.none_since_ns = 0;
            model.refusals = 0;
            if (running > model.places orelse 0) model.places = null;
        }
        if (refused == 0) return;
        model.places = running;
        var pause_ms: u64 = limits.retry_ms_busy;
        if (running > 0) {
            model.refusals = 0;
        } else {
            if (model.none_since_ns == 0) model.none_since_ns = now_ns;
            pause_ms = @as(u64, limits.retry_ms_idle) << model.refusals;
            // About a second at most.
            model.refusals = @min(model.refusals + 1, 10);
        }
        model.ask_again_ns = now_ns + pause_ms * std.time.ns_per_ms;
    }

    /// Whether operations must be with the pool by now.
    pub fn isGone(model: *const RoomModel, now_ns: u64) bool {
        return model.none_since_ns > 0 and now_ns >= model.goneNs();
    }

    /// The pause to ask for where operations wait for a place; or null.
    pub fn pauseMs(model: *const RoomModel, running: u32, now_ns: u64) ?u32 {
        const places = model.places orelse return null;
        if (running < places or now_ns >= model.ask_again_ns) return null;
        const until_ns = if (model.none_since_ns == 0) model.ask_again_ns else @min(model.ask_again_ns, model.goneNs());
        return @intCast(std.math.divCeil(u64, until_ns - now_ns, std.time.ns_per_ms) catch unreachable);
    }

    fn goneNs(model: *const RoomModel) u64 {
        return model.none_since_ns + room.wait_ms_max * std.time.ns_per_ms;
    }
};
