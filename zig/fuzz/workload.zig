//! The workload of a seed: files, sizes, kinds of calls, and fault rates. Each kind of fault is
//! either off or at some rate, so that each one is also tested without the others (swarm
//! testing).

const std = @import("std");
const abi = @import("core").abi;
const Drive = @import("core").drive.Drive;
const faults = @import("core").faults;
const fake = @import("core").fake_kernel;
const memory_file = @import("memory.zig");
const model_file = @import("model.zig");
const oracle_file = @import("oracle.zig");
const Call = oracle_file.Call;
const Oracle = oracle_file.Oracle;
const Model = model_file.Model;

const page_bytes = 4096;

pub const Plan = struct {
    queue_depth: u32,
    operations: u32,
    window_bytes: u64,
    calls: u32,
    burst_max: u32,
    files: u32,
    weights: [kinds.len]u32,
    length_max: u64,
    cancel_rate: u8,
    /// After so many calls: the end comes with `shutdown`, a crash, an unplugged device.
    shutdown_at: ?u32,
    crash_at: ?u32,
    unplug_at: ?u32,

    const kinds = [_]abi.Kind{
        .read,  .write,    .readv,    .writev,  .sync_all,     .sync_data,
        .stat,  .truncate, .allocate, .discard, .write_zeroes, .invalidate_cache,
        .probe, .geometry, .open,
    };

    pub fn make(random: std.Random, piece_bytes_max: u64) Plan {
        const depths = [_]u32{ 1, 2, 3, 4, 8, 16, 32 };
        const depth = depths[random.uintLessThan(usize, depths.len)];
        var plan: Plan = .{
            .queue_depth = depth,
            .operations = depth + random.intRangeAtMost(u32, 1, 16),
            .window_bytes = piece_bytes_max * random.intRangeAtMost(u64, 1, 4),
            .calls = random.intRangeAtMost(u32, 10, 120),
            .burst_max = random.intRangeAtMost(u32, 1, 24),
            .files = random.intRangeAtMost(u32, 1, 3),
            .weights = undefined,
            .length_max = ([_]u64{ 64, 4096, 16384, memory_file.slot_bytes })[random.uintLessThan(usize, 4)],
            .cancel_rate = if (random.boolean()) 0 else random.int(u8),
            .shutdown_at = null,
            .crash_at = null,
            .unplug_at = null,
        };
        for (&plan.weights, kinds) |*weight, kind| {
            const most: u32 = switch (kind) {
                .read, .write => 12,
                .readv, .writev, .sync_all, .sync_data => 6,
                else => 1,
            };
            weight.* = if (random.uintLessThan(u32, 4) == 0) 0 else random.uintAtMost(u32, most);
        }
        plan.weights[1] += 1;
        const when = random.uintLessThan(u32, plan.calls);
        switch (random.uintLessThan(u32, 8)) {
            0, 1 => plan.shutdown_at = when,
            2 => plan.crash_at = when,
            3 => plan.unplug_at = when,
            else => {},
        }
        return plan;
    }

    fn chooseKind(plan: *const Plan, random: std.Random) abi.Kind {
        var sum: u32 = 0;
        for (plan.weights) |weight| sum += weight;
        var at = random.uintLessThan(u32, sum);
        for (plan.weights, kinds) |weight, kind| {
            if (at < weight) return kind;
            at -= weight;
        }
        unreachable;
    }
};

/// Off half of the time, else up to `most` of 256.
fn rate(random: std.Random, most: u8) u8 {
    return if (random.boolean()) 0 else random.uintAtMost(u8, most);
}

pub fn makeWeather(random: std.Random) faults.Weather {
    if (random.uintLessThan(u32, 8) == 0) return .{};
    return .{
        .short = rate(random, 120),
        .idle_write = rate(random, 40),
        .interrupted = rate(random, 40),
        .again = if (random.uintLessThan(u32, 16) == 0) 200 else rate(random, 40),
        .io_error = rate(random, 30),
        .refuse = rate(random, 120),
        .refuse_hard = if (random.uintLessThan(u32, 4) == 0) random.uintAtMost(u8, 20) else 0,
        .unresponsive = if (random.uintLessThan(u32, 4) == 0) random.uintAtMost(u8, 30) else 0,
        .refuse_thread = rate(random, 120),
        .immediate = random.int(u8),
        .stuck = if (random.uintLessThan(u32, 4) == 0) random.uintAtMost(u8, 30) else 0,
        .uncancellable = rate(random, 255),
        .stale = rate(random, 120),
        .others = rate(random, 20),
        .uncached = rate(random, 255),
        .latency_ns_max = ([_]u64{ 0, 5_000, 100_000, 2_000_000 })[random.uintLessThan(usize, 4)],
    };
}

/// Some seeds also follow a plan of rules, as users of `bun-aio/testing` write them.
pub fn makeRules(random: std.Random, rules: *faults.Rules) void {
    rules.* = .{};
    if (random.uintLessThan(u32, 4) != 0) return;
    for (0..random.intRangeAtMost(usize, 1, 3)) |_| {
        var rule: faults.Rule = .{
            .operation = random.enumValue(faults.Operation),
            .nth = if (random.boolean()) random.uintAtMost(u32, 6) else 0,
            .every = if (random.boolean()) random.uintAtMost(u32, 6) else 0,
            .probability = random.uintAtMost(u32, 65536),
            .times = random.uintAtMost(u32, 4),
        };
        if (random.boolean()) {
            rule.offset = random.uintLessThan(u64, model_file.bytes_max);
            rule.length = random.uintLessThan(u64, 8192);
        }
        switch (random.uintLessThan(u32, 4)) {
            0 => rule.errno = @intFromEnum(std.posix.E.IO),
            1 => rule.latency_ns = random.uintLessThan(u64, 50_000_000),
            2 => {
                rule.is_torn = true;
                rule.operation = .write;
                rule.torn = random.uintLessThan(u64, 4096);
            },
            else => rule.errno = @intFromEnum(std.posix.E.NOSPC),
        }
        _ = rules.add(rule);
    }
}

/// Makes what a disk of this seed looks like, in the place of another.
pub fn makeDisk(random: std.Random, disk: *fake.Disk) void {
    const grows = random.boolean();
    const strict = random.uintLessThan(u32, 3) == 0;
    const sector: u32 = if (random.uintLessThan(u32, 4) == 0) 4096 else 512;
    const sectors = model_file.bytes_max / sector;
    const size = if (grows)
        random.uintAtMost(u64, model_file.bytes_max / 2)
    else
        random.intRangeAtMost(u64, 1, sectors) * sector;
    disk.drive.deinit();
    disk.* = .{
        .drive = Drive.init(model_file.bytes_max, sector).?,
        .size = size,
        .grows = grows,
        .refuses_now = random.uintLessThan(u32, 4) == 0,
        .is_tmpfs = random.boolean(),
        .refuses_cached = random.boolean(),
        .alignment = if (strict) sector else 1,
        .memory_alignment = if (strict) 512 else 1,
        .kind = if (grows) .regular else .disk,
        .refuses_aio = random.uintLessThan(u32, 4) == 0,
        .frees_pages = grows and !strict and random.boolean(),
        .reserves_by_writing = random.boolean(),
    };
    makeRules(random, &disk.rules);
}

/// Fills in a free call; false when the range it chose is taken.
pub fn makeCall(plan: *const Plan, random: std.Random, oracle: *Oracle, fds: []const i32, call: *Call) bool {
    call.kind = plan.chooseKind(random);
    call.file = random.uintLessThan(u32, plan.files);
    call.fd = fds[call.file];
    const model = &oracle.models[call.file];
    const disk = model.disk;
    const unit = disk.alignment;
    call.offset = 0;
    call.length = 0;
    call.iovec_count = 0;
    call.in_slab = false;
    call.lock_start = 0;
    call.lock_end = 0;
    switch (call.kind) {
        .read, .write, .readv, .writev, .discard, .write_zeroes => chooseRange(plan, random, call, model, unit),
        .truncate => {
            if (!disk.grows) return false;
            call.offset = random.uintAtMost(u64, model_file.bytes_max / 2);
            call.lock_start = @min(call.offset, model.size);
            call.lock_end = std.math.maxInt(u64);
        },
        .allocate => {
            if (!disk.grows) return false;
            chooseRange(plan, random, call, model, unit);
            call.lock_start = @min(call.lock_start, model.size);
            call.lock_end = std.math.maxInt(u64);
        },
        .open => {
            const path = std.fmt.bufPrintSentinel(oracle.memory.bytes(call.slot)[0..64], "fake:{d}", .{call.file}, 0) catch unreachable;
            _ = path;
            call.in_slab = true;
            return true;
        },
        else => {
            call.in_slab = random.boolean();
            return true;
        },
    }
    if (call.kind == .discard or call.kind == .write_zeroes) {
        if (disk.grows and call.offset < model.size) call.length = @min(call.length, model.size - call.offset);
        if (call.offset + call.length > model.size) return false;
    }
    if (!oracle.lockable(call.file, call.lock_start, call.lock_end, call.changes())) return false;
    if (call.isTransfer()) makeBuffer(random, oracle, call, unit);
    return true;
}

fn chooseRange(plan: *const Plan, random: std.Random, call: *Call, model: *const Model, unit: u64) void {
    const length = switch (random.uintLessThan(u32, 8)) {
        0 => 0,
        1 => 1,
        2 => plan.length_max,
        3 => @min(plan.length_max, 512),
        else => random.uintAtMost(u64, plan.length_max),
    };
    const offset = switch (random.uintLessThan(u32, 8)) {
        0 => model.size,
        1 => model.size -| length / 2,
        else => random.uintLessThan(u64, model_file.bytes_max),
    };
    call.length = std.mem.alignBackward(u64, length, unit);
    // Kernels do something else from the start of a page.
    const clears = call.kind == .discard or call.kind == .write_zeroes;
    const step = if (clears and random.boolean()) @max(unit, page_bytes) else unit;
    call.offset = std.mem.alignBackward(u64, offset, step);
    call.lock_start = call.offset;
    call.lock_end = call.offset + call.length;
    // What meets the end of a growing file depends on everybody who moves the end.
    if (model.disk.grows and call.lock_end > model.size) {
        if (call.changes()) call.lock_start = @min(call.lock_start, model.size);
        call.lock_end = std.math.maxInt(u64);
    }
}

fn makeBuffer(random: std.Random, oracle: *Oracle, call: *Call, unit: u32) void {
    if (call.kind == .readv or call.kind == .writev) {
        call.iovec_count = random.intRangeAtMost(u32, 1, memory_file.iovecs_max);
        // Some callers do not care that a disk wants whole sectors of each buffer.
        const cut = if (random.uintLessThan(u32, 32) == 0) 1 else unit;
        oracle.memory.makeVector(call.slot, random, call.length, call.iovec_count, cut);
    } else {
        call.in_slab = random.boolean();
    }
    const buffer = oracle.memory.bytes(call.slot)[0..call.length];
    if (call.isWrite()) Model.pattern(oracle.orders + 1, buffer) else @memset(buffer, 0xaa);
}
