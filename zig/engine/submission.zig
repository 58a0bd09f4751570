//! Turns a row of the submission table into an operation. JavaScript wrote the row, so it is
//! checked; only slab headers are trusted to be slabs.

const std = @import("std");
const abi = @import("../abi.zig");
const operation_file = @import("operation.zig");
const Iovec = @import("../os/iovec.zig").Iovec;
const Operation = operation_file.Operation;
const plant = @import("plant.zig");
const Slab = @import("slab.zig").Slab;

/// Copies a submission; returns false if it breaks the rules of `abi.Submission`.
pub fn read(operation: *Operation, submission: *const abi.Submission) bool {
    operation.kind = std.enums.fromInt(abi.Kind, submission.kind) orelse return false;
    operation.length = whole(submission.length) orelse return false;
    operation.address = whole(submission.address) orelse return false;
    operation.file = submission.file;
    if (operation.file != abi.file_none and operation.file >= abi.files_max) return false;
    operation.fd = submission.fd;
    operation.offset = submission.offset;
    operation.argument = submission.argument;
    operation.mode = submission.mode;
    operation.alignment = 1;
    if (submission.flags & abi.SubmissionFlag.aligned != 0) {
        const flags = abi.SubmissionFlag;
        const shift = (submission.flags & flags.alignment_mask) >> flags.alignment_shift;
        if (shift > 20) return false;
        operation.alignment = @as(u32, 1) << @intCast(shift);
    }
    const direct = operation.alignment > 1 and !plant.is(.read_now_direct);
    operation.cached = operation.isRead() and !direct and submission.flags & abi.SubmissionFlag.cached != 0;
    operation.waits = submission.flags & abi.SubmissionFlag.waits != 0;
    if (operation.offset > std.math.maxInt(i64)) return false;
    if (operation.length > std.math.maxInt(i64) - operation.offset) return false;
    const slab = whole(submission.slab) orelse return false;
    operation.slab = null;
    if (slab != 0) operation.slab = Slab.fromAddress(slab) orelse return false;
    if (operation.isVector()) {
        if (operation.argument == 0 or operation.argument > abi.iovecs_max) return false;
        if (operation.slab != null) return false;
    }
    if (!isPossible(operation.address, memoryOf(operation))) return false;
    return !operation.isVector() or fillsVector(operation);
}

/// Memory that is read or written at `address`.
const Memory = struct {
    bytes: u64 = 0,
    alignment: u64 = 1,

    fn of(comptime T: type) Memory {
        return .{ .bytes = @sizeOf(T), .alignment = @alignOf(T) };
    }
};

/// Only vectors and answers have a known size; a path ends at its NUL.
fn memoryOf(operation: *const Operation) Memory {
    return switch (operation.kind) {
        .read, .write => .{ .bytes = operation.length },
        // The slab headers of the buffers follow.
        .readv, .writev => .{
            .bytes = operation.argument * (@sizeOf(Iovec) + @sizeOf(u64)),
            .alignment = @alignOf(Iovec),
        },
        // The answer will overwrite the path.
        .open, .stat, .probe => .of(abi.FileInfo),
        .geometry => .of(abi.Geometry),
        .attach_image => .of(abi.ImageInfo),
        .loop_status => .of(abi.LoopStatus),
        .data_ranges => .of(abi.DataRanges),
        .copy_range => .of(abi.RangeCopy),
        .unmount => .{ .bytes = 1 },
        .device_command => memoryOfCommand(operation),
        .sync_all, .sync_data, .close, .truncate, .allocate, .invalidate_cache => .{},
        .discard, .write_zeroes, .reread_partitions => .{},
    };
}

fn memoryOfCommand(operation: *const Operation) Memory {
    // Unknown commands are refused by the lane.
    const command = std.enums.fromInt(abi.DeviceCommand, operation.argument) orelse return .{};
    return switch (command) {
        .add_rule => .of(abi.FaultRule),
        .read_image, .write_image => .{ .bytes = operation.length },
        .remove_rule, .crash, .ask_gone => .{},
    };
}

/// Whether such memory can exist at `address`. No system maps the first page.
fn isPossible(address: u64, memory: Memory) bool {
    if (memory.bytes == 0) return true;
    return address >= std.heap.page_size_min and address % memory.alignment == 0;
}

/// Whether its buffers have addresses, and the total length that the operation states.
fn fillsVector(operation: *const Operation) bool {
    const first: [*]const Iovec = @ptrFromInt(operation.address);
    var bytes: u64 = 0;
    for (first[0..operation.argument]) |iovec| {
        if (!isPossible(iovec.base, .{ .bytes = iovec.len })) return false;
        bytes +|= iovec.len;
    }
    return bytes == operation.length;
}

pub fn whole(number: f64) ?u64 {
    if (!(number >= 0) or number >= 0x1p63) return null;
    const integer: u64 = @intFromFloat(number);
    return if (@as(f64, @floatFromInt(integer)) == number) integer else null;
}
