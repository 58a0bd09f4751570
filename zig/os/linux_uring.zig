//! The system calls of io_uring(7), and nothing else: lanes/io_uring.zig uses them.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const abi = @import("../abi.zig");
const negative = @import("errno.zig").negative;
const signed = @import("errno.zig").signed;
const Refusal = @import("refusal.zig").Refusal;

pub const Ring = linux.IoUring;

/// A ring, or the errno and the step that refused it.
pub const Setup = union(enum) {
    ring: struct { ring: Ring, cq_flags: *u32 },
    refused: Refusal,
};

pub fn setup(entries: u16, flags: u32) Setup {
    var params = std.mem.zeroInit(linux.io_uring_params, .{ .flags = flags });
    const result = linux.io_uring_setup(entries, &params);
    switch (linux.errno(result)) {
        .SUCCESS => {},
        else => |errno| return .{ .refused = .of(errno, .setup) },
    }
    const fd: i32 = @intCast(result);
    // Both arrived before READ and WRITE (5.6), the oldest operations we use.
    if (params.features & linux.IORING_FEAT_SINGLE_MMAP == 0 or
        params.features & linux.IORING_FEAT_NODROP == 0)
    {
        _ = linux.close(fd);
        return .{ .refused = .of(.NOSYS, .setup) };
    }
    var sq = Ring.SubmissionQueue.init(fd, params) catch return mmapRefused(fd);
    const cq = Ring.CompletionQueue.init(fd, params, sq) catch {
        sq.deinit();
        return mmapRefused(fd);
    };
    return .{ .ring = .{
        .ring = .{ .fd = fd, .sq = sq, .cq = cq, .flags = params.flags, .features = params.features },
        .cq_flags = @ptrCast(@alignCast(&sq.mmap[params.cq_off.flags])),
    } };
}

fn mmapRefused(fd: i32) Setup {
    _ = linux.close(fd);
    return .{ .refused = .of(.NOMEM, .mmap) };
}

/// `registered` is what `registerSelf` gave.
pub fn enter(ring: *Ring, registered: ?u31, to_submit: u32, flags: u32) isize {
    const index = registered orelse return signed(linux.io_uring_enter(ring.fd, to_submit, 0, flags, null));
    return signed(linux.io_uring_enter(index, to_submit, 0, flags | linux.IORING_ENTER_REGISTERED_RING, null));
}

/// Makes the ring known to this thread by an index, which spares each enter the look-up of its
/// descriptor (IORING_REGISTER_RING_FDS, Linux 5.18; 16 for each thread). Holds the ring until
/// `unregisterSelf` or the end of the thread. Null where there is no such thing or no place.
pub fn registerSelf(ring: *Ring) ?u31 {
    var request: linux.io_uring_rsrc_update = .{
        .offset = std.math.maxInt(u32),
        .resv = 0,
        .data = @intCast(ring.fd),
    };
    const result = signed(linux.io_uring_register(ring.fd, .REGISTER_RING_FDS, &request, 1));
    return if (result == 1) @intCast(request.offset) else null;
}

/// On the thread that registered it. A sandbox may forbid it by now: then the thread's end does it.
pub fn unregisterSelf(ring: *Ring, registered: u31) void {
    var request: linux.io_uring_rsrc_update = .{ .offset = registered, .resv = 0, .data = 0 };
    _ = linux.io_uring_register(ring.fd, .UNREGISTER_RING_FDS, &request, 1);
}

pub fn registerEventfd(ring: *Ring, fd: i32) isize {
    return signed(linux.io_uring_register(ring.fd, .REGISTER_EVENTFD, &fd, 1));
}

/// Which of `opcodes` this kernel has (IORING_REGISTER_PROBE, Linux 5.6).
pub fn supports(ring: *Ring, opcodes: []const linux.IORING_OP) isize {
    var probe = std.mem.zeroes(linux.io_uring_probe);
    const result = signed(linux.io_uring_register(ring.fd, .REGISTER_PROBE, &probe, probe.ops.len));
    if (result < 0) return result;
    for (opcodes) |opcode| {
        if (!probe.is_supported(opcode)) return negative(.OPNOTSUPP);
    }
    return 0;
}

/// Cancels whatever the ring holds and waits for it at most `timeout_ms` (Linux 6.0).
pub fn cancelAll(ring: *Ring, timeout_ms: u32) isize {
    // linux/io_uring.h: IORING_ASYNC_CANCEL_ALL 1, IORING_ASYNC_CANCEL_ANY 4.
    var request = std.mem.zeroes(linux.io_uring_sync_cancel_reg);
    request.fd = -1;
    request.flags = 1 | 4;
    request.timeout = .{ .sec = timeout_ms / 1000, .nsec = @as(i64, timeout_ms % 1000) * std.time.ns_per_ms };
    return signed(linux.io_uring_register(ring.fd, .REGISTER_SYNC_CANCEL, &request, 1));
}

pub const Workers = @import("linux_workers.zig").Workers;

pub fn close(ring: *Ring) void {
    ring.deinit();
}

/// linux/io_uring.h, Linux 6.14; std lacks it.
const IORING_FEAT_RW_ATTR = 1 << 16;

/// A table of `count` empty file slots (IORING_REGISTER_FILES2, Linux 5.19): a request on a slot
/// spares the kernel two atomic operations on the file's reference count.
///
/// Refused before Linux 6.14: until 6.12 an emptied slot goes on holding its file until every request
/// that was made before has ended, whatever its file (io_rsrc_node_ref_zero() in io_uring/rsrc.c),
/// until 6.3 for a second more. A closed device would be busy that long. In 6.13 each slot has a count
/// of its own, which no feature tells.
pub fn registerFiles(ring: *Ring, count: u32) isize {
    if (ring.features & IORING_FEAT_RW_ATTR == 0) return negative(.OPNOTSUPP);
    return registerSparse(ring, .REGISTER_FILES2, count);
}

/// Puts `fd` into a slot, or with -1 empties it. The table holds the file open. When the slot is empty and
/// no request needs the file any more, a completion with `tag` says so (io_uring_register(2)).
pub fn updateFile(ring: *Ring, slot: u32, fd: i32, tag: u64) isize {
    const tags = [1]u64{if (fd < 0) 0 else tag};
    return update(ring, .REGISTER_FILES_UPDATE2, slot, &fd, &tags);
}

/// A table of `count` empty places for memory (IORING_REGISTER_BUFFERS2, sparse since Linux 5.19).
///
/// Refused before Linux 6.4: an emptied place keeps its pages for a second more there, so that
/// programs which use one pool after the other reach RLIMIT_MEMLOCK.
pub fn registerBuffers(ring: *Ring, count: u32) isize {
    if (!isSince(.{ .major = 6, .minor = 4, .patch = 0 })) return negative(.OPNOTSUPP);
    return registerSparse(ring, .REGISTER_BUFFERS2, count);
}

/// Whether uname(2) names this version or a later one. Distributions append to its numbers.
fn isSince(wanted: std.SemanticVersion) bool {
    var name: linux.utsname = undefined;
    if (linux.errno(linux.uname(&name)) != .SUCCESS) return false;
    const release = std.mem.sliceTo(&name.release, 0);
    const numbers = std.mem.indexOfNone(u8, release, "0123456789.") orelse release.len;
    var parts = std.mem.splitScalar(u8, release[0..numbers], '.');
    const major = std.fmt.parseInt(usize, parts.next() orelse "", 10) catch return false;
    const minor = std.fmt.parseInt(usize, parts.next() orelse "", 10) catch return false;
    return (std.SemanticVersion{ .major = major, .minor = minor, .patch = 0 }).order(wanted) != .lt;
}

fn registerSparse(ring: *Ring, opcode: linux.IORING_REGISTER, count: u32) isize {
    var request: linux.io_uring_rsrc_register = .{
        .nr = count,
        .flags = linux.IORING_RSRC_REGISTER_SPARSE,
        .resv2 = 0,
        .data = 0,
        .tags = 0,
    };
    return signed(linux.io_uring_register(ring.fd, opcode, &request, @sizeOf(@TypeOf(request))));
}

/// Pins the pages of `memory` at a place of that table.
pub fn updateBuffer(ring: *Ring, place: u32, memory: []u8) isize {
    const vector: std.posix.iovec = .{ .base = memory.ptr, .len = memory.len };
    return update(ring, .REGISTER_BUFFERS_UPDATE, place, &vector, &.{0});
}

const clear_max = abi.registered_chunks_max;

/// Empties `count` places. Requests that are on their way keep the pages until they end.
pub fn clearBuffers(ring: *Ring, place: u32, count: u32) isize {
    assert(count <= clear_max);
    // Of an empty place the address has to be null, too.
    const empty: [clear_max][2]usize = @splat(.{ 0, 0 });
    const tags: [clear_max]u64 = @splat(0);
    return update(ring, .REGISTER_BUFFERS_UPDATE, place, &empty, tags[0..count]);
}

/// Replaces places of a table, one for each tag, by what `data` has for them.
fn update(
    ring: *Ring,
    opcode: linux.IORING_REGISTER,
    place: u32,
    data: *const anyopaque,
    tags: []const u64,
) isize {
    var request: linux.io_uring_rsrc_update2 = .{
        .offset = place,
        .resv = 0,
        .data = @intFromPtr(data),
        .tags = @intFromPtr(tags.ptr),
        .nr = @intCast(tags.len),
        .resv2 = 0,
    };
    return signed(linux.io_uring_register(ring.fd, opcode, &request, @sizeOf(@TypeOf(request))));
}
