//! The limit: what one thread can read through io_uring with nothing around it. Keeps `depth`
//! reads in flight, submits and reaps in one system call, and prints one JSON line in the shape
//! of the `Sample` of job.ts. Compiled and started by contestants/bare_loop.ts.
//!
//! Usage: bare_loop PATH direct|cached random|sequential BLOCK_SIZE DEPTH SPAN WARM_UP_NS
//!        MEASURED_NS SEED [FEATURE]
//!
//! FEATURE (default `plain`) is one of the ways io_uring has to spare the kernel work (ring_features.ts).

const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;

const depth_max = 4096;
/// Reads between two looks at the clock, as in children/meter.ts.
const reads_per_look = 16;
/// Every 4 KiB block begins with its own offset (stamps.ts).
const stamp_every_bytes = 4096;

const Feature = enum { plain, registered_file, registered_buffers, submission_polling };

const Job = struct {
    path: [:0]const u8,
    direct: bool,
    sequential: bool,
    block_size: u32,
    depth: u16,
    span: u64,
    warm_up_ns: u64,
    measured_ns: u64,
    seed: u32,
    feature: Feature,

    fn parse(args: std.process.Args) !Job {
        var it = args.iterate();
        _ = it.skip();
        const job: Job = .{
            .path = it.next() orelse return error.MissingArgument,
            .direct = try word(&it, "direct", "cached"),
            .sequential = try word(&it, "sequential", "random"),
            .block_size = try number(&it, u32),
            .depth = try number(&it, u16),
            .span = try number(&it, u64),
            .warm_up_ns = try number(&it, u64),
            .measured_ns = try number(&it, u64),
            .seed = try number(&it, u32),
            .feature = try featureOf(&it),
        };
        if (job.depth == 0 or job.depth > depth_max) return error.DepthOutOfRange;
        if (job.block_size == 0 or job.span % job.block_size != 0) return error.UnevenSpan;
        return job;
    }

    fn featureOf(it: *std.process.Args.Iterator) !Feature {
        const text = it.next() orelse return .plain;
        return std.meta.stringToEnum(Feature, text) orelse error.UnknownFeature;
    }

    fn word(it: *std.process.Args.Iterator, yes: []const u8, no: []const u8) !bool {
        const text = it.next() orelse return error.MissingArgument;
        if (std.mem.eql(u8, text, yes)) return true;
        if (std.mem.eql(u8, text, no)) return false;
        return error.UnknownWord;
    }

    fn number(it: *std.process.Args.Iterator, comptime T: type) !T {
        return std.fmt.parseInt(T, it.next() orelse return error.MissingArgument, 10);
    }
};

/// The walk of children/offsets.ts: xorshift32 over whole blocks, or one block after the other.
const Offsets = struct {
    state: u32,
    next_sequential: u64 = 0,

    fn next(offsets: *Offsets, job: *const Job) u64 {
        if (job.sequential) {
            const offset = offsets.next_sequential;
            offsets.next_sequential = (offset + job.block_size) % job.span;
            return offset;
        }
        offsets.state ^= offsets.state << 13;
        offsets.state ^= offsets.state >> 17;
        offsets.state ^= offsets.state << 5;
        return (offsets.state % (job.span / job.block_size)) * job.block_size;
    }
};

const Mark = struct {
    now_ns: u64,
    cpu_us: u64,
    operations: u64,

    fn take(operations: u64) Mark {
        var usage: linux.rusage = undefined;
        const rc = linux.getrusage(linux.rusage.SELF, &usage);
        assert(linux.errno(rc) == .SUCCESS);
        return .{
            .now_ns = monotonic_ns(),
            .cpu_us = microseconds(usage.utime) + microseconds(usage.stime),
            .operations = operations,
        };
    }

    fn microseconds(time: linux.timeval) u64 {
        return @as(u64, @intCast(time.sec)) * 1_000_000 + @as(u64, @intCast(time.usec));
    }
};

const Loop = struct {
    job: *const Job,
    ring: linux.IoUring,
    fd: linux.fd_t,
    memory: []u8,
    offsets: Offsets,
    /// The offset that each slot reads, to check its data at the end.
    slot_offsets: [depth_max]u64 = undefined,
    cqes: [depth_max]linux.io_uring_cqe = undefined,

    fn buffer(loop: *const Loop, slot: u16) []u8 {
        const size = loop.job.block_size;
        return loop.memory[@as(usize, slot) * size ..][0..size];
    }

    fn queue(loop: *Loop, slot: u16) !void {
        const offset = loop.offsets.next(loop.job);
        loop.slot_offsets[slot] = offset;
        const memory = loop.buffer(slot);
        switch (loop.job.feature) {
            .plain, .submission_polling => {
                _ = try loop.ring.read(slot, loop.fd, .{ .buffer = memory }, offset);
            },
            .registered_file => {
                const sqe = try loop.ring.read(slot, 0, .{ .buffer = memory }, offset);
                sqe.flags |= linux.IOSQE_FIXED_FILE;
            },
            .registered_buffers => {
                var vector: std.posix.iovec = .{ .base = memory.ptr, .len = memory.len };
                _ = try loop.ring.read_fixed(slot, loop.fd, &vector, offset, 0);
            },
        }
    }

    fn register(loop: *Loop) !void {
        switch (loop.job.feature) {
            .plain, .submission_polling => {},
            .registered_file => try loop.ring.register_files(&.{loop.fd}),
            .registered_buffers => {
                const all: std.posix.iovec = .{ .base = loop.memory.ptr, .len = loop.memory.len };
                try loop.ring.register_buffers(&.{all});
            },
        }
    }

    /// Submits what is queued, waits for one completion, takes all there are.
    fn turn(loop: *Loop) ![]linux.io_uring_cqe {
        _ = loop.ring.submit_and_wait(1) catch |err| switch (err) {
            error.SignalInterrupt => return loop.cqes[0..0],
            else => return err,
        };
        const count = try loop.ring.copy_cqes(loop.cqes[0..loop.job.depth], 0);
        for (loop.cqes[0..count]) |cqe| {
            if (cqe.res < 0) return error.ReadFailed;
            if (cqe.res != loop.job.block_size) return error.ShortRead;
        }
        return loop.cqes[0..count];
    }

    fn measure(loop: *Loop) !struct { begin: Mark, end: Mark } {
        for (0..loop.job.depth) |slot| try loop.queue(@intCast(slot));

        const started_ns = monotonic_ns();
        var begin: ?Mark = null;
        var operations: u64 = 0;
        var look_at: u64 = reads_per_look;
        while (true) {
            for (try loop.turn()) |cqe| {
                operations += 1;
                try loop.queue(@intCast(cqe.user_data));
            }
            if (operations < look_at) continue;
            look_at = operations + reads_per_look;

            const now_ns = monotonic_ns();
            if (begin) |mark| {
                if (now_ns - mark.now_ns < loop.job.measured_ns) continue;
                const end = Mark.take(operations);
                try loop.drain();
                return .{ .begin = mark, .end = end };
            } else if (now_ns - started_ns >= loop.job.warm_up_ns) {
                begin = Mark.take(operations);
            }
        }
    }

    fn drain(loop: *Loop) !void {
        var left: usize = loop.job.depth;
        while (left > 0) left -= (try loop.turn()).len;
    }

    fn check_data(loop: *const Loop) !void {
        for (0..loop.job.depth) |slot| {
            const data = loop.buffer(@intCast(slot));
            var at: usize = 0;
            while (at < data.len) : (at += stamp_every_bytes) {
                const found = std.mem.readInt(u64, data[at..][0..8], .little);
                if (found != loop.slot_offsets[slot] + at) return error.WrongData;
            }
        }
    }
};

const RingFlags = struct { bits: u32, name: []const u8 };

/// Best first; an older kernel answers EINVAL to what it does not know.
const ring_flags = [_]RingFlags{
    .{
        .bits = linux.IORING_SETUP_SINGLE_ISSUER | linux.IORING_SETUP_DEFER_TASKRUN |
            linux.IORING_SETUP_COOP_TASKRUN,
        .name = "SINGLE_ISSUER|DEFER_TASKRUN|COOP_TASKRUN",
    },
    .{
        .bits = linux.IORING_SETUP_SINGLE_ISSUER | linux.IORING_SETUP_COOP_TASKRUN,
        .name = "SINGLE_ISSUER|COOP_TASKRUN",
    },
    .{ .bits = linux.IORING_SETUP_COOP_TASKRUN, .name = "COOP_TASKRUN" },
    .{ .bits = 0, .name = "no flags" },
};

fn open_ring(depth: u16, feature: Feature) !struct { linux.IoUring, []const u8 } {
    const entries = try std.math.ceilPowerOfTwo(u16, depth);
    if (feature == .submission_polling) {
        // The kernel's thread gives entries back some time after it has taken them.
        const room = entries * 2;
        return .{ try linux.IoUring.init(room, linux.IORING_SETUP_SQPOLL), "SQPOLL" };
    }
    for (ring_flags) |flags| {
        const ring = linux.IoUring.init(entries, flags.bits) catch |err| switch (err) {
            error.ArgumentsInvalid => continue,
            else => return err,
        };
        return .{ ring, flags.name };
    }
    return error.NoFlagsAccepted;
}

fn open_target(job: *const Job) !linux.fd_t {
    const rc = linux.open(job.path, .{ .DIRECT = job.direct, .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return error.OpenFailed;
    return @intCast(rc);
}

fn map_buffers(size: usize) ![]u8 {
    const rc = linux.mmap(
        null,
        size,
        .{ .READ = true, .WRITE = true },
        .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .POPULATE = true },
        -1,
        0,
    );
    if (linux.errno(rc) != .SUCCESS) return error.OutOfMemory;
    return @as([*]u8, @ptrFromInt(rc))[0..size];
}

fn monotonic_ns() u64 {
    var time: linux.timespec = undefined;
    const rc = linux.clock_gettime(.MONOTONIC, &time);
    assert(linux.errno(rc) == .SUCCESS);
    return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
}

/// Resident memory now: the second field of statm counts pages.
fn resident_bytes() !u64 {
    const rc = linux.open("/proc/self/statm", .{ .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return error.OpenFailed;
    var text: [128]u8 = undefined;
    const length = linux.read(@intCast(rc), &text, text.len);
    if (linux.errno(length) != .SUCCESS) return error.ReadFailed;
    var fields = std.mem.tokenizeScalar(u8, text[0..length], ' ');
    _ = fields.next() orelse return error.UnexpectedFormat;
    const pages = fields.next() orelse return error.UnexpectedFormat;
    return try std.fmt.parseInt(u64, pages, 10) * std.heap.pageSize();
}

pub fn main(init: std.process.Init.Minimal) !void {
    const job = try Job.parse(init.args);
    const ring, const flags_name = try open_ring(job.depth, job.feature);
    var loop: Loop = .{
        .job = &job,
        .ring = ring,
        .fd = try open_target(&job),
        .memory = try map_buffers(@as(usize, job.depth) * job.block_size),
        // Zero is the one state that xorshift never leaves.
        .offsets = .{ .state = if (job.seed == 0) 1 else job.seed },
    };
    try loop.register();
    const marks = try loop.measure();
    try loop.check_data();

    const elapsed_ns: f64 = @floatFromInt(marks.end.now_ns - marks.begin.now_ns);
    const cpu_us: f64 = @floatFromInt(marks.end.cpu_us - marks.begin.cpu_us);
    var line: [512]u8 = undefined;
    const text = try std.fmt.bufPrint(
        &line,
        "{{\"operations\":{d},\"seconds\":{d:.9},\"cpuSeconds\":{d:.6},\"rssBytes\":{d}," ++
            "\"detail\":\"{s}\"}}\n",
        .{
            marks.end.operations - marks.begin.operations,
            elapsed_ns / std.time.ns_per_s,
            cpu_us / std.time.us_per_s,
            try resident_bytes(),
            flags_name,
        },
    );
    if (linux.write(1, text.ptr, text.len) != text.len) return error.WriteFailed;
}
