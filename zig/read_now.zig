//! Reads of what needs no device, on the JavaScript thread: a copy out of the page cache is done in 2 us, less than
//! it takes to hand the read over to anybody. For lanes that ask in a dearer way.

const std = @import("std");
const abi = @import("abi.zig");
const Iovec = @import("operation.zig").Iovec;
const Operation = @import("operation.zig").Operation;
const E = std.posix.E;

/// What one of them copies at most: some 10 us.
pub const bytes_max = 64 * 1024;
/// All of one call together, where threads could do the rest: some 200 us.
pub const call_bytes_max = 1024 * 1024;

/// Bytes, or a negative errno; null: the lane has to do it. `system` is an `os/` file, or a pointer to a simulated
/// kernel; one without `readNow` cannot.
pub fn readNow(system: anytype, operation: *const Operation) ?isize {
    const System = if (@TypeOf(system) == type) system else @TypeOf(system.*);
    if (!@hasDecl(System, "readNow")) return null;
    const piece = operation.piece;
    const plain = [1]Iovec{.{ .base = piece.address, .len = piece.bytes }};
    const iovecs = if (piece.iovec_count == 0) &plain else iovecs: {
        const pointer: [*]const Iovec = @ptrFromInt(piece.address);
        break :iovecs pointer[0..piece.iovec_count];
    };
    const result = system.readNow(operation.fd, iovecs, piece.offset);
    if (result > 0) return result;
    // Of the end of the file the lane is the better witness.
    if (result == 0) return null;
    return switch (@as(E, @enumFromInt(@as(u16, @intCast(-result))))) {
        // It is not in memory; this file system or kernel does not know; a sandbox forbids it.
        .AGAIN, .INTR, .OPNOTSUPP, .NOSYS, .INVAL, .PERM, .ACCES => null,
        else => result,
    };
}
