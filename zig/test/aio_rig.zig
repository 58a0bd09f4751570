//! An engine over the POSIX AIO lane with its memory, for tests: rows in, completions out. It runs
//! over any system, real or fake.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("core").abi;
const engine_file = @import("core").engine;
const Memory = @import("core").memory.Memory;
const os = @import("core").os;
const PosixAio = @import("core").posix_aio.PosixAio;

pub const files_max = 16;

/// What a case hands in; the rest of a submission follows from it.
pub const Ask = struct {
    kind: abi.Kind,
    fd: i32 = -1,
    offset: u64 = 0,
    address: u64 = 0,
    length: u64 = 0,
    /// Vectors.
    iovecs: u32 = 0,
    file: u32 = abi.file_none,
    alignment: u32 = 1,
};

pub fn Rig(comptime Context: type) type {
    return struct {
        const Self = @This();
        const Os = Context.Os;
        pub const Lane = PosixAio(Os);
        pub const Engine = engine_file.Engine(Lane, Context.Pool);

        context: *Context,
        engine: Engine,
        wake: Os.Wake,
        memory: []align(std.heap.page_size_min) u8,
        submissions: []abi.Submission,
        /// By slot; `status` is -1 until the operation has settled.
        results: []abi.Completion,
        pending: u32,
        settled: u32,
        settled_twice: u32,
        next_slot: u32,
        calls: u32,
        next: engine_file.Next,
        pool_references: std.atomic.Value(u32),

        /// In place: lanes and threads keep pointers. `slots`: operations this rig ever carries.
        pub fn init(rig: *Self, context: *Context, queue_depth: u32, slots: u32) !void {
            const count = queue_depth + abi.operations_ready;
            const sizes: Memory.Sizes = .{ .operations = count, .queue_depth = queue_depth, .files = files_max };
            const tables = @sizeOf(abi.Control) + count * @sizeOf(abi.Submission) + (count + slots) * @sizeOf(abi.Completion);
            const memory = os.mapMemory(tables + Memory.bytes(sizes)) orelse return context.fail("no memory", 0, 0);
            errdefer os.unmapMemory(memory);
            var arena = std.heap.FixedBufferAllocator.init(memory);
            const allocator = arena.allocator();
            rig.* = .{
                .context = context,
                .engine = undefined,
                .wake = undefined,
                .memory = memory,
                .submissions = try allocator.alloc(abi.Submission, count),
                .results = try allocator.alloc(abi.Completion, slots),
                .pending = 0,
                .settled = 0,
                .settled_twice = 0,
                .next_slot = 0,
                .calls = 0,
                .next = .sleep,
                .pool_references = .init(0),
            };
            for (rig.results) |*result| result.status = -1;
            rig.wake = switch (Os.Wake.open()) {
                .wake => |wake| wake,
                .errno => |errno| return context.fail("wake descriptor", 0, errno),
            };
            errdefer rig.wake.close();
            if (rig.engine.kernel.init(count, rig.wake)) |refusal| {
                return context.fail("the lane does not start", 0, refusal.errno);
            }
            rig.engine.pool.init(rig.wake, 4, rig, releasePool, retainPool);
            rig.engine.init(try Memory.allocate(allocator, .{
                .control = try allocator.create(abi.Control),
                .submissions = rig.submissions,
                .completions = try allocator.alloc(abi.Completion, count),
            }, sizes), .{ .queue_depth = queue_depth, .window_bytes = abi.window_bytes_default });
        }

        fn retainPool(opaque_rig: *anyopaque) void {
            const rig: *Self = @ptrCast(@alignCast(opaque_rig));
            _ = rig.pool_references.fetchAdd(1, .monotonic);
        }

        fn releasePool(opaque_rig: *anyopaque) void {
            const rig: *Self = @ptrCast(@alignCast(opaque_rig));
            _ = rig.pool_references.fetchSub(1, .release);
        }

        /// Cancels what runs. Fails when the kernel does not let go, or something settled twice.
        pub fn close(rig: *Self) !void {
            if (!rig.engine.shutdown(abi.teardown_ms_max)) {
                return rig.context.fail("the kernel kept operations at the end", 0, rig.engine.kernel_count);
            }
            const left = rig.engine.kernel.running_count;
            rig.engine.kernel.deinit();
            _ = rig.engine.pool.stop();
            while (rig.pool_references.load(.acquire) > 0) rig.engine.pool.pause();
            rig.engine.pool.deinit();
            rig.wake.close();
            os.unmapMemory(rig.memory);
            try rig.context.equal("blocks left running", 0, left);
            try rig.context.equal("operations settled twice", 0, rig.settled_twice);
        }

        pub fn stats(rig: *Self) *abi.Stats {
            return &rig.engine.memory.control.stats;
        }

        /// Rows that `flush` takes at once.
        pub fn room(rig: *const Self) u32 {
            const used = rig.engine.operation_count + rig.pending;
            return @as(u32, @intCast(rig.submissions.len)) - used;
        }

        /// Returns the slot.
        pub fn add(rig: *Self, ask: Ask) u32 {
            assert(rig.room() > 0);
            const slot = rig.next_slot;
            rig.next_slot = if (slot + 1 == rig.results.len) 0 else slot + 1;
            rig.results[slot].status = -1;
            const flags = abi.SubmissionFlag;
            const shift: u32 = std.math.log2_int(u32, ask.alignment);
            rig.submissions[rig.pending] = .{
                .slot = slot,
                .generation = 1,
                .kind = @intFromEnum(ask.kind),
                .flags = if (ask.alignment > 1) flags.aligned | shift << flags.alignment_shift else 0,
                .file = ask.file,
                .fd = ask.fd,
                .offset = ask.offset,
                .address = @floatFromInt(ask.address),
                .length = @floatFromInt(ask.length),
                .slab = 0,
                .argument = ask.iovecs,
                .mode = 0,
            };
            rig.pending += 1;
            return slot;
        }

        pub fn flush(rig: *Self) void {
            const count = rig.pending;
            rig.pending = 0;
            rig.collect(rig.engine.flush(count, rig.choose()));
        }

        pub fn drain(rig: *Self) void {
            rig.collect(rig.engine.drain(rig.choose()));
        }

        /// Now and then it polls, and nothing need ring.
        fn choose(rig: *Self) engine_file.Next {
            rig.calls +%= 1;
            rig.next = if (rig.calls % 4 == 0) .poll else .sleep;
            return rig.next;
        }

        fn collect(rig: *Self, count: u32) void {
            for (rig.engine.memory.completions[0..count]) |completion| {
                const result = &rig.results[completion.slot];
                if (result.status != -1) rig.settled_twice += 1;
                result.* = completion;
                rig.settled += 1;
            }
        }

        pub fn isSettled(rig: *const Self, slot: u32) bool {
            return rig.results[slot].status != -1;
        }

        /// Waits for one ring, or for the retry the engine asks for, and drains.
        pub fn step(rig: *Self) void {
            const control = rig.engine.memory.control;
            if (rig.next == .poll) return rig.collect(rig.engine.poll(rig.choose()));
            if (control.more == 0) {
                const longest: u32 = if (control.retry_ms > 0) control.retry_ms else 1000;
                rig.context.pause(rig.wake, longest);
            }
            rig.drain();
        }

        /// Until nothing is left, for at most ten seconds without any progress.
        pub fn run(rig: *Self) !void {
            rig.flush();
            var stuck_since = os.monotonicNs();
            while (rig.engine.operation_count > 0) {
                const before = rig.settled;
                rig.step();
                if (rig.settled != before) stuck_since = os.monotonicNs();
                if (os.monotonicNs() - stuck_since > 10 * std.time.ns_per_s) {
                    return rig.context.fail("operations hang", 0, rig.engine.operation_count);
                }
            }
        }

        pub fn expect(rig: *Self, slot: u32, transferred: u64) !void {
            const result = rig.results[slot];
            try rig.context.equal("errno", 0, result.errno);
            try rig.context.equal("status", @intFromEnum(abi.Status.ok), result.status);
            try rig.context.equal("bytes", @intCast(transferred), @intFromFloat(result.transferred));
        }

        pub fn expectErrno(rig: *Self, slot: u32, errno: os.E) !void {
            const result = rig.results[slot];
            try rig.context.equal("status", @intFromEnum(abi.Status.failed), result.status);
            try rig.context.equal("errno", @intFromEnum(errno), result.errno);
        }

        /// One operation from start to end.
        pub fn one(rig: *Self, ask: Ask) !u32 {
            const slot = rig.add(ask);
            try rig.run();
            return slot;
        }
    };
}
