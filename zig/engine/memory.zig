//! The fixed memory an engine works in: it never moves and never grows.

const std = @import("std");
const Allocator = std.mem.Allocator;
const abi = @import("../abi.zig");
const lane = @import("lane.zig");
const os = @import("../os/os.zig");
const read_now = @import("read_now.zig");
const Operation = @import("operation.zig").Operation;
const List = @import("list.zig").List(Operation);

/// The state of one open file.
pub const FileState = struct {
    /// Operations that change the medium and have not settled.
    writes_open: u32 = 0,
    /// The kernel lane refused this file (EOPNOTSUPP): such operations go to the pool at once.
    /// FreeBSD's AIO does transfers of a disk but not syncs, so both are remembered separately.
    transfers_refused: bool = false,
    syncs_refused: bool = false,
    read_now: read_now.Experience = .{},
    /// The descriptor, if the ring must close it when a thread ends without closing its files; or
    /// -1.
    owned_fd: i32 = -1,
    /// Syncs that wait for earlier writes.
    held: List = .{},

    /// Closes the descriptor, unless the file is another's. Nothing of it is in flight.
    pub fn closeOwned(file: *FileState) void {
        if (file.owned_fd >= 0) _ = os.native.close(file.owned_fd);
        file.owned_fd = -1;
    }

    /// JavaScript reuses the record of a closed file.
    pub fn forgetRefusals(file: *FileState) void {
        file.transfers_refused = false;
        file.syncs_refused = false;
        file.read_now = .{};
    }
};

/// What JavaScript sees of it.
pub const Tables = struct {
    control: *abi.Control,
    submissions: []const abi.Submission,
    completions: []abi.Completion,
};

pub const Memory = struct {
    control: *abi.Control,
    submissions: []const abi.Submission,
    completions: []abi.Completion,
    operations: []Operation,
    files: []FileState,
    run: []*Operation,
    verdicts: []lane.Verdict,
    reaped: []lane.Reaped,
    fresh: []*Operation,

    pub const Sizes = struct { operations: u32, queue_depth: u32, files: u32 };

    /// What `allocate` takes of a `FixedBufferAllocator`.
    pub fn bytes(sizes: Sizes) u64 {
        const each_operation = @sizeOf(Operation) + @sizeOf(lane.Reaped) + @sizeOf(*Operation);
        const each_in_kernel = @sizeOf(*Operation) + @sizeOf(lane.Verdict);
        // Each of the arrays starts aligned.
        const slack = 6 * @max(@alignOf(Operation), @alignOf(FileState), @alignOf(lane.Verdict), @alignOf(lane.Reaped));
        return @as(u64, sizes.operations) * each_operation + @as(u64, sizes.queue_depth) * each_in_kernel +
            @as(u64, sizes.files) * @sizeOf(FileState) + slack;
    }

    pub fn allocate(allocator: Allocator, tables: Tables, sizes: Sizes) Allocator.Error!Memory {
        return .{
            .control = tables.control,
            .submissions = tables.submissions,
            .completions = tables.completions,
            .operations = try allocator.alloc(Operation, sizes.operations),
            .files = try untouched(allocator, FileState, sizes.files),
            .run = try allocator.alloc(*Operation, sizes.queue_depth),
            .verdicts = try allocator.alloc(lane.Verdict, sizes.queue_depth),
            .reaped = try allocator.alloc(lane.Reaped, sizes.operations),
            .fresh = try allocator.alloc(*Operation, sizes.operations),
        };
    }

    /// `alloc` would write over all of it in safe builds, and most of it is never used.
    fn untouched(allocator: Allocator, comptime T: type, count: u32) Allocator.Error![]T {
        const first = allocator.rawAlloc(count * @sizeOf(T), .of(T), @returnAddress()) orelse return error.OutOfMemory;
        const items: [*]T = @ptrCast(@alignCast(first));
        return items[0..count];
    }
};

test "memory of every size is as long as it says" {
    for ([_]Memory.Sizes{
        .{ .operations = 1, .queue_depth = 1, .files = 1 },
        .{ .operations = 3, .queue_depth = 2, .files = 5 },
        .{ .operations = 256, .queue_depth = 128, .files = 64 },
    }) |sizes| {
        var control: abi.Control = .{};
        const scratch = try std.testing.allocator.alloc(u8, Memory.bytes(sizes) + 1);
        defer std.testing.allocator.free(scratch);
        // Wherever it begins.
        var fixed: std.heap.FixedBufferAllocator = .init(scratch[1..]);
        const tables: Tables = .{ .control = &control, .submissions = &.{}, .completions = &.{} };
        _ = try Memory.allocate(fixed.allocator(), tables, sizes);
    }
}
