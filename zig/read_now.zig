//! Reads of what needs no device, on the JavaScript thread: a copy out of the page cache is done in 2 us, less than
//! it takes to hand the read over to anybody. For lanes that ask in a dearer way.
//!
//! A miss is not free: the kernel starts read-ahead, and a file system may have to read where the data lies (ext4: 0.2
//! to 0.9 ms of a cold fragmented file). So one is the end of it for a call.

const std = @import("std");
const abi = @import("abi.zig");
const Iovec = @import("operation.zig").Iovec;
const Operation = @import("operation.zig").Operation;
const E = std.posix.E;

/// What one of them copies at most: some 10 us.
pub const bytes_max = 64 * 1024;
/// All of one call together, where threads could do the rest: some 200 us.
pub const call_bytes_max = 1024 * 1024;

/// How a file's pages are read without waiting. Each is tried until the file refuses it.
pub const Way = enum(u8) {
    /// In one call that does not wait.
    nowait,
    /// The system is asked first whether they are in memory (tmpfs). They may have left when they are read: then
    /// the read waits for the swap.
    look_first,
    none,

    pub fn next(way: Way) Way {
        return switch (way) {
            .nowait => .look_first,
            .look_first, .none => .none,
        };
    }
};

/// Misses in a row after which nobody looks any more: a file system without pages of its own (overlayfs) has none.
pub const looks_in_vain_max = 16;

pub const Outcome = union(enum) {
    /// Bytes, or a negative errno.
    ended: isize,
    /// It is not in memory, or ends there: the lane has to do it.
    missed,
    /// The kernel, the file system or a sandbox does not have this way: never go it again with this file.
    refused,
};

/// `system` is an `os/` file, or a pointer to a simulated kernel. Counts its calls in `calls`.
pub fn readNow(system: anytype, operation: *const Operation, way: Way, calls: *u64) Outcome {
    const System = if (@TypeOf(system) == type) system else @TypeOf(system.*);
    const piece = operation.piece;
    const plain = [1]Iovec{.{ .base = piece.address, .len = piece.bytes }};
    const iovecs = if (piece.iovec_count == 0) &plain else iovecs: {
        const pointer: [*]const Iovec = @ptrFromInt(piece.address);
        break :iovecs pointer[0..piece.iovec_count];
    };
    switch (way) {
        .nowait => {
            if (!@hasDecl(System, "readNow")) return .refused;
            calls.* += 1;
            return outcomeOf(system.readNow(operation.fd, iovecs, piece.offset));
        },
        .look_first => {
            if (!@hasDecl(System, "isCached")) return .refused;
            calls.* += 1;
            switch (system.isCached(operation.fd, piece.offset, piece.bytes)) {
                1 => {},
                0 => return .missed,
                else => return .refused,
            }
            calls.* += 1;
            return outcomeOf(system.preadv(operation.fd, iovecs, piece.offset));
        },
        .none => return .refused,
    }
}

fn outcomeOf(result: isize) Outcome {
    if (result > 0) return .{ .ended = result };
    // Of the end of the file the lane is the better witness.
    if (result == 0) return .missed;
    return switch (@as(E, @enumFromInt(@as(u16, @intCast(-result))))) {
        .AGAIN, .INTR => .missed,
        .OPNOTSUPP, .NOSYS, .INVAL, .PERM, .ACCES => .refused,
        else => .{ .ended = result },
    };
}
