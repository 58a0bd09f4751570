//! Stress test of the thread pool's hand-over with real threads: `zig build stress`, and with
//! `-Dsanitize-thread` under ThreadSanitizer. The engine has no kernel lane, so that everything
//! goes through the pool. The owner sleeps until the wake descriptor rings, as JavaScript does: a
//! lost wake-up hangs, and fails the test.

const std = @import("std");
const abi = @import("core").abi;
const engine_file = @import("core").engine;
const Memory = @import("core").memory.Memory;
const NullLane = @import("core").null_lane.NullLane;
const Pool = @import("core").thread_pool.Pool;
const real = @import("core").os.native;
const negative = @import("core").os.negative;

const depth = 64;
const operations_max = depth + 32;
const memory_bytes = 64;
const sizes: Memory.Sizes = .{ .operations = operations_max, .queue_depth = depth, .files = 1 };
const patience_ms = 10_000;

var rings: std.atomic.Value(u32) = .init(0);
var threads: std.atomic.Value(u32) = .init(0);
var performed: std.atomic.Value(u64) = .init(0);

/// The least a pool thread can be given: a read that fills its buffer from its offset.
const Os = struct {
    pub const Wake = struct {
        pub fn ring(_: Wake) void {
            _ = rings.fetchAdd(1, .release);
        }
    };

    pub fn pread(_: i32, address: u64, bytes: u64, offset: u64) isize {
        const memory = @as([*]u8, @ptrFromInt(address))[0..bytes];
        @memset(memory, @truncate(offset));
        const before = performed.fetchAdd(1, .monotonic);
        if (before % 37 == 0) real.sleepMs(0);
        if (before % 11 == 0) return negative(.INTR);
        return @intCast(bytes);
    }

    pub fn pwrite(_: i32, _: u64, bytes: u64, _: u64) isize {
        return @intCast(bytes);
    }

    pub fn preadv(fd: i32, iovecs: anytype, offset: u64) isize {
        return pread(fd, iovecs[0].base, iovecs[0].len, offset);
    }

    pub const pwritev = preadv;

    pub fn syncAll(_: i32) isize {
        return 0;
    }

    pub const syncData = syncAll;
    pub const close = syncAll;

    pub fn fileInfo(_: i32, _: *abi.FileInfo) isize {
        return 0;
    }

    pub fn open(_: i32, _: [*:0]const u8, _: u32, _: u32, _: *abi.FileInfo) isize {
        return 0;
    }

    pub fn sleepMs(ms: u32) void {
        real.sleepMs(ms);
    }
};

const Engine = engine_file.Engine(NullLane, Pool(Os));

const Owner = struct {
    engine: Engine,
    control: abi.Control,
    submissions: [operations_max]abi.Submission,
    completions: [operations_max]abi.Completion,
    scratch: [Memory.bytes(sizes)]u8,
    memory: [operations_max][memory_bytes]u8,
    offsets: [operations_max]u64,
    busy: [operations_max]bool,
    generations: [operations_max]u32,
    done: u64,
    canceled: u64,
    calls: u32,
    next: engine_file.Next,

    fn retain(_: *anyopaque) void {
        _ = threads.fetchAdd(1, .acq_rel);
    }

    fn release(_: *anyopaque) void {
        _ = threads.fetchSub(1, .acq_rel);
    }

    fn init(owner: *Owner, threads_max: u32) void {
        owner.busy = @splat(false);
        owner.generations = @splat(0);
        owner.done = 0;
        owner.canceled = 0;
        owner.calls = 0;
        owner.next = .sleep;
        owner.engine.kernel = .{};
        owner.engine.pool.init(.{}, threads_max, owner, release, retain);
        var fixed: std.heap.FixedBufferAllocator = .init(&owner.scratch);
        const memory = Memory.allocate(fixed.allocator(), .{
            .control = &owner.control,
            .submissions = &owner.submissions,
            .completions = &owner.completions,
        }, sizes) catch unreachable;
        owner.engine.init(memory, .{ .queue_depth = depth, .window_bytes = abi.window_bytes_default });
    }

    fn submit(owner: *Owner, wanted: u32, offset: *u64) void {
        var count: u32 = 0;
        for (&owner.busy, 0..) |*busy, slot| {
            if (count == wanted) break;
            if (busy.*) continue;
            busy.* = true;
            offset.* += 1;
            owner.offsets[slot] = offset.*;
            owner.generations[slot] +%= 1;
            owner.submissions[count] = std.mem.zeroes(abi.Submission);
            owner.submissions[count].slot = @intCast(slot);
            owner.submissions[count].generation = owner.generations[slot];
            owner.submissions[count].file = abi.file_none;
            owner.submissions[count].offset = offset.*;
            owner.submissions[count].address = @floatFromInt(@intFromPtr(&owner.memory[slot]));
            owner.submissions[count].length = memory_bytes;
            count += 1;
        }
        owner.settle(owner.engine.flush(count, owner.choose()));
    }

    fn settle(owner: *Owner, rows: u32) void {
        for (owner.completions[0..rows]) |row| {
            std.debug.assert(owner.busy[row.slot]);
            std.debug.assert(owner.generations[row.slot] == row.generation);
            owner.busy[row.slot] = false;
            if (row.status == @intFromEnum(abi.Status.canceled)) {
                owner.canceled += 1;
                continue;
            }
            std.debug.assert(row.status == 0);
            owner.done += 1;
            const byte: u8 = @truncate(owner.offsets[row.slot]);
            std.debug.assert(std.mem.allEqual(u8, &owner.memory[row.slot], byte));
        }
    }

    /// Now and then it polls, and nothing need ring.
    fn choose(owner: *Owner) engine_file.Next {
        owner.calls +%= 1;
        owner.next = if (owner.calls % 3 == 0) .poll else .sleep;
        return owner.next;
    }

    /// Only a ring, or what the engine asks for, brings the owner back, if it did not promise to come.
    fn sleep(owner: *Owner) void {
        if (owner.next == .poll) return owner.settle(owner.engine.poll(owner.choose()));
        if (owner.control.more == 0 and owner.control.retry_ms == 0) {
            var waited_ms: u32 = 0;
            while (rings.swap(0, .acquire) == 0) {
                real.sleepMs(1);
                waited_ms += 1;
                if (waited_ms > patience_ms) @panic("a wake was lost");
            }
        }
        owner.settle(owner.engine.drain(owner.choose()));
    }
};

pub fn main(init: std.process.Init) !void {
    const arguments = try init.minimal.args.toSlice(init.arena.allocator());
    const total = if (arguments.len > 1) try std.fmt.parseInt(u64, arguments[1], 0) else 200_000;
    var canceled: u64 = 0;
    var wakes: u64 = 0;
    for ([_]u32{ 1, 2, 4, 16 }) |threads_max| {
        // New memory each time: helgrind does not see that atomics order one round after another.
        const owner = try init.arena.allocator().create(Owner);
        owner.init(threads_max);
        var prng = std.Random.DefaultPrng.init(threads_max);
        const random = prng.random();
        var offset: u64 = 0;
        while (owner.done + owner.canceled < total / 4) {
            owner.submit(random.intRangeAtMost(u32, 1, depth), &offset);
            if (random.uintLessThan(u32, 4) == 0) {
                const slot = random.uintLessThan(u32, operations_max);
                if (owner.busy[slot] and owner.engine.cancel(slot, owner.generations[slot])) {
                    owner.settle(owner.engine.drain(owner.choose()));
                }
            }
            while (owner.engine.operation_count > 0 and random.boolean()) owner.sleep();
        }
        // Teardown with work in flight.
        owner.submit(depth, &offset);
        if (!owner.engine.shutdown(1000)) @panic("shutdown gave up");
        canceled += owner.canceled;
        wakes += owner.control.stats.wakes;
        _ = owner.engine.pool.stop();
        while (threads.load(.acquire) > 0) real.sleepMs(1);
        owner.engine.pool.deinit();
    }
    std.debug.print("{d} operations, {d} cancelled, {d} wakes\n", .{ total, canceled, wakes });
}
