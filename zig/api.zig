//! The functions that JavaScript calls, exported by `root.zig` with the prefix `ba_`. They check
//! their arguments and call the ring: a mistake of the caller is a status, never undefined
//! behaviour. Only u32, i32, f64 and pointers are passed by value.
//!
//! A ring must be used on the thread that opened it. The two `release` functions are deallocators
//! of array buffers: they may run on any thread.

const std = @import("std");
const abi = @import("abi.zig");
const Ring = @import("ring.zig").Ring;
const Slab = @import("engine/slab.zig").Slab;
const engine_file = @import("engine/engine.zig");
const os = @import("os/os.zig");
const hash = @import("gen_abi.zig").hash;

/// Returned instead of a count for wrong arguments.
pub const invalid: i32 = -1;

/// Half of the hash over the interface; compared before anything else is called.
pub fn abi_hash_low() callconv(.c) u32 {
    return @truncate(hash);
}

pub fn abi_hash_high() callconv(.c) u32 {
    return @truncate(hash >> 32);
}

/// Milliseconds of a monotonic clock that no test can set (JavaScript's clocks can be).
pub fn now_ms() callconv(.c) f64 {
    return @as(f64, @floatFromInt(os.monotonicNs())) / std.time.ns_per_ms;
}

/// Returns the offset of an inherited descriptor, or a negative errno. If `offset` is not
/// negative, moves it there first.
pub fn seek(fd: i32, offset: f64) callconv(.c) f64 {
    if (!(offset >= -1) or offset >= 0x1p63) return invalid_position;
    const wanted: ?i64 = if (offset < 0) null else @intFromFloat(offset);
    return @floatFromInt(os.calls.seek(fd, wanted));
}

const invalid_position: f64 = -@as(f64, @floatFromInt(@intFromEnum(os.E.INVAL)));

/// Returns a socket that tells of devices that come, go and change, one message in each datagram,
/// or a negative errno. It belongs to the caller, and does not block.
pub fn watch_devices() callconv(.c) i32 {
    if (!@hasDecl(os.native, "watchDevices")) return -@as(i32, @intFromEnum(os.E.OPNOTSUPP));
    return @intCast(os.native.watchDevices());
}

/// Opens a ring. Returns 0, or a positive errno; `info` says which backend was refused in either
/// case.
pub fn ring_open(options: ?*const abi.RingOptions, info: ?*abi.RingInfo) callconv(.c) i32 {
    if (options == null or info == null) return invalid;
    if (Ring.open(options.?.*, info.?)) |_| {
        info.?.release = @floatFromInt(@intFromPtr(&ring_release));
        return 0;
    }
    return info.?.refused_errno;
}

/// Takes `count` rows of the submission table; returns the number of rows in the completion
/// table. With `will_poll` the wake descriptor does not ring: `poll` must be called soon.
pub fn flush(ring: ?*Ring, count: u32, will_poll: u32) callconv(.c) i32 {
    const r = opened(ring) orelse return invalid;
    if (count > r.call(.operationsFree, .{})) return invalid;
    return @intCast(r.call(.flush, .{ count, nextOf(will_poll) }));
}

/// Call it when the wake descriptor rings. Returns the number of rows in the completion table.
pub fn drain(ring: ?*Ring, will_poll: u32) callconv(.c) i32 {
    const r = opened(ring) orelse return invalid;
    return @intCast(r.call(.drain, .{nextOf(will_poll)}));
}

/// The call announced by `will_poll`; otherwise like `drain`.
pub fn poll(ring: ?*Ring, will_poll: u32) callconv(.c) i32 {
    const r = opened(ring) orelse return invalid;
    return @intCast(r.call(.poll, .{nextOf(will_poll)}));
}

/// A ring that calls may use.
fn opened(ring: ?*Ring) ?*Ring {
    const r = ring orelse return null;
    return if (r.closed) null else r;
}

fn nextOf(will_poll: u32) engine_file.Next {
    return if (will_poll != 0) .poll else .sleep;
}

/// Makes a read of data in the page cache at once, past queue and tables, while the ring holds no
/// operation. Returns the bytes read; 0 if the read must be submitted. `memory` is used during the
/// call only.
pub fn read_at_once(ring: ?*Ring, file: u32, fd: i32, memory: ?*anyopaque, bytes: u32, offset: f64) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (r.closed or memory == null or file >= abi.files_max) return 0;
    if (!(offset >= 0) or offset >= 0x1p62) return 0;
    const read: engine_file.ReadAtOnce = .{
        .file = file,
        .fd = fd,
        .address = @intFromPtr(memory),
        .length = bytes,
        .offset = @intFromFloat(offset),
    };
    return @intCast(r.call(.readAtOnce, .{read}));
}

/// Returns 1 if the operation was found: its completion comes with a later flush or drain.
pub fn cancel(ring: ?*Ring, slot: u32, generation: u32) callconv(.c) i32 {
    const r = opened(ring) orelse return invalid;
    return @intFromBool(r.call(.cancel, .{ slot, generation }));
}

/// Writes at most `count_max` changed ranges of an overlay device that end after `from`, as pairs
/// of offset and length; returns how many.
pub fn device_changes(ring: ?*Ring, from: f64, out: ?[*][2]f64, count_max: u32) callconv(.c) i32 {
    const r = opened(ring) orelse return invalid;
    if (out == null or count_max > std.math.maxInt(i32)) return invalid;
    if (!(from >= 0) or from >= 0x1p63) return invalid;
    return @intCast(r.deviceChanges(@intFromFloat(from), out.?[0..count_max]));
}

/// Ends the hangs of the first `added` rules that were or will be added at this place of a simulated
/// device. At once, and not as a command: the requests that hang may take all room that there is.
pub fn device_lift(ring: ?*Ring, place: u32, added: u32) callconv(.c) i32 {
    const r = opened(ring) orelse return invalid;
    if (place >= abi.fault_rules_max) return invalid;
    r.deviceLift(place, added);
    return 0;
}

/// Makes the ring leave the descriptor of this file open at teardown. Works on a closed ring,
/// too.
pub fn file_forget(ring: ?*Ring, file: u32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (file >= abi.files_max) return invalid;
    r.forget(file);
    return 0;
}

/// Opens the current directory, for paths to be resolved against, as the descriptor of a file that is
/// used for nothing else. The ring closes it at teardown, at the latest. Returns it, or a negative
/// errno. In one call: a thread may be terminated between two.
pub fn directory_open(ring: ?*Ring, file: u32) callconv(.c) i32 {
    const r = opened(ring) orelse return -@as(i32, @intFromEnum(os.E.BADF));
    if (file >= abi.files_max) return -@as(i32, @intFromEnum(os.E.BADF));
    const result = os.native.openCurrent();
    if (result >= 0) r.call(.own, .{ file, @as(i32, @intCast(result)) });
    return @intCast(result);
}

/// Closes that descriptor. Works on a closed ring, too.
pub fn directory_close(ring: ?*Ring, file: u32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    if (file >= abi.files_max) return invalid;
    r.disown(file);
    return 0;
}

/// Frees everything but the memory that JavaScript sees. Returns 0, or the number of operations
/// still running.
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

/// Maps `size` zeroed bytes. `huge_pages` is for memory used from end to end: touching a byte may
/// then cost 2 MiB. Returns 0, or a positive errno.
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

/// Lets the ring register the memory of a slab with its kernel, in chunks of `chunk_bytes`, at
/// first use. The memory lives at least until `slab_unregister` or the end of the ring. Returns
/// 1, or 0 where it is impossible.
pub fn slab_register(ring: ?*Ring, slab: ?*anyopaque, chunk_bytes: u32) callconv(.c) i32 {
    const r = ring orelse return invalid;
    const s = Slab.fromAddress(@intFromPtr(slab)) orelse return invalid;
    if (r.closed) return 0;
    return @intFromBool(r.registerSlab(s, chunk_bytes));
}

/// Undoes `slab_register`; does nothing for other slabs.
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
