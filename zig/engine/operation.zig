//! One operation, from the call until its completion is written. The engine owns every field.
//! Lanes read `piece`, `fd` and `token()`; the pool also writes `result`.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const Iovec = @import("../os/iovec.zig").Iovec;
const options = @import("build_options");
const plant = @import("plant.zig");
const Slab = @import("slab.zig").Slab;

/// The largest request to a lane, in bytes; small in the fuzzer, so that small transfers are
/// split.
pub const piece_bytes_max = if (options.small_limits) 16 * 1024 else abi.piece_bytes_max;

/// `free -> queued -> in_kernel -> done -> free`, and back from `in_kernel` to `queued` if the
/// kernel had no room or did only a part. Operations in the kernel when the ring is lost stay
/// `done`.
pub const Phase = enum(u8) { free, queued, in_kernel, done };

/// The lane of an operation: chosen when it is queued, so that cancellation follows it.
pub const Route = enum(u8) { kernel, pool };

/// Where a queued operation waits.
/// `closing`: a close whose file the kernel lane still holds.
pub const Place = enum(u8) { nowhere, fifo, held, closing };

/// The next request to the kernel: one buffer, a run of whole buffers, or no buffer.
pub const Piece = struct {
    /// For `vector` a pointer to `Iovec`s, else the memory itself.
    address: u64 = 0,
    offset: u64 = 0,
    /// Bytes in total.
    bytes: u64 = 0,
    /// Number of iovecs, 0 for one plain buffer.
    iovec_count: u32 = 0,

    /// `plain` is room for the one that is not in a vector.
    pub fn buffers(piece: *const Piece, plain: *[1]Iovec) []const Iovec {
        plain[0] = .{ .base = piece.address, .len = piece.bytes };
        return if (piece.iovec_count == 0) plain else piece.vector();
    }

    pub fn vector(piece: *const Piece) []const Iovec {
        const pointer: [*]const Iovec = @ptrFromInt(piece.address);
        return pointer[0..piece.iovec_count];
    }

    /// As a direct descriptor wants it.
    pub fn isAligned(piece: *const Piece, alignment: u32, memory_alignment: u32) bool {
        if (piece.offset % alignment != 0 or piece.bytes % alignment != 0) return false;
        if (piece.bytes == 0 and piece.iovec_count == 0) return true;
        var plain: [1]Iovec = undefined;
        for (piece.buffers(&plain)) |buffer| {
            if (buffer.base % memory_alignment != 0 or buffer.len % alignment != 0) return false;
        }
        return true;
    }
};

pub const Operation = struct {
    /// Position in the engine's table; never changes.
    index: u16,
    phase: Phase = .free,
    route: Route = .kernel,
    place: Place = .nowhere,
    kind: abi.Kind = .read,
    /// Incremented by each submission, so that a stale event cannot be taken for a newer one.
    incarnation: u32 = 0,

    slot: u32 = 0,
    generation: u32 = 0,
    file: u32 = abi.file_none,
    fd: i32 = -1,
    /// Transfers end on multiples of this; 1 if the page cache handles alignment.
    alignment: u32 = 1,
    /// A read whose answer may be in the page cache.
    cached: bool = false,
    /// Submitting it may wait for the server of its file.
    waits: bool = false,
    argument: u32 = 0,
    mode: u32 = 0,
    offset: u64 = 0,
    /// Plain memory; for vectors `argument` iovecs followed by as many slab headers.
    address: u64 = 0,
    length: u64 = 0,
    slab: ?*Slab = null,
    /// Whether the operation holds a reference to each of its slabs.
    retained: bool = false,

    transferred: u64 = 0,
    /// Vectors: the next buffer, and how much of it is done.
    iovec_index: u32 = 0,
    iovec_done: u64 = 0,
    piece: Piece = .{},

    /// Writes: sequence number of the call. Syncs: writes of the file still to wait for.
    order: u64 = 0,
    covers: u32 = 0,
    cancel_requested: bool = false,
    /// A write transferred nothing: once may be chance, twice is an error.
    stalled: bool = false,
    /// Times that the kernel accepted it and then answered EAGAIN.
    attempts: u8 = 0,
    submitted_ns: u64 = 0,

    status: abi.Status = .ok,
    errno: i32 = 0,
    detail: u32 = 0,
    /// Result of the pool thread's system call: bytes, or a negative errno.
    result: isize = 0,

    next: ?*Operation = null,

    /// Resets to `free` the fields that the next submission does not write. Index and incarnation
    /// stay.
    pub fn reset(operation: *Operation) void {
        assert(operation.phase == .done);
        assert(operation.slab == null);
        operation.phase = .free;
        operation.transferred = 0;
        operation.iovec_index = 0;
        operation.iovec_done = 0;
        operation.piece = .{};
        operation.covers = 0;
        operation.cancel_requested = false;
        operation.stalled = false;
        operation.attempts = 0;
        operation.status = .ok;
        operation.errno = 0;
        operation.detail = 0;
    }

    /// The token that passes through the kernel: index and incarnation.
    pub fn token(operation: *const Operation) u64 {
        return @as(u64, operation.incarnation) << 32 | operation.index;
    }

    pub fn isTransfer(operation: *const Operation) bool {
        return switch (operation.kind) {
            .read, .write, .readv, .writev => true,
            else => false,
        };
    }

    pub fn isRead(operation: *const Operation) bool {
        return operation.kind == .read or operation.kind == .readv;
    }

    pub fn isVector(operation: *const Operation) bool {
        return operation.kind == .readv or operation.kind == .writev;
    }

    pub fn isSync(operation: *const Operation) bool {
        return operation.kind == .sync_all or operation.kind == .sync_data;
    }

    pub fn isUnsettled(operation: *const Operation) bool {
        return operation.phase == .queued or operation.phase == .in_kernel;
    }

    /// Whether a later sync of the same file must wait for it.
    pub fn changesMedium(operation: *const Operation) bool {
        return switch (operation.kind) {
            .write, .writev, .truncate, .allocate, .discard, .write_zeroes, .copy_range => true,
            else => false,
        };
    }

    /// The legal value of every field in each phase.
    pub fn assertPhase(operation: *const Operation, phase: Phase) void {
        assert(operation.phase == phase);
        switch (phase) {
            .free => {
                assert(operation.slab == null);
                assert(!operation.retained);
                assert(operation.place == .nowhere);
                assert(!operation.cancel_requested);
            },
            .queued => {
                assert(operation.transferred <= operation.length);
                assert(operation.status == .ok);
                assert(operation.covers == 0 or operation.place == .held);
                assert(operation.place != .held or operation.isSync());
                assert(operation.place != .closing or operation.kind == .close);
            },
            .in_kernel => {
                assert(operation.place == .nowhere);
                assert(operation.covers == 0);
                assert(operation.status == .ok);
                assert(operation.next == null or operation.route == .pool);
                if (operation.isTransfer()) {
                    assert(operation.piece.bytes <= piece_bytes_max);
                    assert(operation.piece.bytes <= operation.length - operation.transferred);
                    assert(operation.piece.offset == operation.offset + operation.transferred);
                }
            },
            .done => {
                assert(operation.place == .nowhere);
                assert(operation.transferred <= operation.length);
                assert(operation.errno == 0 or operation.status != .ok);
            },
        }
    }

    fn iovecs(operation: *const Operation) []const Iovec {
        assert(operation.isVector());
        const pointer: [*]const Iovec = @ptrFromInt(operation.address);
        return pointer[0..operation.argument];
    }

    /// The header addresses of a vector's slabs, one for each buffer.
    pub fn vectorSlabs(operation: *const Operation) []const u64 {
        assert(operation.isVector());
        const behind = operation.address + @as(u64, operation.argument) * @sizeOf(Iovec);
        const pointer: [*]const u64 = @ptrFromInt(behind);
        return pointer[0..operation.argument];
    }

    /// Retains the slabs until `releaseSlabs`.
    pub fn retainSlabs(operation: *Operation) void {
        assert(!operation.retained);
        operation.retained = true;
        if (operation.slab) |slab| slab.retain();
        if (!operation.isVector()) return;
        for (operation.vectorSlabs()) |address| {
            if (Slab.fromAddress(address)) |slab| slab.retain();
        }
    }

    pub fn releaseSlabs(operation: *Operation) void {
        defer operation.slab = null;
        if (!operation.retained) return;
        operation.retained = false;
        if (plant.is(.leak_slab)) return;
        if (operation.slab) |slab| slab.release();
        if (!operation.isVector()) return;
        for (operation.vectorSlabs()) |address| {
            if (Slab.fromAddress(address)) |slab| slab.release();
        }
    }

    /// Chooses the next request to the kernel.
    pub fn preparePiece(operation: *Operation) void {
        assert(operation.isTransfer());
        assert(operation.transferred <= operation.length);
        operation.piece = if (operation.isVector()) operation.vectorPiece() else .{
            .address = operation.address + operation.transferred,
            .offset = operation.offset + operation.transferred,
            .bytes = @min(operation.length - operation.transferred, piece_bytes_max),
        };
    }

    /// A run of whole buffers, or a part of one that is begun or larger than a piece: the
    /// caller's iovecs are never changed.
    fn vectorPiece(operation: *const Operation) Piece {
        const offset = operation.offset + operation.transferred;
        var rest = operation.iovecs()[operation.iovec_index..];
        // An empty buffer before one larger than a piece would make an empty piece, which a read
        // takes for the end of the file.
        while (rest.len > 0 and rest[0].len == 0) rest = rest[1..];
        if (rest.len == 0) return .{ .offset = offset };
        const first_bytes = rest[0].len - operation.iovec_done;
        if (operation.iovec_done > 0 or first_bytes > piece_bytes_max) return .{
            .address = rest[0].base + operation.iovec_done,
            .offset = offset,
            .bytes = @min(first_bytes, piece_bytes_max),
        };
        var bytes: u64 = 0;
        var count: u32 = 0;
        for (rest) |iovec| {
            if (bytes + iovec.len > piece_bytes_max) break;
            bytes += iovec.len;
            count += 1;
        }
        assert(count > 0);
        return .{
            .address = @intFromPtr(rest.ptr),
            .offset = offset,
            .bytes = bytes,
            .iovec_count = count,
        };
    }

    /// Counts `bytes` as done.
    pub fn advance(operation: *Operation, bytes: u64) void {
        assert(bytes <= operation.length - operation.transferred);
        operation.transferred += bytes;
        if (!operation.isVector()) return;
        var left = bytes;
        for (operation.iovecs()[operation.iovec_index..]) |iovec| {
            const rest = iovec.len - operation.iovec_done;
            if (left < rest) {
                operation.iovec_done += left;
                return;
            }
            left -= rest;
            operation.iovec_index += 1;
            if (!plant.is(.keep_iovec_done)) operation.iovec_done = 0;
        }
        assert(left == 0);
    }
};

test "a vector's pieces are contiguous and never split a caller's iovec in place" {
    const big = piece_bytes_max + 5;
    var memory: [3 * 3]u64 = .{ 0x1000, 10, 0x2000, big, 0x9000, 20, 0, 0, 0 };
    var operation: Operation = .{
        .index = 0,
        .kind = .readv,
        .address = @intFromPtr(&memory),
        .argument = 3,
        .length = 30 + big,
    };
    operation.preparePiece();
    try std.testing.expectEqual(@as(u32, 1), operation.piece.iovec_count);
    try std.testing.expectEqual(@as(u64, 10), operation.piece.bytes);
    operation.advance(4);
    operation.preparePiece();
    try std.testing.expectEqual(@as(u64, 0x1004), operation.piece.address);
    try std.testing.expectEqual(@as(u64, 6), operation.piece.bytes);
    try std.testing.expectEqual(@as(u32, 0), operation.piece.iovec_count);
    operation.advance(6);
    operation.preparePiece();
    try std.testing.expectEqual(@as(u64, 0x2000), operation.piece.address);
    try std.testing.expectEqual(@as(u64, piece_bytes_max), operation.piece.bytes);
    operation.advance(piece_bytes_max);
    operation.preparePiece();
    try std.testing.expectEqual(@as(u64, 5), operation.piece.bytes);
    operation.advance(5);
    operation.preparePiece();
    try std.testing.expectEqual(@as(u64, 20), operation.piece.bytes);
    try std.testing.expectEqual(@as(u64, 10 + big), operation.piece.offset);
    operation.advance(20);
    operation.preparePiece();
    try std.testing.expectEqual(@as(u64, 0), operation.piece.bytes);
}

test "an empty buffer before a large one makes no empty piece" {
    const big = piece_bytes_max + 5;
    var memory: [2 * 3]u64 = .{ 0x1000, 0, 0x2000, big, 0, 0 };
    var operation: Operation = .{
        .index = 0,
        .kind = .readv,
        .address = @intFromPtr(&memory),
        .argument = 2,
        .length = big,
    };
    operation.preparePiece();
    try std.testing.expectEqual(@as(u64, piece_bytes_max), operation.piece.bytes);
    operation.advance(piece_bytes_max);
    operation.preparePiece();
    try std.testing.expectEqual(@as(u64, 5), operation.piece.bytes);
}
