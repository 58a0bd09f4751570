//! What the fake kernel is asked, and a request of it on its way.

const std = @import("std");
const abi = @import("../abi.zig");
const faults = @import("../device/faults.zig");
const Disk = @import("disk.zig").Disk;
const Piece = @import("../engine/operation.zig").Piece;

/// `Request.due_ns` of what does not end by itself.
pub const never: u64 = std.math.maxInt(u64);

/// What a kernel is asked, in any interface.
pub const Ask = struct {
    kind: abi.Kind,
    fd: i32,
    /// One buffer, or `iovec_count` of `Iovec`.
    address: u64 = 0,
    bytes: u64 = 0,
    iovec_count: u32 = 0,
    offset: u64 = 0,
    /// Data of the submitter.
    user: u64 = 0,

    pub fn piece(ask: *const Ask) Piece {
        return .{ .address = ask.address, .offset = ask.offset, .bytes = ask.bytes, .iovec_count = ask.iovec_count };
    }
};

/// The receiver of completed requests.
pub const Owner = struct {
    context: *anyopaque,
    finish: *const fn (*anyopaque, *Request) void,
};

pub const Request = struct {
    state: enum { free, running, finished } = .free,
    ask: Ask = .{ .kind = .read, .fd = -1 },
    /// What its descriptor named as it began: closing that does not stop it.
    disk: ?*Disk = null,
    /// The owner does the work itself when it hears of the end.
    task: bool = false,
    owner: Owner = undefined,
    verdict: faults.Verdict = .{},
    due_ns: u64 = never,
    /// Syncs: the last write of the drive that they cover.
    sequence: u64 = 0,
    cancellable: bool = true,
    result: isize = 0,
};
