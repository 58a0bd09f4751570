//! Reads at once, on the JavaScript thread, of data that needs no device: copying from the page
//! cache takes 2 us, less than handing the read to a lane that is slower to ask.
//!
//! A miss has a cost: the kernel starts read-ahead, and a file system may have to read the
//! location of the data (ext4: 0.2 to 0.9 ms on a cold fragmented file). So after one miss a call
//! submits its other reads normally.

const std = @import("std");
const abi = @import("../abi.zig");
const Iovec = @import("../os/iovec.zig").Iovec;
const Operation = @import("operation.zig").Operation;
const plant = @import("plant.zig");
const E = std.posix.E;
const negative = @import("../os/os.zig").negative;

/// Limit of one submitted read in bytes: some 10 us.
pub const bytes_max = 64 * 1024;
/// Limit of one call in bytes: some 200 us. Where threads could do the rest, for all its reads.
pub const call_bytes_max = 1024 * 1024;

/// How the pages of a file are read without waiting.
pub const Way = enum(u8) {
    /// One call that does not wait.
    nowait,
    /// For tmpfs, which lacks that call: first asks the system whether the pages are in memory.
    /// They may be swapped out before the read, which then waits. (On other file systems it is
    /// not enough that pages are present: they may be in the middle of being read, or a server
    /// may have to confirm them.)
    look_first,
};

/// What is known of one file.
pub const Experience = struct {
    next: ?Way = .nowait,

    /// How the next read is made at once; null: it is not.
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
    /// Not in memory, or at the end of the file: the lane must do it.
    missed,
    /// Not supported this way; the file is on tmpfs.
    look_first,
    /// Not supported by the kernel, the file system or a sandbox: never try again for this file.
    refused,
};

/// `system` is an `os/` file, or a pointer to a fake kernel. Counts its calls in `calls`.
pub fn readNow(system: anytype, operation: *const Operation, way: Way, calls: *u64) Outcome {
    const System = if (@TypeOf(system) == type) system else @TypeOf(system.*);
    const piece = operation.piece;
    var plain: [1]Iovec = undefined;
    const iovecs = piece.buffers(&plain);
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
    // Only the lane can tell the end of the file for sure.
    if (result == 0) return .missed;
    return switch (@as(E, @enumFromInt(@as(u16, @intCast(-result))))) {
        .AGAIN, .INTR => .missed,
        .OPNOTSUPP, .NOSYS, .INVAL, .PERM, .ACCES => .refused,
        else => .{ .ended = result },
    };
}
