//! A row of the submission table becomes an operation. JavaScript wrote it: nothing in it is taken on trust
//! but that a slab header names a slab.

const std = @import("std");
const abi = @import("abi.zig");
const Operation = @import("operation.zig").Operation;
const plant = @import("plant.zig");
const Slab = @import("slab.zig").Slab;

/// Copies a submission; false when it breaks the rules of `abi.Submission`.
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
    const is_read = operation.kind == .read or operation.kind == .readv;
    const direct = operation.alignment > 1 and !plant.is(.read_now_direct);
    operation.cached = is_read and !direct and submission.flags & abi.SubmissionFlag.cached != 0;
    if (operation.offset > std.math.maxInt(i64)) return false;
    if (operation.length > std.math.maxInt(i64) - operation.offset) return false;
    const slab = whole(submission.slab) orelse return false;
    operation.slab = null;
    if (slab != 0) operation.slab = Slab.fromAddress(slab) orelse return false;
    if (operation.isVector()) {
        if (operation.argument == 0 or operation.argument > abi.iovecs_max) return false;
        if (operation.slab != null or operation.address % 8 != 0) return false;
    }
    if (operation.address != 0) return true;
    return switch (operation.kind) {
        .read, .write => operation.length == 0,
        // Iovecs, paths and answers have to be somewhere.
        .readv, .writev, .open, .stat, .probe, .geometry => false,
        else => true,
    };
}

fn whole(number: f64) ?u64 {
    if (!(number >= 0) or number >= 0x1p63) return null;
    const integer: u64 = @intFromFloat(number);
    return if (@as(f64, @floatFromInt(integer)) == number) integer else null;
}
