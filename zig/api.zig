//! The functions JavaScript calls, exported by `root.zig` under the prefix `ba_`. They check what
//! JavaScript gave and call the ring: a mistake over there is a status here, never undefined
//! behaviour. Only u32, i32, f64 and pointers cross by value.
//!
//! A ring is used on the thread that opened it. The two `release` functions are deallocators of
//! array buffers: they may run on any thread.

const std = @import("std");
const abi = @import("abi.zig");
const Ring = @import("ring.zig").Ring;
const Slab = @import("engine/slab.zig").Slab;
const engine_file = @import("engine/engine.zig");
const os = @import("os/os.zig");
const hash = @import("gen_abi.zig").hash;

/// Result of calls that return a count: the arguments were wrong.
pub const invalid: i32 = -1;

/// Half of the hash over every declaration that crosses; compared before anything else is called.
pub fn abi_hash_low() callconv(.c) u32 {
    return @truncate(hash);
}

pub fn abi_hash_high() callconv(.c) u32 {
    return @truncate(hash >> 32);
}

/// Milliseconds of a clock that only goes forward, and that no test can set (JavaScript's clocks can be).
pub fn now_ms() callconv(.c) f64 {
    return @as(f64, @floatFromInt(os.monotonicNs())) / std.time.ns_per_ms;
}

/// Where a descriptor stands, or a negative errno; of a descriptor that this process was started with. One that is
/// not negative moves it there first.
pub fn seek(fd: i32, offset: f64) callconv(.c) f64 {
    if (!(offset >= -1) or offset >= 0x1p63) return invalid_position;
    const wanted: ?i64 = if (offset < 0) null else @intFromFloat(offset);
    return @floatFromInt(os.native.seek(fd, wanted));
}

const invalid_position: f64 = -@as(f64, @floatFromInt(@intFromEnum(os.E.INVAL)));

/// Opens a ring. 0, or a positive errno; `info` says what was refused either way.
pub fn ring_open(options: ?*const abi.RingOptions, info: ?*abi.RingInfo) callconv(.c) i32 {
    if (options == null or info == null) return invalid;
    if (Ring.open(options.?.*, info.?)) |_| {
        info.?.release = @floatFromInt(@intFromPtr(&ring_release));
        return 0;
    }
    return info.?.refused_errno;
}

/// Takes `count` rows of the submission table; returns how many completions are in theirs. With
/// `will_poll` nothing rings: `poll` has to be called soon.
pub fn flush(ring: ?*Ring, count: u32, will_poll: u32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (r.closed or count > r.room()) return invalid;
    return @intCast(r.flush(count, nextOf(will_poll)));
}

/// To be called when the wake descriptor rang. Returns how many completions are in the table.
pub fn drain(ring: ?*Ring, will_poll: u32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (r.closed) return invalid;
    return @intCast(r.drain(nextOf(will_poll)));
}

/// The call that was promised with `will_poll`; otherwise as `drain`.
pub fn poll(ring: ?*Ring, will_poll: u32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (r.closed) return invalid;
    return @intCast(r.poll(nextOf(will_poll)));
}

fn nextOf(will_poll: u32) engine_file.Next {
    return if (will_poll != 0) .poll else .sleep;
}

/// 1 when the operation was found: its completion comes with a later flush or drain.
pub fn cancel(ring: ?*Ring, slot: u32, generation: u32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (r.closed) return invalid;
    return @intFromBool(r.cancel(slot, generation));
}

/// Writes at most `count_max` changed ranges of an overlay device that end behind `from` as pairs of
/// offset and length; returns how many.
pub fn device_changes(ring: ?*Ring, from: f64, out: ?[*][2]f64, count_max: u32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (r.closed or out == null or count_max > std.math.maxInt(i32)) return invalid;
    if (!(from >= 0) or from >= 0x1p63) return invalid;
    return @intCast(r.deviceChanges(@intFromFloat(from), out.?[0..count_max]));
}

/// The ring must not close this file's descriptor when it is torn down. Also on a closed ring.
pub fn file_forget(ring: ?*Ring, file: u32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (file >= abi.files_max) return invalid;
    r.forget(file);
    return 0;
}

/// The ring closes this descriptor when it is torn down, unless the file is forgotten before. For a directory that
/// paths begin at; nothing else of the file is used.
pub fn file_own(ring: ?*Ring, file: u32, fd: i32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (r.closed or file >= abi.files_max or fd < 0) return invalid;
    r.own(file, fd);
    return 0;
}

/// Frees everything but the memory JavaScript still sees. 0, or the operations still running.
pub fn ring_close(ring: ?*Ring) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (r.closed) return 0;
    const running = r.operationCount();
    if (running > 0) return @intCast(running);
    r.close();
    return 0;
}

/// Deallocator of a ring's shared memory.
pub fn ring_release(_: ?*anyopaque, ring: ?*anyopaque) callconv(.c) void {
    const r: *Ring = @ptrCast(@alignCast(ring orelse return));
    r.finalize();
}

/// Maps `size` zeroed bytes; with `huge_pages` for use from end to end, where a touch may cost 2 MiB. 0, or a positive errno.
pub fn slab_create(size: f64, alignment: u32, huge_pages: u32, info: ?*abi.SlabInfo) callconv(.c) i32 {
    const out = info orelse return invalid;
    if (!(size >= 1) or size > 0x1p46 or @floor(size) != size) return invalid;
    if (alignment == 0 or !std.math.isPowerOfTwo(alignment)) return invalid;
    const made = Slab.create(@intFromFloat(size), alignment, huge_pages != 0) orelse
        return @intFromEnum(std.posix.E.NOMEM);
    out.* = .{
        .header = @floatFromInt(@intFromPtr(made.slab)),
        .address = @floatFromInt(made.address),
        .release = @floatFromInt(@intFromPtr(&slab_release)),
    };
    return 0;
}

/// Lets the ring register the memory of a slab with its kernel, by chunks of `chunk_bytes` as they are
/// first used. The memory then lives at least until `slab_unregister` or the ring's end. 1 when it will, 0 where
/// that cannot be.
pub fn slab_register(ring: ?*Ring, slab: ?*anyopaque, chunk_bytes: u32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    const s = Slab.fromAddress(@intFromPtr(slab)) orelse return invalid;
    if (r.closed) return 0;
    return @intFromBool(r.registerSlab(s, chunk_bytes));
}

/// Undoes `slab_register`; of any other slab it is nothing.
pub fn slab_unregister(ring: ?*Ring, slab: ?*anyopaque) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (!r.closed) r.unregisterSlab(@intFromPtr(slab));
    return 0;
}

/// Deallocator of a slab's memory.
pub fn slab_release(_: ?*anyopaque, slab: ?*anyopaque) callconv(.c) void {
    const s: *Slab = @ptrCast(@alignCast(slab orelse return));
    s.release();
}
