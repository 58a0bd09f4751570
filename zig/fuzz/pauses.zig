//! The pauses after which the engine wants to be called again: only where no event of ours need come,
//! and the right ones. Also where operations wait.

const limits = @import("core").limits;
const Oracle = @import("oracle.zig").Oracle;
const fail = @import("report.zig").fail;

pub fn check(engine: anytype, oracle: *const Oracle) void {
    const control = engine.memory.control;
    if (engine.closing.count > 0) return expect(limits.retry_ms_idle, control.retry_ms);
    // A sync held behind a write that runs does not wait for room.
    if (engine.fifo.count + engine.pool_fifo.count > 0 and oracle.no_room) {
        const right: u32 = if (control.in_kernel == 0) limits.retry_ms_idle else limits.retry_ms_busy;
        return expect(right, control.retry_ms);
    }
    if (forRoom(engine, oracle)) |right| return expect(right, control.retry_ms);
    const scans = engine.kernel.unsent() or @TypeOf(engine.kernel).scan_ms > 0;
    if (control.retry_ms > 0 and !scans) fail("a pause though there was room", .{});
}

fn expect(right_ms: u32, retry_ms: u32) void {
    if (retry_ms != right_ms) fail("a pause of {d} ms instead of {d}", .{ retry_ms, right_ms });
}

fn forRoom(engine: anytype, oracle: *const Oracle) ?u32 {
    if (!oracle.shares_room or engine.fifo.count == 0) return null;
    const now_ns = oracle.tally.now_ns;
    if (oracle.room.isGone(now_ns)) fail("{d} operations wait for a place for ever", .{engine.fifo.count});
    return oracle.room.pauseMs(engine.kernel_count, now_ns);
}

/// Where operations wait that have not ended in this call.
pub fn noteRoutes(engine: anytype, oracle: *Oracle) void {
    if (!oracle.shares_room) return;
    for (engine.memory.operations) |*operation| {
        if (operation.phase != .queued or operation.place != .fifo) continue;
        const call = &oracle.calls[operation.slot];
        if (operation.route == .pool) oracle.noteRoute(call) else call.is_kernels = true;
    }
}
