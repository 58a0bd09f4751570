//! Runs one operation with blocking system calls, on a pool thread (or inline in simulation).
//! The errno-to-fate decisions stay with the engine; this file only asks.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("abi.zig");
const operation_file = @import("operation.zig");
const Operation = operation_file.Operation;
const Iovec = operation_file.Iovec;

/// Returns bytes for transfers, 0 for the rest, or a negative errno. Reads the operation and its
/// memory, writes `detail` and, for questions, the struct at `address`.
pub fn perform(comptime Os: type, operation: *Operation) isize {
    const fd = operation.fd;
    const kind: abi.FileKind = @enumFromInt(operation.mode & 3);
    return switch (operation.kind) {
        .read, .readv, .write, .writev => transfer(Os, operation),
        .sync_all => Os.syncAll(fd),
        .sync_data => Os.syncData(fd),
        .open => open(Os, operation),
        .close => Os.close(fd),
        .stat, .probe => Os.fileInfo(fd, at(abi.FileInfo, operation)),
        .truncate => Os.truncate(fd, operation.offset),
        .allocate => Os.allocate(fd, operation.offset, operation.length),
        .invalidate_cache => Os.invalidateCache(fd, kind),
        .geometry => Os.geometry(fd, at(abi.Geometry, operation)),
        .discard => ranged(Os.discard, operation, kind),
        .write_zeroes => ranged(Os.writeZeroes, operation, kind),
        .reread_partitions => Os.rereadPartitions(fd),
        .attach_image => attachImage(Os, operation),
    };
}

var no_bytes: [1]u8 = undefined;

fn transfer(comptime Os: type, operation: *Operation) isize {
    const piece = operation.piece;
    const is_read = operation.kind == .read or operation.kind == .readv;
    if (piece.iovec_count == 0) {
        const call = if (is_read) &Os.pread else &Os.pwrite;
        // A request for no bytes may come without memory; system layers want a real address.
        const address = if (piece.bytes == 0) @intFromPtr(&no_bytes) else piece.address;
        return call(operation.fd, address, piece.bytes, piece.offset);
    }
    const pointer: [*]const Iovec = @ptrFromInt(piece.address);
    const call = if (is_read) &Os.preadv else &Os.pwritev;
    return call(operation.fd, pointer[0..piece.iovec_count], piece.offset);
}

/// The path stands where the answer will: it is used up before the answer is written.
fn open(comptime Os: type, operation: *Operation) isize {
    const path: [*:0]const u8 = @ptrFromInt(operation.address);
    var info: abi.FileInfo = undefined;
    const result = Os.open(path, operation.argument, operation.mode, &info);
    if (result >= 0) at(abi.FileInfo, operation).* = info;
    return result;
}

/// Only some systems can.
fn attachImage(comptime Os: type, operation: *Operation) isize {
    if (!@hasDecl(Os, "attachImage")) return -@as(isize, @intFromEnum(std.posix.E.OPNOTSUPP));
    return Os.attachImage(operation.fd, operation.argument, at(abi.ImageInfo, operation));
}

fn ranged(call: anytype, operation: *Operation, kind: abi.FileKind) isize {
    var method: abi.Method = .none;
    const result = call(operation.fd, kind, operation.offset, operation.length, &method);
    operation.detail = @intFromEnum(method);
    return result;
}

fn at(comptime T: type, operation: *const Operation) *T {
    assert(operation.address % @alignOf(T) == 0);
    return @ptrFromInt(operation.address);
}
