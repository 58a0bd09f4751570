//! The fake kernel as `aio_case.zig` wants it: what the cases demand of FreeBSD's kernel is
//! what the fuzzer's kernel does, and the backend's cases run over it in virtual time.

const std = @import("std");
const abi = @import("core").abi;
const Cases = @import("aio_cases.zig").Cases;
const Limit = @import("aio_case.zig").Limit;
const aio_run = @import("aio_run.zig");
const lane = @import("core").lane;
const posix_aio = @import("core").fake_posix_aio;
const fake = @import("core").fake_kernel;
const InlinePool = @import("core").fake_pool.InlinePool;
const List = @import("core").list.List(Operation);
const Drive = @import("core").drive.Drive;
const Operation = @import("core").operation.Operation;

const disks_max = 64;
/// The longest vector is two pieces.
const bytes_min = 2 * abi.piece_bytes_max;
/// `vfs.aio.max_aio_queue_per_proc` at first: one list takes 64 operations.
const process_max = 64;

/// `pool.Pool` without threads.
const Pool = struct {
    inner: InlinePool,
    system_calls: u64 = 0,
    wakes: u64 = 0,

    pub fn init(
        pool: *Pool,
        _: posix_aio.Os.Wake,
        _: u32,
        _: *anyopaque,
        _: *const fn (*anyopaque) void,
        _: *const fn (*anyopaque) void,
    ) void {
        pool.* = .{ .inner = undefined };
        pool.inner.init(posix_aio.Os.current_kernel);
    }

    pub fn deinit(pool: *Pool) void {
        pool.inner.deinit();
    }

    pub fn submit(pool: *Pool, operations: []const *Operation) bool {
        return pool.inner.submit(operations);
    }

    pub fn reap(pool: *Pool) List {
        const finished = pool.inner.reap();
        pool.system_calls = pool.inner.system_calls;
        pool.wakes = pool.inner.wakes;
        return finished;
    }

    pub fn arm(pool: *Pool) bool {
        return pool.inner.arm();
    }

    pub fn disarm(pool: *Pool) void {
        pool.inner.disarm();
    }

    pub fn cancel(pool: *Pool, operation: *Operation) lane.Cancellation {
        return pool.inner.cancel(operation);
    }

    pub fn stop(pool: *Pool) List {
        return pool.inner.stop();
    }

    pub fn pause(pool: *Pool) void {
        pool.inner.pause();
    }

    pub fn nowNs(pool: *Pool) u64 {
        return pool.inner.nowNs();
    }
};

pub fn Context(comptime faulty: bool) type {
    return struct {
        const Self = @This();

        pub const Os = posix_aio.Os;
        pub const Pool = @import("aio_fake.zig").Pool;
        pub const kernel_rules = !faulty;
        pub const faults = faulty;

        kernel: fake.Kernel,
        disks: [disks_max]fake.Disk,
        names: [disks_max][]const u8,
        disks_count: u32,
        files: [disks_max]fake.File,
        requests: [1024]fake.Request,
        count: u64,
        seed: u64,

        text: []const u8,
        expected: i64,
        actual: i64,

        /// In place: the kernel points into it.
        pub fn init(self: *Self, count: u64, seed: u64) void {
            self.count = count;
            self.seed = seed;
            self.disks_count = 0;
            self.kernel = .init(seed, .{ .disks = &self.disks, .files = &self.files, .requests = &self.requests });
            if (faulty) self.kernel.weather = .{
                .short = 60,
                .interrupted = 20,
                .again = 10,
                .refuse = 40,
                .refuse_thread = 40,
                .others = 4,
                .immediate = 60,
                .uncancellable = 128,
                .stale = 60,
                .latency_ns_max = 100_000,
            };
            Os.current_kernel = &self.kernel;
            Os.as_documented = true;
            Os.process_max = process_max;
        }

        pub fn deinit(self: *Self) void {
            Os.as_documented = false;
            for (self.disks[0..self.disks_count]) |*made| made.drive.deinit();
        }

        pub fn fail(self: *Self, text: []const u8, expected: i64, actual: i64) error{Failed} {
            self.text = text;
            self.expected = expected;
            self.actual = actual;
            return error.Failed;
        }

        pub fn skip(self: *Self, text: []const u8) error{Skipped} {
            self.text = text;
            return error.Skipped;
        }

        pub fn equal(self: *Self, text: []const u8, expected: i64, actual: i64) error{Failed}!void {
            if (expected != actual) return self.fail(text, expected, actual);
        }

        pub fn pause(self: *Self, _: Os.Wake, ms: u32) void {
            const kernel = &self.kernel;
            const until_ns = kernel.now_ns + @as(u64, ms) * std.time.ns_per_ms;
            while (true) {
                if (Os.current) |running| running.waiterTurn();
                if (kernel.rung or kernel.now_ns == until_ns) break;
                kernel.advance(@max(kernel.now_ns, @min(kernel.nextEventNs() orelse until_ns, until_ns)));
            }
            kernel.rung = false;
        }

        fn make(self: *Self, name: []const u8, size: u64, grows: bool) error{Failed}!*fake.Disk {
            if (self.disks_count == disks_max) return self.fail("disks", disks_max, 0);
            const drive = Drive.init(if (grows) @max(bytes_min, size) else size, 512) orelse return self.fail("no memory", 0, 0);
            const made = &self.disks[self.disks_count];
            made.* = .{
                .drive = drive,
                .size = size,
                .grows = grows,
                .kind = if (grows) .regular else .disk,
                .frees_pages = grows,
                .reserves_by_writing = true,
            };
            self.names[self.disks_count] = name;
            self.disks_count += 1;
            return made;
        }

        fn open(self: *Self, from: *fake.Disk) error{Failed}!i32 {
            return self.kernel.openDisk(from) orelse self.fail("descriptors", disks_max, 0);
        }

        pub fn openFile(self: *Self, name: []const u8, size: u64) error{Failed}!i32 {
            return self.open(try self.make(name, size, true));
        }

        pub fn openReadOnly(self: *Self, name: []const u8) error{Failed}!i32 {
            for (self.names[0..self.disks_count], self.disks[0..self.disks_count]) |known, *one| {
                if (std.mem.eql(u8, known, name)) return self.kernel.openReadOnly(one).?;
            }
            return self.fail("no such file", 0, 0);
        }

        pub fn openAppending(_: *Self, _: []const u8) error{Failed}!?i32 {
            return null;
        }

        pub fn openNull(self: *Self) error{Failed}!?i32 {
            return try self.special("null", .sink);
        }

        pub fn openPipe(self: *Self) error{Failed}!?[2]i32 {
            return .{ try self.special("pipe", .pipe), -1 };
        }

        fn special(self: *Self, name: []const u8, nature: @FieldType(fake.Disk, "nature")) error{Failed}!i32 {
            const made = try self.make(name, 0, true);
            made.kind = .character;
            made.nature = nature;
            made.refuses_aio = true;
            return self.open(made);
        }

        /// AIO takes it and its reads take for ever. Accidents would end them.
        pub fn openSilent(self: *Self) error{Failed}!?[2]i32 {
            if (faulty) return null;
            const made = try self.make("silent", 4096, true);
            _ = made.rules.add(.{ .operation = .read, .probability = 65536, .latency_ns = std.math.maxInt(u64) });
            return .{ try self.open(made), -1 };
        }

        pub fn disk(self: *Self) error{Failed}!?i32 {
            const made = try self.make("disk", 4 * 1024 * 1024, false);
            made.alignment = 512;
            return try self.open(made);
        }

        pub fn limit(_: *Self, which: Limit, value: ?u32) ?u32 {
            const variable = switch (which) {
                .process => &Os.process_max,
                .system => &Os.system_max,
            };
            const before = variable.*;
            if (value) |wanted| variable.* = wanted;
            return before;
        }
    };
}

fn runAll(comptime faulty: bool, count: u64, seed: u64, under: []const u8) !void {
    const context = try std.heap.page_allocator.create(Context(faulty));
    defer std.heap.page_allocator.destroy(context);
    for (Cases(Context(faulty)).list) |case| {
        context.init(count, seed);
        defer context.deinit();
        try aio_run.run(Context(faulty), case, context, if (seed == 1) under else null);
    }
}

test "the cases of POSIX AIO over the fake kernel, as FreeBSD documents it" {
    for (1..3) |seed| try runAll(false, 500, seed, "POSIX AIO over the fake kernel");
}

test "the cases of POSIX AIO over the fake kernel with accidents" {
    for (1..3) |seed| try runAll(true, 500, seed, "POSIX AIO over the fake kernel with accidents");
}
