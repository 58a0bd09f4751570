//! The POSIX AIO lane: maps operations to control blocks (aiocb), and their events to results. One
//! lio_listio(2) for each run. The engine resubmits and continues.
//!
//! `Os.Aio` hides the differences between systems. It has (types from `os/aio.zig`; a system call
//! returns a count or a negative errno):
//!
//!   Os.Wake                                  as in os/linux.zig: open, readFd, ring, close
//!   Os.Aio                                   control blocks and their completions
//!     Block                                  one control block; never moved, never copied
//!     scan_ms: u32                           0: no notification is ever lost. Else: poll every
//!                                            scan_ms while operations run
//!     open(self: *Aio, count: u32, wake: Os.Wake) ?Refusal
//!                                            in place; makes `count` blocks, the kqueue, the waiter
//!     close(self: *Aio) void                 only when no block runs; no ring comes afterwards
//!     limits(self: *Aio) aio.Limits
//!     wakes(self: *Aio) u64                  times the wake descriptor was rung
//!     block(self: *Aio, index: u32) *Block   at its fixed address
//!     prepare(self: *Aio, block: *Block, request: aio.Request) void
//!                                            clears and fills a block that does not run
//!     submitList(self: *Aio, blocks: []const *Block) isize
//!                                            lio_listio(LIO_NOWAIT) without a list event: 0 or
//!                                            -errno (EIO, EAGAIN, EINVAL for a list too long ...)
//!     submitSync(self: *Aio, block: *Block, data_only: bool) isize
//!                                            aio_fsync: 0 or -errno
//!     status(self: *Aio, block: *const Block) i32
//!                                            aio_error: 0 done, EINPROGRESS, or the errno with
//!                                            which it ended or was refused
//!     finish(self: *Aio, block: *Block) isize
//!                                            aio_return: bytes or -errno; exactly once for each
//!                                            block that was queued. Negative on one that never was
//!     cancel(self: *Aio, fd: i32, block: *Block) aio.Cancel
//!     take(self: *Aio, running: []const *Block, out: []u64) usize
//!                                            tokens of blocks that have ended, each once, without
//!                                            blocking (kevent with a zero timeout; where there is
//!                                            no queue of events, a scan of `running` by status)
//!     arm(self: *Aio, running: []const *Block) bool
//!                                            let the next completion ring the wake descriptor.
//!                                            False: one is there already and may never ring. (FreeBSD:
//!                                            always true, EV_ENABLE fires for what is pending)
//!     disarm(self: *Aio) void                stop ringing: a reap is about to happen

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const aio = @import("../os/aio.zig");
const lane = @import("../engine/lane.zig");
const plant = @import("../engine/plant.zig");
const os = @import("../os/os.zig");
const Iovec = @import("../os/iovec.zig").Iovec;
const Operation = @import("../engine/operation.zig").Operation;
const Refusal = @import("../os/refusal.zig").Refusal;
const E = os.E;

/// Events taken by one call.
const events_max = 64;
/// Memory that starts within a page spans one page more.
const page_bytes = 4096;

pub fn PosixAio(comptime Os: type) type {
    return struct {
        const Self = @This();
        const Aio = Os.Aio;
        const Block = Aio.Block;

        pub const scan_ms: u32 = Aio.scan_ms;
        pub const shares_room = true;

        aio: Aio,
        limits: aio.Limits,
        /// One slot for each operation of the engine, at the same index, like the blocks.
        slots: []Slot,
        /// Blocks in the kernel, in no order. `position` of a slot is its index here.
        running: []*Block,
        running_slots: []u16,
        running_count: u32 = 0,
        /// Operations that ended during submission: returned by the next reap.
        ended: []lane.Reaped,
        ended_count: u32 = 0,
        /// The list being submitted, and the index in the run of each entry.
        list: []*Block,
        list_places: []u16,
        memory: []align(std.heap.page_size_min) u8,
        system_calls: u64 = 0,
        submit_calls: u64 = 0,

        /// A block belongs to the kernel from its submission to its aio_return (`running`).
        /// Nothing touches it until then.
        const Slot = struct {
            phase: enum { idle, running } = .idle,
            fd: i32 = -1,
            position: u32 = 0,
            /// Bytes requested.
            bytes: u64 = 0,
            /// The token that is running or ran last: an event with another one is stale.
            token: u64 = 0,
        };

        /// `count`: operations in the engine's table.
        pub fn init(self: *Self, count: u32, wake: Os.Wake) ?Refusal {
            assert(count > 0);
            assert(count <= std.math.maxInt(u16));
            const per_operation = @sizeOf(Slot) + 2 * @sizeOf(*Block) + 2 * @sizeOf(u16) +
                @sizeOf(lane.Reaped);
            // Each array starts aligned by itself; the slack covers it.
            const memory = os.mapMemory(count * per_operation + 4096) orelse return .of(.NOMEM, .mmap);
            var arena = std.heap.FixedBufferAllocator.init(memory);
            const allocator = arena.allocator();
            self.* = .{
                .aio = undefined,
                .limits = undefined,
                .slots = allocator.alloc(Slot, count) catch unreachable,
                .running = allocator.alloc(*Block, count) catch unreachable,
                .running_slots = allocator.alloc(u16, count) catch unreachable,
                .ended = allocator.alloc(lane.Reaped, count) catch unreachable,
                .list = allocator.alloc(*Block, count) catch unreachable,
                .list_places = allocator.alloc(u16, count) catch unreachable,
                .memory = memory,
            };
            for (self.slots) |*slot| slot.* = .{};
            if (self.aio.open(count, wake)) |refusal| {
                os.unmapMemory(memory);
                return refusal;
            }
            self.readLimits();
            return null;
        }

        pub fn deinit(self: *Self) void {
            assert(self.running_count == 0);
            self.aio.close();
            os.unmapMemory(self.memory);
        }

        fn readLimits(self: *Self) void {
            self.limits = self.aio.limits();
            assert(self.limits.list_max > 0);
            assert(self.limits.disk_iovecs_max > 0);
            assert(self.limits.disk_bytes_max >= 2 * page_bytes);
            assert(self.limits.disk_bytes_max % page_bytes == 0);
        }

        /// Bit 0: vectors in one entry; bit 1: data syncs. For `bun-aio info`.
        pub fn features(self: *const Self) u32 {
            return @as(u32, @intFromBool(self.limits.vectors)) |
                @as(u32, @intFromBool(self.limits.data_sync)) << 1;
        }

        pub fn wakes(self: *Self) u64 {
            return self.aio.wakes();
        }

        pub fn capability(self: *const Self, kind: abi.Kind) lane.Capability {
            return switch (kind) {
                .read, .write, .readv, .writev => .maybe,
                .sync_all, .sync_data => if (self.limits.syncs) .maybe else .no,
                else => .no,
            };
        }

        // Submission ---------------------------------------------------------------------------

        pub fn submit(self: *Self, operations: []const *Operation, verdicts: []lane.Verdict) void {
            assert(operations.len == verdicts.len);
            assert(operations.len <= self.list.len);
            var count: u32 = 0;
            for (operations, 0..) |operation, place| {
                operation.assertPhase(.in_kernel);
                if (!operation.isTransfer()) continue;
                const request = requestOf(operation, self.limits) orelse {
                    verdicts[place] = failed(.OPNOTSUPP);
                    continue;
                };
                self.list[count] = self.prepare(operation, request);
                self.list_places[count] = @intCast(place);
                count += 1;
            }
            var room = self.submitLists(operations, verdicts, count);
            // A list cannot hold a sync. It needs no order: the engine has held it behind its
            // writes.
            for (operations, verdicts) |operation, *verdict| {
                if (operation.isTransfer()) continue;
                verdict.* = if (room) self.submitSync(operation) else .not_now;
                if (verdict.* == .not_now) room = false;
            }
        }

        fn prepare(self: *Self, operation: *const Operation, request: aio.Request) *Block {
            const slot = &self.slots[operation.index];
            assert(slot.phase == .idle);
            slot.* = .{
                .fd = request.fd,
                .token = request.token,
                .bytes = operation.piece.bytes,
            };
            const block = self.aio.block(operation.index);
            self.aio.prepare(block, request);
            return block;
        }

        /// Submits the first `count` entries of `list`, in as few lists as possible. Returns
        /// false if the kernel ran out of room.
        fn submitLists(
            self: *Self,
            operations: []const *Operation,
            verdicts: []lane.Verdict,
            count: u32,
        ) bool {
            var done: u32 = 0;
            while (done < count) {
                const length = @min(count - done, self.limits.list_max);
                const blocks = self.list[done..][0..length];
                self.system_calls += 1;
                self.submit_calls += 1;
                const result = self.aio.submitList(blocks);
                assert(result <= 0);
                if (result == os.negative(.INVAL) and self.listTooLong(length)) continue;
                var room = true;
                for (blocks, self.list_places[done..][0..length]) |block, place| {
                    const operation = operations[place];
                    const verdict: lane.Verdict = if (result == 0)
                        self.started(operation, block)
                    else
                        self.fate(operation, block, @intCast(-result));
                    if (verdict == .not_now) room = false;
                    verdicts[place] = verdict;
                }
                done += length;
                if (room) continue;
                for (self.list_places[done..count]) |place| verdicts[place] = .not_now;
                return false;
            }
            return true;
        }

        /// EINVAL for a whole list, with nothing attempted: FreeBSD answers this if
        /// `vfs.aio.max_aio_queue_per_proc` was lowered below its length (lio_listio, vfs_aio.c).
        fn listTooLong(self: *Self, length: u32) bool {
            self.readLimits();
            return self.limits.list_max < length;
        }

        fn started(self: *Self, operation: *const Operation, block: *Block) lane.Verdict {
            const slot = &self.slots[operation.index];
            assert(slot.phase == .idle);
            assert(slot.token == operation.token());
            slot.phase = .running;
            slot.position = self.running_count;
            self.running[self.running_count] = block;
            self.running_slots[self.running_count] = operation.index;
            self.running_count += 1;
            return .accepted;
        }

        /// What happened to this entry of a list that failed with `list_errno`? Siblings of a
        /// refused entry always run (FreeBSD), or were never tried (musl stops at the first
        /// refusal).
        fn fate(
            self: *Self,
            operation: *const Operation,
            block: *Block,
            list_errno: i32,
        ) lane.Verdict {
            self.system_calls += 1;
            const errno = self.aio.status(block);
            if (plant.is(.aio_give_up_list)) return .not_now;
            if (errno == @intFromEnum(E.INPROGRESS)) return self.started(operation, block);
            // It has ended, or it never was queued. Only aio_return tells these apart; for the
            // first it is due anyway, exactly once, and removes the event.
            self.system_calls += 1;
            const result = self.aio.finish(block);
            if (errno == 0 and result >= 0) {
                if (plant.is(.aio_return_twice)) return self.started(operation, block);
                self.ended[self.ended_count] = .{ .token = operation.token(), .result = result };
                self.ended_count += 1;
                return .accepted;
            }
            // FreeBSD before 14 leaves aio_error at 0 for some early refusals; then the EINVAL of
            // aio_return is the only information.
            const own: i32 = if (errno == 0) @intCast(-result) else errno;
            return switch (@as(E, @enumFromInt(own))) {
                .AGAIN, .INTR => if (plant.is(.aio_report_room)) .{ .failed = own } else .not_now,
                // A block that was not attempted reports this, too: then the error of the list
                // counts.
                .INVAL => switch (@as(E, @enumFromInt(list_errno))) {
                    .IO, .AGAIN => failed(.INVAL),
                    else => .{ .failed = list_errno },
                },
                else => .{ .failed = own },
            };
        }

        fn submitSync(self: *Self, operation: *const Operation) lane.Verdict {
            assert(operation.isSync());
            const block = self.prepare(operation, .{
                .opcode = .read,
                .fd = operation.fd,
                .address = 0,
                .length = 0,
                .offset = 0,
                .token = operation.token(),
            });
            const data_only = operation.kind == .sync_data and self.limits.data_sync;
            self.system_calls += 1;
            self.submit_calls += 1;
            const result = self.aio.submitSync(block, data_only);
            if (result == 0) return self.started(operation, block);
            assert(result < 0);
            return switch (@as(E, @enumFromInt(-result))) {
                .AGAIN, .INTR => .not_now,
                else => .{ .failed = @intCast(-result) },
            };
        }

        fn failed(errno: E) lane.Verdict {
            return .{ .failed = @intFromEnum(errno) };
        }

        // Completion ---------------------------------------------------------------------------

        pub fn reap(self: *Self, out: []lane.Reaped) usize {
            assert(out.len >= self.ended_count);
            @memcpy(out[0..self.ended_count], self.ended[0..self.ended_count]);
            var count: usize = self.ended_count;
            self.ended_count = 0;
            while (count < out.len and self.running_count > 0) {
                var tokens: [events_max]u64 = undefined;
                const wanted = @min(out.len - count, tokens.len);
                self.system_calls += 1;
                const taken = self.aio.take(self.running[0..self.running_count], tokens[0..wanted]);
                assert(taken <= wanted);
                for (tokens[0..taken]) |token| {
                    out[count] = self.end(token);
                    count += 1;
                }
                if (taken < wanted) break;
            }
            return count;
        }

        /// The single aio_return of a block. An event of an earlier incarnation is passed on: its
        /// token matches no running operation, and the engine counts it.
        fn end(self: *Self, token: u64) lane.Reaped {
            const index: u32 = @truncate(token);
            assert(index < self.slots.len);
            const slot = &self.slots[index];
            if (slot.phase != .running or slot.token != token) return .{ .token = token, .result = 0 };
            self.system_calls += 1;
            const result = if (plant.is(.aio_forget_return))
                @as(isize, @intCast(slot.bytes))
            else
                self.aio.finish(self.aio.block(index));
            if (result > 0) assert(result <= slot.bytes);
            self.stopped(slot);
            return .{ .token = token, .result = result };
        }

        fn stopped(self: *Self, slot: *Slot) void {
            assert(slot.phase == .running);
            slot.phase = .idle;
            self.running_count -= 1;
            const last = self.running_count;
            self.running[slot.position] = self.running[last];
            self.running_slots[slot.position] = self.running_slots[last];
            self.slots[self.running_slots[last]].position = slot.position;
        }

        /// Whatever the kernel answers, the block ends through an event and its aio_return, with
        /// ECANCELED or as it would have.
        pub fn cancel(self: *Self, operation: *Operation) lane.Cancellation {
            operation.assertPhase(.in_kernel);
            const slot = &self.slots[operation.index];
            // Not running: it ended during submission and waits to be reaped.
            if (slot.phase == .running) self.cancelSlot(slot, operation.index);
            return .requested;
        }

        fn cancelSlot(self: *Self, slot: *const Slot, index: u32) void {
            self.system_calls += 1;
            switch (self.aio.cancel(slot.fd, self.aio.block(index))) {
                .canceled => if (plant.is(.aio_reuse_running)) self.stopped(@constCast(slot)),
                .runs_on => {},
            }
        }

        /// Teardown: requests all cancellations once more; the engine waits.
        pub fn cancelAll(self: *Self, _: u32) void {
            for (self.running_slots[0..self.running_count]) |index| {
                self.cancelSlot(&self.slots[index], index);
            }
        }

        pub fn arm(self: *Self) bool {
            if (self.ended_count > 0) return false;
            return self.aio.arm(self.running[0..self.running_count]);
        }

        pub fn disarm(self: *Self) void {
            self.aio.disarm();
        }
    };
}

/// The request of one control block: the operation's piece, or as much of its start as the system
/// takes at once. The rest is a short transfer, which the engine continues. Null: no control
/// block can do it.
///
/// Where AIO has no vectors (Linux; FreeBSD before 13), each buffer of a vector is an entry of
/// the next list. Several blocks for one operation could run at once, but they would end in any
/// order, and the data before a failure must be a contiguous prefix; in sequence it always is,
/// without any state here.
fn requestOf(operation: *const Operation, limits: aio.Limits) ?aio.Request {
    const piece = operation.piece;
    var request: aio.Request = .{
        .opcode = if (operation.isRead()) .read else .write,
        .fd = operation.fd,
        .address = piece.address,
        .length = piece.bytes,
        .offset = piece.offset,
        .token = operation.token(),
    };
    const alignment = operation.alignment;
    if (piece.iovec_count == 0) {
        request.length = diskBytes(piece.address, piece.bytes, alignment, limits);
        return request;
    }
    // An empty buffer would look like the end of the file, or be an empty request to a disk.
    const iovecs = withoutEmptyHead(piece.vector());
    const taken = if (limits.vectors) wholeBuffers(iovecs, alignment, limits) else 0;
    if (taken > 1) {
        request.opcode = if (operation.isRead()) .readv else .writev;
        request.address = @intFromPtr(iovecs.ptr);
        request.length = taken;
        return request;
    }
    request.address = if (iovecs.len > 0) iovecs[0].base else 0;
    request.length = if (iovecs.len > 0) iovecs[0].len else 0;
    // The engine would take an end within a sector for the end of the file. preadv can do this
    // one.
    if (request.length % alignment != 0) return null;
    request.length = diskBytes(request.address, request.length, alignment, limits);
    return request;
}

/// Only disks have an alignment here. Their requests become bios of at most maxphys bytes, one
/// page less if the memory starts within a page (aio_qbio, vfs_aio.c).
fn diskBytes(address: u64, bytes: u64, alignment: u32, limits: aio.Limits) u64 {
    if (alignment == 1) return bytes;
    const most = limits.disk_bytes_max - @as(u32, if (address % page_bytes == 0) 0 else page_bytes);
    if (bytes <= most) return bytes;
    return @max(most - most % alignment, alignment);
}

fn withoutEmptyHead(iovecs: []const Iovec) []const Iovec {
    for (iovecs, 0..) |iovec, index| {
        if (iovec.len > 0) return iovecs[index..];
    }
    return iovecs[iovecs.len..];
}

/// How many buffers from the head fit into one vectored request.
fn wholeBuffers(iovecs: []const Iovec, alignment: u32, limits: aio.Limits) u32 {
    assert(iovecs.len <= abi.iovecs_max);
    if (alignment == 1) return @intCast(iovecs.len);
    var bytes: u64 = 0;
    var count: u32 = 0;
    for (iovecs) |iovec| {
        if (count == limits.disk_iovecs_max) break;
        if (iovec.len == 0 or iovec.len % alignment != 0) break;
        if (iovec.len > diskBytes(iovec.base, iovec.len, alignment, limits)) break;
        if (bytes + iovec.len > limits.disk_bytes_max) break;
        bytes += iovec.len;
        count += 1;
    }
    return count;
}

test "a vector becomes one entry, or its first full buffer, and a disk's fits its bios" {
    const expectEqual = std.testing.expectEqual;
    var limits: aio.Limits = .{
        .list_max = 16,
        .disk_bytes_max = 0x20000,
        .disk_iovecs_max = 2,
        .vectors = false,
        .syncs = true,
        .data_sync = true,
    };
    var memory = [_]u64{ 0x1000, 0, 0x2000, 512, 0x3000, 512, 0x4000, 512 } ++ [1]u64{0} ** 4;
    var operation: Operation = .{
        .index = 0,
        .kind = .readv,
        .address = @intFromPtr(&memory),
        .argument = 4,
        .length = 1536,
    };
    operation.preparePiece();
    const first = requestOf(&operation, limits).?;
    try expectEqual(aio.Opcode.read, first.opcode);
    try expectEqual(@as(u64, 0x2000), first.address);
    try expectEqual(@as(u64, 512), first.length);
    limits.vectors = true;
    const whole = requestOf(&operation, limits).?;
    try expectEqual(aio.Opcode.readv, whole.opcode);
    try expectEqual(@as(u64, 3), whole.length);
    operation.alignment = 512;
    try expectEqual(@as(u64, 2), requestOf(&operation, limits).?.length);
    memory[5] = 100;
    try expectEqual(aio.Opcode.read, requestOf(&operation, limits).?.opcode);
    memory[3] = 100;
    try expectEqual(@as(?aio.Request, null), requestOf(&operation, limits));
    // A plain one is cut, and a page shorter from memory within a page.
    operation = .{ .index = 0, .kind = .write, .alignment = 512, .address = 0x1000, .length = 1 << 20 };
    operation.preparePiece();
    try expectEqual(@as(u64, 0x20000), requestOf(&operation, limits).?.length);
    operation.piece.address = 0x1200;
    try expectEqual(@as(u64, 0x1f000), requestOf(&operation, limits).?.length);
    operation.alignment = 1;
    try expectEqual(@as(u64, 1 << 20), requestOf(&operation, limits).?.length);
}
