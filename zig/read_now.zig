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

pub const Outcome = union(enum) {
    /// Bytes, or a negative errno.
    ended: isize,
    /// It is not in memory, or ends there: the lane has to do it.
    missed,
    /// The kernel, the file system (tmpfs, overlayfs) or a sandbox does not have it: never ask again for this file.
    refused,
};

/// `system` is an `os/` file, or a pointer to a simulated kernel; one without `readNow` cannot.
pub fn readNow(system: anytype, operation: *const Operation) Outcome {
    const System = if (@TypeOf(system) == type) system else @TypeOf(system.*);
    if (!@hasDecl(System, "readNow")) return .refused;
    const piece = operation.piece;
    const plain = [1]Iovec{.{ .base = piece.address, .len = piece.bytes }};
    const iovecs = if (piece.iovec_count == 0) &plain else iovecs: {
        const pointer: [*]const Iovec = @ptrFromInt(piece.address);
        break :iovecs pointer[0..piece.iovec_count];
    };
    const result = system.readNow(operation.fd, iovecs, piece.offset);
    if (result > 0) return .{ .ended = result };
    // Of the end of the file the lane is the better witness.
    if (result == 0) return .missed;
    return switch (@as(E, @enumFromInt(@as(u16, @intCast(-result))))) {
        .AGAIN, .INTR => .missed,
        .OPNOTSUPP, .NOSYS, .INVAL, .PERM, .ACCES => .refused,
        else => .{ .ended = result },
    };
}
