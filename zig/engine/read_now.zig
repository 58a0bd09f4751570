//! Reads of what needs no device, on the JavaScript thread: a copy out of the page cache is done in 2 us, less than
//! it takes to hand the read over to anybody. For lanes that ask in a dearer way.
//!
//! A miss is not free: the kernel starts read-ahead, and a file system may have to read where the data lies (ext4: 0.2
//! to 0.9 ms of a cold fragmented file). So one is the end of it for a call.

const std = @import("std");
const abi = @import("../abi.zig");
const Iovec = @import("../os/iovec.zig").Iovec;
const Operation = @import("operation.zig").Operation;
const plant = @import("plant.zig");
const E = std.posix.E;
const negative = @import("../os/os.zig").negative;

/// What one of them copies at most: some 10 us.
pub const bytes_max = 64 * 1024;
/// All of one call together, where threads could do the rest: some 200 us.
pub const call_bytes_max = 1024 * 1024;

/// How a file's pages are read without waiting.
pub const Way = enum(u8) {
    /// In one call that does not wait.
    nowait,
    /// On a tmpfs, which does not know that: the system is asked first whether they are in memory. They may have left
    /// when they are read: then the read waits for the swap. (Of other file systems it is not enough that pages are
    /// there: they may be in the middle of being read, or the server may be asked whether they are still good.)
    look_first,
};

/// What is known of one file.
pub const Experience = struct {
    next: ?Way = .nowait,

    /// How its next read is made at once; null: in no way.
    pub fn way(experience: *const Experience) ?Way {
        return if (plant.is(.read_now_again)) .nowait else experience.next;
    }

    pub fn learn(experience: *Experience, outcome: Outcome) void {
        switch (outcome) {
            .ended, .missed => {},
            .look_first => experience.next = .look_first,
            .refused => experience.next = null,
        }
    }
};

pub const Outcome = union(enum) {
    /// Bytes, or a negative errno.
    ended: isize,
    /// It is not in memory, or ends there: the lane has to do it.
    missed,
    /// Not in this way; the file is a tmpfs's.
    look_first,
    /// The kernel, the file system or a sandbox does not have it: never ask again for this file.
    refused,
};

/// `system` is an `os/` file, or a pointer to a fake kernel. Counts its calls in `calls`.
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
            const result = system.readNow(operation.fd, iovecs, piece.offset);
            if (result != negative(.OPNOTSUPP) or !@hasDecl(System, "isTmpfs")) return outcomeOf(result);
            calls.* += 1;
            return if (system.isTmpfs(operation.fd)) .look_first else .refused;
        },
        .look_first => {
            if (!@hasDecl(System, "isCached")) unreachable; // isTmpfs and it go together
            calls.* += 1;
            switch (system.isCached(operation.fd, piece.offset, piece.bytes)) {
                1 => {},
                0 => return .missed,
                else => return .refused,
            }
            calls.* += 1;
            return outcomeOf(system.preadv(operation.fd, iovecs, piece.offset));
        },
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
