//! Runs one operation with blocking system calls, on a pool thread (or inline in simulation). The
//! engine decides what to do about errors.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const negative = @import("../os/os.zig").negative;
const Operation = @import("../engine/operation.zig").Operation;
const RangeCopy = @import("../os/range_copy.zig").RangeCopy;
const reserve = @import("reserve.zig");
const whole_pages = @import("whole_pages.zig");

/// Returns bytes for transfers, 0 for the rest, or a negative errno. Reads the operation and its
/// memory; writes `detail` and, for queries, the struct at `address`. `system` is an `os/` file,
/// or a pointer to a fake kernel.
pub fn perform(system: anytype, operation: *Operation) isize {
    const fd = operation.fd;
    const kind: abi.FileKind = @enumFromInt(operation.mode & 3);
    return switch (operation.kind) {
        .read, .readv, .write, .writev => transfer(system, operation),
        .sync_all => system.syncAll(fd),
        .sync_data => system.syncData(fd),
        .open => open(system, operation),
        .close => system.close(fd),
        .stat, .probe => system.fileInfo(fd, at(abi.FileInfo, operation)),
        .truncate => call(system, "truncate", .{ fd, operation.offset }),
        .allocate => allocate(system, operation),
        .invalidate_cache => call(system, "invalidateCache", .{ fd, kind }),
        .geometry => call(system, "geometry", .{ fd, at(abi.Geometry, operation) }),
        .discard, .write_zeroes => ranged(system, operation, kind),
        .reread_partitions => call(system, "rereadPartitions", .{fd}),
        .attach_image => call(system, "attachImage", .{ fd, operation.argument, at(abi.ImageInfo, operation) }),
        .loop_status => call(system, "loopStatus", .{ operation.argument, at(abi.LoopStatus, operation) }),
        .data_ranges => dataRanges(system, operation),
        .unmount => call(system, "unmount", .{ pathAt(operation), operation.argument }),
        .copy_range => copyRange(system, operation),
        .device_command => negative(.OPNOTSUPP),
    };
}

/// A function of the system; what it lacks is not supported. `FaultOs` passes on what it does not change.
fn call(system: anytype, comptime name: []const u8, arguments: anytype) isize {
    const System = if (@TypeOf(system) == type) system else @TypeOf(system.*);
    if (!@hasDecl(System, name)) {
        return if (@hasDecl(System, "Beneath")) call(System.Beneath, name, arguments) else negative(.OPNOTSUPP);
    }
    const function = @field(System, name);
    return @call(.auto, function, if (@TypeOf(system) == type) arguments else .{system} ++ arguments);
}

var no_bytes: [1]u8 = undefined;

fn transfer(system: anytype, operation: *Operation) isize {
    const piece = operation.piece;
    const fd = operation.fd;
    if (piece.iovec_count == 0) {
        // An empty request may come without memory; system layers need a real address.
        const address = if (piece.bytes == 0) @intFromPtr(&no_bytes) else piece.address;
        if (operation.isRead()) return system.pread(fd, address, piece.bytes, piece.offset);
        return system.pwrite(fd, address, piece.bytes, piece.offset);
    }
    const iovecs = piece.vector();
    if (operation.isRead()) return system.preadv(fd, iovecs, piece.offset);
    return system.pwritev(fd, iovecs, piece.offset);
}

/// The answer overwrites the path, which is not needed any more then.
fn open(system: anytype, operation: *Operation) isize {
    const path = pathAt(operation);
    var info: abi.FileInfo = undefined;
    const result = system.open(operation.fd, path, operation.argument, operation.mode, &info);
    if (result >= 0) at(abi.FileInfo, operation).* = info;
    const System = if (@TypeOf(system) == type) system else @TypeOf(system.*);
    if (@hasDecl(System, "whyRefused") and result == negative(.PERM)) {
        operation.detail = refusal(System, operation.fd, path);
    }
    return result;
}

/// What forbids changing the file, or the directory of a missing one.
fn refusal(System: type, directory: i32, path: [*:0]const u8) u32 {
    const name = std.mem.span(path);
    if (System.whyRefused(directory, path)) |found| return found;
    const parent = std.fs.path.dirname(name) orelse ".";
    var buffer: [std.posix.PATH_MAX]u8 = undefined;
    const text = std.fmt.bufPrintZ(&buffer, "{s}", .{parent}) catch return 0;
    const found = System.whyRefused(directory, text) orelse return 0;
    return if (found == 0) 0 else found | abi.Refusal.directory;
}

fn dataRanges(system: anytype, operation: *Operation) isize {
    const answer = at(abi.DataRanges, operation);
    answer.* = .{ .next = operation.offset };
    const end = operation.offset + operation.length;
    return call(system, "dataRanges", .{ operation.fd, operation.argument != 0, end, answer });
}

fn copyRange(system: anytype, operation: *Operation) isize {
    const copy = at(abi.RangeCopy, operation);
    copy.copied = 0;
    const method = std.enums.fromInt(abi.CopyMethod, operation.argument) orelse return negative(.INVAL);
    if (copy.source_offset > std.math.maxInt(i64) - operation.length) return negative(.INVAL);
    while (copy.copied < operation.length) {
        const rest: RangeCopy = .{
            .source_fd = copy.source_fd,
            .source_offset = copy.source_offset + copy.copied,
            .fd = operation.fd,
            .offset = operation.offset + copy.copied,
            .length = operation.length - copy.copied,
        };
        const result = call(system, "copyRange", .{ method, rest });
        if (result == 0) break;
        if (result < 0) return if (copy.copied == 0) result else 0;
        copy.copied += @intCast(result);
    }
    return 0;
}

/// The layer of a system that has this function, or null. A fake kernel is one layer.
fn layer(system: anytype, comptime name: []const u8) ?(if (@TypeOf(system) == type) type else @TypeOf(system)) {
    const System = if (@TypeOf(system) == type) system else @TypeOf(system.*);
    if (@hasDecl(System, name)) return system;
    return if (@hasDecl(System, "Beneath")) layer(System.Beneath, name) else null;
}

fn allocate(system: anytype, operation: *const Operation) isize {
    const fd = operation.fd;
    if (layer(system, "space")) |able| return reserve.allocate(able, fd, operation.offset, operation.length);
    return call(system, "allocate", .{ fd, operation.offset, operation.length });
}

fn ranged(system: anytype, operation: *Operation, kind: abi.FileKind) isize {
    var method: abi.Method = .none;
    const fd = operation.fd;
    const offset = operation.offset;
    if (layer(system, "freesPages")) |able| if (kind == .regular and able.freesPages(fd)) {
        operation.detail = @intFromEnum(abi.Method.punch);
        return whole_pages.zero(able, fd, offset, operation.length);
    };
    const result = if (operation.kind == .discard)
        call(system, "discard", .{ fd, kind, offset, operation.length, &method })
    else
        call(system, "writeZeroes", .{ fd, kind, offset, operation.length, &method });
    operation.detail = @intFromEnum(method);
    return result;
}

fn pathAt(operation: *const Operation) [*:0]const u8 {
    return @ptrFromInt(operation.address);
}

test "a range copy that fails on its way ends with what it has" {
    const Partly = struct {
        pub fn copyRange(_: abi.CopyMethod, copy: RangeCopy) isize {
            if (copy.source_offset >= 130) return if (copy.fd == 1) negative(.IO) else 0;
            return @intCast(@min(copy.length, 10));
        }
    };
    var copy: abi.RangeCopy = .{ .source_offset = 100, .copied = 7, .source_fd = 3, .reserved = 0 };
    var operation: Operation = .{ .index = 0, .kind = .copy_range, .address = @intFromPtr(&copy) };
    for ([_]u64{ 0, 25, 40, 40 }, [_]i32{ 1, 1, 1, 2 }, [_]u64{ 0, 25, 30, 30 }) |length, fd, copied| {
        operation.length = length;
        operation.fd = fd;
        try std.testing.expectEqual(0, copyRange(Partly, &operation));
        try std.testing.expectEqual(copied, copy.copied);
    }
    copy.source_offset = 130;
    operation.fd = 1;
    try std.testing.expectEqual(negative(.IO), copyRange(Partly, &operation));
    copy.source_offset = std.math.maxInt(i64) - 39;
    try std.testing.expectEqual(negative(.INVAL), copyRange(Partly, &operation));
    copy.source_offset = 100;
    operation.argument = 9;
    try std.testing.expectEqual(negative(.INVAL), copyRange(Partly, &operation));
}

fn at(comptime T: type, operation: *const Operation) *T {
    assert(operation.address % @alignOf(T) == 0);
    return @ptrFromInt(operation.address);
}
