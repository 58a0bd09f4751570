//! One case of `aio_cases.zig`, and its `Context`: a system, and what the machine offers:
//!   Os, Pool                         types; Pool is `thread_pool.Pool(Os)`, or one that runs jobs inline
//!   kernel_rules: bool               FreeBSD's semantics without accidents, not libc's
//!   faults: bool                     accidents are injected: counts of calls mean nothing
//!   pause(wake: Os.Wake, ms: u32)    lets time pass, at most until the wake descriptor is readable,
//!                                    and empties it
//!   openFile(name, size) !i32        a new file of `size` zero bytes, open for both
//!   openReadOnly(name) !i32          the same file again
//!   openAppending(name) !?i32        a new file, open with O_APPEND, or null
//!   openNull() !?i32                 /dev/null, or null
//!   openPipe() !?[2]i32              a pipe
//!   openSilent() !?[2]i32            [0]: a descriptor AIO takes and whose reads never end
//!   disk() !?i32                     a raw disk that may be overwritten, at least 4 MiB
//!   limit(which: Limit, value: ?u32) ?u32   sets one, or reads it; null: not to be had here
//!   count: u64, seed: u64            of the random case
//!   fail(text, expected, actual) error{Failed}, skip(text) error{Skipped}, equal(text, e, a) !void

const Iovec = @import("core").iovec.Iovec;

pub const Limit = enum {
    /// `vfs.aio.max_aio_queue_per_proc`.
    process,
    /// `vfs.aio.max_aio_queue`.
    system,
};

pub const Error = error{ Failed, Skipped, OutOfMemory };

pub fn Case(comptime Context: type) type {
    return struct { name: []const u8, run: *const fn (*Context) Error!void };
}

pub fn closeBoth(comptime Os: type, pair: [2]i32) void {
    _ = Os.close(pair[0]);
    if (pair[1] >= 0) _ = Os.close(pair[1]);
}

pub fn at(buffer: []const u8) u64 {
    return @intFromPtr(buffer.ptr);
}

/// Behind the iovecs lie as many slab headers: none.
pub fn setVector(iovecs: []Iovec, buffers: []const []const u8) void {
    for (iovecs, buffers) |*iovec, buffer| iovec.* = .{ .base = @intFromPtr(buffer.ptr), .len = buffer.len };
    const behind: [*]u64 = @ptrCast(iovecs.ptr + iovecs.len);
    @memset(behind[0..iovecs.len], 0);
}

pub fn writeAll(rig: anytype, fd: i32, text: []const u8) Error!void {
    const slot = try rig.one(.{ .kind = .write, .fd = fd, .address = at(text), .length = text.len });
    try rig.expect(slot, text.len);
}

pub fn sameBytes(context: anytype, expected: []const u8, actual: []const u8) Error!void {
    for (expected, actual, 0..) |e, a, index| {
        if (e != a) return context.fail("first wrong byte at", 0, @intCast(index));
    }
}
