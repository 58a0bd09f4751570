//! The oracle: every call made, a byte array for every file, and rules. It sees both sides of the
//! engine: rows of the completion table above, runs and results of the lanes below
//! (`checked.zig`).

const std = @import("std");
const abi = @import("core").abi;
const read_now = @import("core").read_now;
const limits = @import("core").limits;
const lane = @import("core").lane;
const fake = @import("core").fake_kernel;
const Memory = @import("memory.zig").Memory;
const Model = @import("model.zig").Model;
const Operation = @import("core").operation.Operation;
const report = @import("report.zig");
const RoomModel = @import("room_model.zig").RoomModel;
const fail = report.fail;
const Tally = @import("tally.zig").Tally;
const trace = report.trace;
const E = std.posix.E;

pub const slots_max = 64;
pub const files_max = 4;

/// One call of JavaScript.
pub const Call = struct {
    state: enum { free, waiting, native, lost } = .free,
    slot: u32,
    generation: u32 = 0,
    kind: abi.Kind = .read,
    file: u32 = 0,
    fd: i32 = -1,
    offset: u64 = 0,
    length: u64 = 0,
    iovec_count: u32 = 0,
    in_slab: bool = false,
    /// Position in the order of calls, from 1.
    order: u64 = 0,
    /// Bytes of the file that nobody else may change meanwhile; or read, if this call changes them.
    lock_start: u64 = 0,
    lock_end: u64 = 0,
    cancel_requested: bool = false,

    in_lane: enum { none, kernel, pool } = .none,
    cancel_forwarded: bool = false,
    accepted_once: bool = false,
    /// This lane had no room and has not taken the operation since.
    refused: ?Route = null,
    /// In this order.
    refused_at: u64 = 0,
    moved: u64 = 0,
    idle_writes: u32 = 0,
    /// Times in a row, and whether they were too many.
    again_count: u32 = 0,
    gave_up: bool = false,
    /// The kernel lane said that it cannot do it.
    unsupported: bool = false,
    /// It waits for the kernel lane.
    is_kernels: bool = false,
    /// Its file was refused before, or it has been with the pool.
    is_pools: bool = false,
    /// The kernel lane had no place for it for long.
    handed_over: bool = false,
    /// The row that has to come with this very call, and since when.
    due: ?Row = null,
    due_ns: u64 = 0,
    handed_ns: u64 = 0,

    pub const Row = struct { status: abi.Status, errno: i32 = 0 };

    pub fn isTransfer(call: *const Call) bool {
        return isRead(call) or isWrite(call);
    }

    pub fn isRead(call: *const Call) bool {
        return call.kind == .read or call.kind == .readv;
    }

    pub fn isWrite(call: *const Call) bool {
        return call.kind == .write or call.kind == .writev;
    }

    pub fn isSync(call: *const Call) bool {
        return call.kind == .sync_all or call.kind == .sync_data;
    }

    pub fn changes(call: *const Call) bool {
        return switch (call.kind) {
            .write, .writev, .truncate, .allocate, .discard, .write_zeroes => true,
            else => false,
        };
    }
};

pub const Route = enum { kernel, pool };

pub const Oracle = struct {
    calls: [slots_max]Call,
    models: [files_max]Model,
    memory: *Memory,
    kernel: *fake.Kernel,
    /// Whether the kernel lane may refuse a file (POSIX AIO), or the kernel the lane's calls (io_uring).
    may_refuse: bool,
    /// Whether the kernel may refuse the lane's calls for a while: then anything may go to the pool, or no more.
    may_be_refused: bool = false,
    /// Whether it says of the operation at hand that it may be refused.
    unsure: bool = false,
    orders: u64 = 0,
    refusals: u64 = 0,
    outstanding: u32 = 0,
    native: u32 = 0,
    /// Since when the kernel lane refuses to say what became of operations, or 0.
    unresponsive_since_ns: u64 = 0,
    /// Why the ring is lost, or 0.
    lost_errno: i32 = 0,
    /// In the current call into the engine a lane had no room.
    no_room: bool = false,
    /// The room of a kernel lane that other processes share.
    shares_room: bool = false,
    room: RoomModel = .{},
    /// Whether that lane can do syncs.
    lane_syncs: bool = true,
    /// Bytes that this call has given to the kernel lane.
    call_bytes: u64 = 0,
    /// By file: the last call made when the kernel lane said that it cannot do this, or 0.
    transfers_refused: [files_max]u64 = @splat(0),
    syncs_refused: [files_max]u64 = @splat(0),
    tally: Tally = .{},

    pub fn init(oracle: *Oracle, memory: *Memory, kernel: *fake.Kernel, may_refuse: bool) void {
        oracle.* = .{
            .calls = undefined,
            .models = @splat(.{}),
            .memory = memory,
            .kernel = kernel,
            .may_refuse = may_refuse,
        };
        for (&oracle.calls, 0..) |*call, slot| call.* = .{ .slot = @intCast(slot) };
    }

    // Calls ------------------------------------------------------------------------------------

    pub fn freeCall(oracle: *Oracle) ?*Call {
        for (&oracle.calls) |*call| {
            if (call.state == .free) return call;
        }
        return null;
    }

    /// Whether a call may touch this range now without making results random.
    pub fn lockable(oracle: *const Oracle, file: u32, start: u64, end: u64, changes: bool) bool {
        for (&oracle.calls) |*call| {
            if (call.state == .free or call.file != file) continue;
            if (!changes and !call.changes()) continue;
            if (start < call.lock_end and call.lock_start < end) return false;
        }
        return true;
    }

    pub fn made(oracle: *Oracle, call: *Call) void {
        oracle.orders += 1;
        call.order = oracle.orders;
        call.state = .waiting;
        oracle.outstanding += 1;
        if (call.changes()) oracle.models[call.file].called(call);
    }

    pub fn handedOver(oracle: *Oracle, call: *Call) void {
        call.state = .native;
        call.handed_ns = oracle.kernel.now_ns;
        call.is_pools = call.isTransfer() and oracle.refusedAt(call).* > 0;
        oracle.native += 1;
    }

    // What the lanes see -----------------------------------------------------------------------

    fn callOf(oracle: *Oracle, operation: *const Operation) *Call {
        const call = &oracle.calls[operation.slot];
        if (call.state != .native) fail("a lane was given slot {d}, which has no call", .{operation.slot});
        if (call.generation != operation.generation) fail("a lane was given an old generation", .{});
        return call;
    }

    pub fn run(oracle: *Oracle, route: Route, operations: []const *Operation) void {
        for (operations, 0..) |operation, index| {
            const call = oracle.callOf(operation);
            trace("  {t} <- slot {d}, call {d}, {t}", .{ route, call.slot, call.order, call.kind });
            if (oracle.lost_errno != 0) fail("slot {d} of a lost ring goes on", .{call.slot});
            if (call.in_lane != .none) fail("slot {d} was submitted twice", .{call.slot});
            if (call.due != null) fail("slot {d} was submitted after its end", .{call.slot});
            if (call.isTransfer()) oracle.checkPiece(call, operation);
            if (route == .pool) oracle.noteRoute(call);
            oracle.checkRoute(call, route, operation);
            if (call.isSync()) oracle.checkSync(call);
            if (call.isTransfer() and !call.accepted_once) {
                oracle.checkOrder(route, call, operations[0..index]);
            }
            call.in_lane = if (route == .kernel) .kernel else .pool;
        }
    }

    fn checkPiece(_: *Oracle, call: *const Call, operation: *const Operation) void {
        const piece = operation.piece;
        if (piece.offset != call.offset + call.moved) {
            fail("slot {d} goes on at {d} instead of {d}", .{ call.slot, piece.offset, call.offset + call.moved });
        }
        const rest = call.length - call.moved;
        if (piece.bytes > rest) fail("slot {d} asks for more than is left", .{call.slot});
        if (rest > 0 and piece.bytes == 0) fail("slot {d} asks for nothing", .{call.slot});
    }

    /// What the kernel lane refuses is tried once for each file; all else is the kernel lane's.
    fn checkRoute(oracle: *Oracle, call: *const Call, route: Route, operation: *const Operation) void {
        if (!call.isTransfer() and !call.isSync()) return;
        const refused = oracle.refusedAt(call).*;
        switch (route) {
            .kernel => {
                if (oracle.no_room) fail("slot {d} is given to a kernel without room", .{call.slot});
                if (call.handed_over) fail("slot {d} goes back to a kernel without room", .{call.slot});
                if (call.gave_up) fail("slot {d} goes back to a kernel that says EAGAIN for ever", .{call.slot});
                const known = refused > 0 and call.order > refused;
                // A lane that was refused and is not any more is asked again.
                if (known and !oracle.may_be_refused) fail("file {d} was refused before", .{call.file});
                if (oracle.call_bytes >= limits.call_bytes_max) fail("a call moves too much", .{});
                oracle.call_bytes += operation.piece.bytes;
            },
            .pool => if (call.isTransfer() and refused == 0 and !call.gave_up and !call.handed_over and !oracle.may_be_refused) {
                fail("slot {d} goes to the pool, though its file was never refused", .{call.slot});
            },
        }
    }

    /// An operation takes the way of the pool: because the kernel lane cannot do it, or has had no place for long.
    pub fn noteRoute(oracle: *Oracle, call: *Call) void {
        if (!call.isTransfer() and !call.isSync() or call.is_pools) return;
        call.is_pools = true;
        const may = call.is_kernels or !call.isSync() or (oracle.lane_syncs and oracle.refusedAt(call).* == 0);
        if (!may or call.unsupported or call.gave_up) return;
        if (!oracle.room.isGone(oracle.tally.now_ns)) return;
        call.handed_over = true;
        call.refused = null;
        oracle.tally.stats.fallbacks += 1;
    }

    fn refusedAt(oracle: *Oracle, call: *const Call) *u64 {
        return if (call.isSync()) &oracle.syncs_refused[call.file] else &oracle.transfers_refused[call.file];
    }

    /// A call into the engine begins.
    pub fn entering(oracle: *Oracle) void {
        oracle.no_room = false;
        oracle.call_bytes = 0;
        oracle.tally.now_ns = oracle.kernel.now_ns;
        if (oracle.lost_errno != 0) oracle.dropWaiting();
    }

    /// Another file reuses the record.
    pub fn opened(oracle: *Oracle, file: u32) void {
        oracle.transfers_refused[file] = 0;
        oracle.syncs_refused[file] = 0;
    }

    fn checkSync(oracle: *const Oracle, sync: *const Call) void {
        for (&oracle.calls) |*call| {
            if (call.state == .free or call.file != sync.file or !call.changes()) continue;
            if (call.order < sync.order and call.due == null) {
                fail("sync {d} overtakes write {d} of its file", .{ sync.order, call.order });
            }
        }
    }

    /// Operations reach a lane in the order of the calls; one that found no room keeps its place.
    fn checkOrder(oracle: *const Oracle, route: Route, call: *const Call, before: []const *Operation) void {
        for (&oracle.calls) |*other| {
            if (other.state != .native or !other.isTransfer()) continue;
            if (other == call or other.accepted_once) continue;
            if (other.due != null or other.in_lane != .none or other.handed_over) continue;
            if (other.refused) |refused_by| {
                if (refused_by != route) continue;
                if (call.refused != null and other.refused_at > call.refused_at) continue;
            } else if (other.order > call.order) {
                continue;
            } else if (route == .pool or oracle.may_refuse) {
                // Which lane it will take is not known yet.
                continue;
            }
            for (before) |operation| {
                if (operation.slot == other.slot) break;
            } else fail("call {d} overtakes call {d}, which waits for room", .{ call.order, other.order });
        }
    }

    pub fn verdict(oracle: *Oracle, operation: *const Operation, answer: lane.Verdict) void {
        const call = oracle.callOf(operation);
        if (answer != .accepted) trace("  slot {d}: {any}", .{ call.slot, answer });
        switch (answer) {
            .accepted => {
                call.accepted_once = true;
                call.refused = null;
            },
            .not_now => {
                oracle.refusals += 1;
                if (call.in_lane == .pool or !oracle.shares_room) oracle.no_room = true;
                oracle.tally.stats.resubmissions += 1;
                const by: Route = if (call.in_lane == .kernel) .kernel else .pool;
                // One that asks again keeps its place.
                if (call.refused != by) call.refused_at = oracle.refusals;
                call.refused = by;
                call.in_lane = .none;
            },
            .failed => |errno| {
                call.in_lane = .none;
                call.refused = null;
                oracle.ended(call, .kernel, -@as(isize, errno), operation);
            },
        }
    }

    /// A lane reports the end of a submission.
    pub fn result(oracle: *Oracle, operation: *const Operation, route: Route, value: isize) void {
        const call = oracle.callOf(operation);
        trace("  {t} -> slot {d}: {d}", .{ route, call.slot, value });
        if (call.in_lane == .none) fail("slot {d} ended without being in a lane", .{call.slot});
        call.in_lane = .none;
        oracle.ended(call, route, value, operation);
        if (oracle.lost_errno != 0) oracle.dropWaiting();
    }

    /// The engine asks its lane whether it will say what became of operations.
    pub fn unresponsive(oracle: *Oracle, errno: ?i32) void {
        const now_ns = oracle.tally.now_ns;
        var waiting = false;
        for (&oracle.calls) |*call| waiting = waiting or call.in_lane == .kernel;
        if (errno == null or !waiting) {
            oracle.unresponsive_since_ns = 0;
            return;
        }
        if (oracle.unresponsive_since_ns == 0) oracle.unresponsive_since_ns = now_ns;
        if (now_ns - oracle.unresponsive_since_ns < @as(u64, abi.unresponsive_ms_max) * std.time.ns_per_ms) return;
        trace("  the ring is lost", .{});
        oracle.lost_errno = errno.?;
        for (&oracle.calls) |*call| {
            if (call.in_lane != .kernel) continue;
            call.in_lane = .none;
            call.due = .{ .status = .outcome_unknown, .errno = errno.? };
            call.due_ns = now_ns;
        }
        oracle.dropWaiting();
    }

    /// What is in no lane ends with the ring: all but syncs that are held behind what threads are doing.
    fn dropWaiting(oracle: *Oracle) void {
        for ([_]bool{ false, true }) |syncs| {
            for (&oracle.calls) |*call| {
                if (call.state != .native or call.in_lane != .none or call.due != null) continue;
                if (call.isSync() != syncs or (syncs and oracle.isHeld(call))) continue;
                call.due = .{ .status = .canceled };
                call.due_ns = oracle.tally.now_ns;
            }
        }
    }

    fn isHeld(oracle: *const Oracle, sync: *const Call) bool {
        for (&oracle.calls) |*call| {
            if (call.state != .native or call.file != sync.file or !call.changes()) continue;
            if (call.order < sync.order and call.due == null) return true;
        }
        return false;
    }

    /// A lane has done a read at once.
    pub fn readNow(oracle: *Oracle, operation: *Operation, route: Route, value: isize) void {
        const call = oracle.callOf(operation);
        if (!call.isRead()) fail("slot {d} is read at once and no read", .{call.slot});
        if (oracle.models[call.file].disk.alignment > 1) fail("slot {d} is read at once from a direct file", .{call.slot});
        if (operation.piece.bytes > read_now.bytes_max) fail("slot {d} is too long to be read at once", .{call.slot});
        oracle.tally.now_ns = oracle.kernel.now_ns;
        // What needs no room waits for none.
        call.accepted_once = true;
        oracle.run(route, &.{operation});
        oracle.verdict(operation, .accepted);
        oracle.result(operation, route, value);
    }

    /// A read that took no place in the engine has returned `bytes`.
    pub fn readAtOnce(oracle: *Oracle, call: *Call, bytes: u64, latency_ns: u64) void {
        if (oracle.lost_errno != 0) fail("a lost ring reads at once", .{});
        if (bytes != call.length) fail("a read at once returns {d} bytes of {d}", .{ bytes, call.length });
        call.moved = bytes;
        oracle.models[call.file].settled(oracle, call, .ok);
        oracle.tally.now_ns = oracle.kernel.now_ns;
        oracle.tally.stats.inline_completions += 1;
        oracle.tally.row(call.kind, .ok, bytes, latency_ns);
        call.* = .{ .slot = call.slot, .generation = call.generation };
    }

    /// The rules for what has to follow from a result.
    fn ended(oracle: *Oracle, call: *Call, route: Route, value: isize, operation: *const Operation) void {
        call.due_ns = oracle.tally.now_ns;
        const interrupted: ?Call.Row = if (call.cancel_requested) .{ .status = .canceled } else null;
        if (value < 0) {
            const errno: i32 = @intCast(-value);
            call.due = switch (@as(E, @enumFromInt(@as(u16, @intCast(errno))))) {
                .INTR => interrupted orelse again: {
                    oracle.tally.stats.resubmissions += 1;
                    break :again null;
                },
                .AGAIN => interrupted orelse again: {
                    oracle.tally.stats.resubmissions += 1;
                    call.again_count += 1;
                    oracle.no_room = true;
                    const gives_up = route == .kernel and call.again_count >= limits.attempts_max;
                    oracle.tally.stats.fallbacks += @intFromBool(gives_up);
                    call.gave_up = call.gave_up or gives_up;
                    break :again null;
                },
                .CANCELED => interrupted orelse .{ .status = .failed, .errno = errno },
                .OPNOTSUPP => if (oracle.unsure and route == .kernel)
                    interrupted orelse pool: {
                        oracle.tally.stats.fallbacks += 1;
                        oracle.refusedAt(call).* = oracle.orders;
                        call.unsupported = true;
                        break :pool null;
                    }
                else
                    .{ .status = .failed, .errno = errno },
                else => .{ .status = .failed, .errno = errno },
            };
            return;
        }
        const bytes: u64 = @intCast(value);
        if (!call.isTransfer()) {
            call.due = .{ .status = .ok };
            return;
        }
        if (bytes > operation.piece.bytes) fail("slot {d}: the lane reports too much", .{call.slot});
        const all = call.moved + bytes == call.length;
        const alignment = oracle.models[call.file].disk.alignment;
        if (call.isRead()) {
            call.moved += bytes;
            const end_of_file = bytes == 0 or bytes % alignment != 0;
            call.due = if (all or end_of_file) .{ .status = .ok } else interrupted;
            oracle.goesOn(call);
            return;
        }
        const kept = if (all) bytes else bytes - bytes % alignment;
        call.moved += kept;
        call.idle_writes = if (kept > 0) 0 else call.idle_writes + 1;
        call.due = if (all)
            .{ .status = .ok }
        else if (kept == 0 and call.idle_writes >= 2) .{ .status = .no_progress } else interrupted;
        oracle.goesOn(call);
    }

    fn goesOn(oracle: *Oracle, call: *Call) void {
        if (call.due != null) return;
        oracle.tally.stats.continuations += 1;
        call.again_count = 0;
    }

    pub fn removedFromLane(oracle: *Oracle, operation: *const Operation) void {
        const call = oracle.callOf(operation);
        call.in_lane = .none;
        call.due = .{ .status = .canceled };
        call.due_ns = oracle.tally.now_ns;
    }

    // What JavaScript sees ---------------------------------------------------------------------

    pub fn cancelled(oracle: *Oracle, call: *Call) void {
        if (!call.cancel_requested and call.in_lane != .none and !call.cancel_forwarded) {
            fail("the cancel of slot {d} never reached its lane", .{call.slot});
        }
        call.cancel_requested = true;
        // What waits in a queue of ours ends at once.
        if (call.in_lane != .none or call.due != null) return;
        call.due = .{ .status = .canceled };
        call.due_ns = oracle.tally.now_ns;
    }

    pub fn row(oracle: *Oracle, completion: *const abi.Completion) void {
        if (completion.slot >= slots_max) fail("a row for slot {d}", .{completion.slot});
        const call = &oracle.calls[completion.slot];
        trace("row: slot {d}, status {d}, errno {d}", .{ call.slot, completion.status, completion.errno });
        if (call.state != .native or call.generation != completion.generation) {
            fail("slot {d} settles twice, or was never handed over", .{completion.slot});
        }
        const due = call.due orelse fail("slot {d} settles with {d}/{d}, unexpectedly", .{
            call.slot, completion.status, completion.errno,
        });
        if (@intFromEnum(due.status) != completion.status or due.errno != completion.errno) {
            fail("slot {d} settles with {d}/{d} instead of {d}/{d}", .{
                call.slot, completion.status, completion.errno, @intFromEnum(due.status),
                due.errno,
            });
        }
        const transferred: u64 = @intFromFloat(completion.transferred);
        if (transferred != call.moved) {
            fail("slot {d} reports {d} bytes of {d}", .{ call.slot, transferred, call.moved });
        }
        if (due.status == .outcome_unknown) return oracle.lost(call);
        oracle.checkMemory(call);
        oracle.models[call.file].settled(oracle, call, due.status);
        oracle.tally.row(call.kind, due.status, transferred, call.due_ns - call.handed_ns);
        oracle.forget(call);
    }

    /// Its memory and its range stay the kernel's.
    fn lost(oracle: *Oracle, call: *Call) void {
        oracle.tally.row(call.kind, .outcome_unknown, call.moved, call.due_ns - call.handed_ns);
        call.state = .lost;
        call.due = null;
        oracle.outstanding -= 1;
        oracle.native -= 1;
    }

    pub fn forget(oracle: *Oracle, call: *Call) void {
        if (call.state != .lost) oracle.outstanding -= 1;
        if (call.state == .native) oracle.native -= 1;
        call.* = .{ .slot = call.slot, .generation = call.generation +% 1 };
    }

    /// After a promise settles its buffer belongs to the caller: no request of the kernel may use
    /// it.
    fn checkMemory(oracle: *const Oracle, call: *const Call) void {
        for (oracle.kernel.requests) |*request| {
            if (request.state == .running and oracle.memory.uses(&request.ask, call.slot)) {
                fail("slot {d} settles while the kernel still uses its memory", .{call.slot});
            }
        }
    }

    /// Operations in a lane.
    pub fn inLanes(oracle: *const Oracle) u32 {
        var count: u32 = 0;
        for (&oracle.calls) |*call| count += @intFromBool(call.in_lane != .none);
        return count;
    }

    /// Called after every call into the engine.
    pub fn afterCall(oracle: *const Oracle) void {
        for (&oracle.calls) |*call| {
            if (call.state == .native and call.due != null) {
                fail("the end of slot {d} was lost", .{call.slot});
            }
        }
        oracle.memory.checkReferences(oracle);
    }
};
