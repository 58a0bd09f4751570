//! The simulated device of `bun-aio/testing`: a kernel lane over one device in memory with a
//! fault plan, under the real engine. One seed decides in which order requests end that could end
//! at the same time, and what a crash leaves: the same calls give the same run. Only latencies
//! take real time.
//!
//! Nothing fails that the user did not request. (The fuzzer has a kernel of its own, with virtual
//! time: `fake/kernel.zig`.)

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const Drive = @import("drive.zig").Drive;
const faults = @import("faults.zig");
const lane = @import("../engine/lane.zig");
const os = @import("../os/os.zig");
const Overlay = @import("overlay.zig").Overlay;
const Iovec = @import("../os/iovec.zig").Iovec;
const Operation = @import("../engine/operation.zig").Operation;
const Refusal = @import("../os/refusal.zig").Refusal;
const E = std.posix.E;
const negative = os.negative;

/// No process can have a descriptor with this number (fs.nr_open is 2^30 at most), so a mistake
/// with it never affects another file.
const fd: i32 = 0x7000_0000;

/// MAX_ERRNO of Linux (include/linux/err.h); the numbers of other systems are smaller.
const errno_max = 4095;

/// A request in flight on the device.
const Request = struct {
    operation: *Operation,
    verdict: faults.Verdict = .{},
    /// Earliest time to end; 0 for requests that can end at once.
    due_ns: u64 = 0,
    /// Syncs: the last write they cover.
    sequence: u64 = 0,
    /// The result of a command, which is executed on submission.
    result: ?isize = null,
};

const Medium = union(enum) {
    drive: Drive,
    overlay: Overlay,
};

pub const SimulatedDevice = struct {
    medium: Medium,
    size: u64,
    sector_size: u32,
    /// Alignment of offsets and lengths, and of addresses, in bytes.
    alignment: u32,
    memory_alignment: u32,
    prng: std.Random.DefaultPrng,
    seed: u32,
    rules: faults.Rules = .{},
    rule_count: u32 = 0,
    /// Rules that were added at each place, and how many of those hold nothing up any more.
    added: [faults.rules_max]u32 = @splat(0),
    lifted: [faults.rules_max]u32 = @splat(0),
    memory: []align(std.heap.page_size_min) u8,
    /// Requests that can end, in any order.
    ready: []Request,
    ready_count: u32 = 0,
    /// Requests that must wait for their time, or for the end of a rule, in order of submission.
    delayed: []Request,
    delayed_count: u32 = 0,
    /// Whether a write is on the medium when it completes.
    dsync: bool,
    /// Without power, or unplugged: permanent.
    gone: bool = false,
    system_calls: u64 = 0,
    submit_calls: u64 = 0,

    pub fn init(self: *SimulatedDevice, wanted: abi.RingOptions) ?Refusal {
        const invalid: Refusal = .of(.INVAL, .setup);
        const no_memory: Refusal = .of(.NOMEM, .mmap);
        if (!(wanted.device_bytes >= 1) or wanted.device_bytes > 0x1p53) return invalid;
        const sector_size = wanted.device_sector_size;
        if (sector_size == 0 or !std.math.isPowerOfTwo(sector_size)) return invalid;
        const memory_alignment = @max(wanted.device_memory_alignment, 1);
        if (!std.math.isPowerOfTwo(memory_alignment)) return invalid;
        const size: u64 = @intFromFloat(wanted.device_bytes);
        const depth = wanted.queue_depth;
        const memory = os.mapMemory(2 * depth * @sizeOf(Request)) orelse return no_memory;
        const requests: [*]Request = @ptrCast(@alignCast(memory.ptr));
        const strict = wanted.device_flags & abi.DeviceFlag.strict != 0;
        self.* = .{
            .medium = makeMedium(wanted, size) orelse {
                os.unmapMemory(memory);
                return no_memory;
            },
            .size = size,
            .sector_size = sector_size,
            .alignment = if (strict) sector_size else 1,
            .memory_alignment = if (strict) memory_alignment else 1,
            .prng = .init(wanted.device_seed),
            .seed = wanted.device_seed,
            .memory = memory,
            .ready = requests[0..depth],
            .delayed = requests[depth .. 2 * depth],
            .dsync = wanted.device_flags & abi.DeviceFlag.dsync != 0,
        };
        return null;
    }

    fn makeMedium(wanted: abi.RingOptions, size: u64) ?Medium {
        const sector_size = wanted.device_sector_size;
        if (wanted.device_flags & abi.DeviceFlag.overlay != 0) {
            return .{ .overlay = Overlay.init(wanted.device_base_fd, size, sector_size) orelse return null };
        }
        return .{ .drive = Drive.init(size, sector_size) orelse return null };
    }

    pub fn deinit(self: *SimulatedDevice) void {
        assert(self.ready_count + self.delayed_count == 0);
        switch (self.medium) {
            inline else => |*medium| medium.deinit(),
        }
        os.unmapMemory(self.memory);
    }

    pub fn features(_: *const SimulatedDevice) u32 {
        return 0;
    }

    pub fn capability(_: *const SimulatedDevice, _: abi.Kind) lane.Capability {
        return .yes;
    }

    // The lane -----------------------------------------------------------------------------------

    pub fn submit(self: *SimulatedDevice, operations: []const *Operation, verdicts: []lane.Verdict) void {
        self.system_calls += 1;
        self.submit_calls += 1;
        for (operations, verdicts) |operation, *verdict| {
            self.take(operation);
            verdict.* = .accepted;
        }
    }

    fn take(self: *SimulatedDevice, operation: *Operation) void {
        var request: Request = .{ .operation = operation };
        if (operation.kind == .device_command) {
            request.result = self.obey(operation);
            // Answers in order, and draws nothing from the seed.
            return self.delay(request);
        } else if (operation.isSync() and self.medium == .drive) {
            request.sequence = self.medium.drive.sequence;
        }
        if (self.rule_count > 0) request.verdict = self.consult(operation);
        const waits = request.verdict.latency_ns > 0 or request.verdict.held_by != 0;
        if (!waits or self.gone) return self.push(request);
        request.due_ns = os.monotonicNs() + request.verdict.latency_ns;
        self.delay(request);
    }

    fn delay(self: *SimulatedDevice, request: Request) void {
        self.delayed[self.delayed_count] = request;
        self.delayed_count += 1;
    }

    fn push(self: *SimulatedDevice, request: Request) void {
        self.ready[self.ready_count] = request;
        self.ready_count += 1;
    }

    fn consult(self: *SimulatedDevice, operation: *const Operation) faults.Verdict {
        const kind: faults.Operation = switch (operation.kind) {
            .read, .readv => .read,
            .write, .writev, .write_zeroes => .write,
            .sync_all, .sync_data => .sync,
            .discard => .discard,
            else => return .{},
        };
        const moves = operation.isTransfer();
        const offset = if (moves) operation.piece.offset else operation.offset;
        const bytes = if (moves) operation.piece.bytes else operation.length;
        return self.rules.consult(self.prng.random(), kind, offset, bytes);
    }

    pub fn reap(self: *SimulatedDevice, out: []lane.Reaped) usize {
        var count: usize = 0;
        if (self.delayed_count > 0) {
            const now_ns = os.monotonicNs();
            while (count < out.len) : (count += 1) {
                const request = self.popDue(now_ns) orelse break;
                out[count] = self.end(request);
            }
        }
        while (count < out.len and self.ready_count > 0) : (count += 1) {
            out[count] = self.end(self.popReady());
        }
        return count;
    }

    fn popReady(self: *SimulatedDevice) Request {
        const index = if (self.ready_count == 1)
            0
        else
            self.prng.random().uintLessThan(u32, self.ready_count);
        const request = self.ready[index];
        self.ready_count -= 1;
        self.ready[index] = self.ready[self.ready_count];
        return request;
    }

    /// The request that has been due for longest.
    fn popDue(self: *SimulatedDevice, now_ns: u64) ?Request {
        const index = self.nextDue() orelse return null;
        if (self.delayed[index].due_ns > now_ns) return null;
        return self.removeDelayed(index);
    }

    /// The delayed request that is due first; the oldest of several.
    fn nextDue(self: *const SimulatedDevice) ?u32 {
        var next: ?u32 = null;
        for (self.delayed[0..self.delayed_count], 0..) |*request, index| {
            if (request.verdict.held_by != 0) continue;
            if (next == null or request.due_ns < self.delayed[next.?].due_ns) next = @intCast(index);
        }
        return next;
    }

    /// Ends the hangs of the first `added` rules of this place, those to come included.
    pub fn lift(self: *SimulatedDevice, place: u32, added: u32) void {
        self.lifted[place] = @max(self.lifted[place], added);
        if (self.added[place] > self.lifted[place]) return;
        self.rules.rules[place].hang = false;
        self.release(@as(u64, 1) << @intCast(place));
    }

    /// Lets requests go that these rules hold up.
    fn release(self: *SimulatedDevice, rules: u64) void {
        for (self.delayed[0..self.delayed_count]) |*request| request.verdict.held_by &= ~rules;
    }

    fn removeDelayed(self: *SimulatedDevice, index: u32) Request {
        const request = self.delayed[index];
        const behind = self.delayed[index + 1 .. self.delayed_count];
        std.mem.copyForwards(Request, self.delayed[index..], behind);
        self.delayed_count -= 1;
        return request;
    }

    pub fn cancel(self: *SimulatedDevice, operation: *Operation) lane.Cancellation {
        for (self.ready[0..self.ready_count], 0..) |*request, index| {
            if (request.operation != operation) continue;
            self.ready_count -= 1;
            self.ready[index] = self.ready[self.ready_count];
            return .removed;
        }
        for (self.delayed[0..self.delayed_count], 0..) |*request, index| {
            if (request.operation != operation) continue;
            // A disk that does not answer does not answer to this either.
            if (request.verdict.held_by != 0) return .requested;
            _ = self.removeDelayed(@intCast(index));
            return .removed;
        }
        unreachable; // the engine cancels only what the lane has
    }

    pub fn arm(self: *const SimulatedDevice) bool {
        return self.ready_count == 0;
    }

    pub fn disarm(_: *SimulatedDevice) void {}

    pub fn cancelAll(self: *SimulatedDevice, _: u32) void {
        self.release(std.math.maxInt(u64));
    }

    /// Milliseconds until the next delayed request is due: nothing rings for it.
    pub fn dueMs(self: *const SimulatedDevice, now_ns: u64) ?u32 {
        const due_ns = self.delayed[self.nextDue() orelse return null].due_ns;
        const ms = (due_ns -| now_ns) / std.time.ns_per_ms + 1;
        return @intCast(@min(ms, std.math.maxInt(i32)));
    }

    // What requests do ---------------------------------------------------------------------------

    fn end(self: *SimulatedDevice, request: Request) lane.Reaped {
        const token = request.operation.token();
        return .{ .token = token, .result = request.result orelse self.execute(&request) };
    }

    fn execute(self: *SimulatedDevice, request: *const Request) isize {
        const operation = request.operation;
        const verdict = &request.verdict;
        if (operation.kind == .close) return 0;
        if (verdict.crash or verdict.unplug) self.cutPower(request);
        if (self.gone) return negative(.NXIO);
        return switch (operation.kind) {
            .read, .readv, .write, .writev => self.transfer(operation, verdict),
            .sync_all, .sync_data => self.sync(request),
            .discard, .write_zeroes => self.clear(operation, verdict),
            .open, .probe, .stat => self.describeFile(operation),
            .geometry => self.describeDevice(operation),
            .invalidate_cache, .reread_partitions => 0,
            .truncate => negative(.INVAL),
            .close, .device_command => unreachable,
            else => negative(.OPNOTSUPP),
        };
    }

    fn transfer(self: *SimulatedDevice, operation: *Operation, verdict: *const faults.Verdict) isize {
        if (!self.isAligned(operation)) return negative(.INVAL);
        const piece = operation.piece;
        const is_read = operation.isRead();
        // From a rule for any operation: reads cannot be torn.
        if (verdict.torn != null and !is_read) {
            const result = self.move(operation, verdict.torn.?);
            if (result < 0) return result;
            return if (verdict.errno == 0) negative(.IO) else -@as(isize, verdict.errno);
        }
        if (verdict.errno != 0) return -@as(isize, verdict.errno);
        if (!is_read and piece.bytes > 0 and piece.offset >= self.size) return negative(.NOSPC);
        const result = self.move(operation, verdict.limit);
        if (!is_read and result >= 0) self.written();
        return result;
    }

    /// A write has succeeded.
    fn written(self: *SimulatedDevice) void {
        if (self.dsync and self.medium == .drive) self.medium.drive.sync(self.medium.drive.sequence);
    }

    fn isAligned(self: *const SimulatedDevice, operation: *const Operation) bool {
        return operation.piece.isAligned(self.alignment, self.memory_alignment);
    }

    /// Transfers at most `limit` bytes between memory and medium, up to the end of the device.
    fn move(self: *SimulatedDevice, operation: *const Operation, limit: u64) isize {
        const piece = operation.piece;
        const is_read = operation.isRead();
        const total = @min(piece.bytes, limit, self.size -| piece.offset);
        var plain: [1]Iovec = undefined;
        var done: u64 = 0;
        for (piece.buffers(&plain)) |buffer| {
            const bytes = @min(buffer.len, total - done);
            if (bytes == 0) continue;
            const memory = @as([*]u8, @ptrFromInt(buffer.base))[0..bytes];
            const offset = piece.offset + done;
            const result = switch (self.medium) {
                inline else => |*medium| resultOf(
                    if (is_read) medium.read(offset, memory) else medium.write(offset, memory),
                ),
            };
            // Like a kernel: bytes transferred before the failure count, and the next request
            // fails.
            if (result < 0) return if (done > 0 and self.alignment == 1) @intCast(done) else result;
            done += bytes;
        }
        assert(done == total);
        return @intCast(total);
    }

    fn sync(self: *SimulatedDevice, request: *const Request) isize {
        // A failed sync makes nothing durable.
        if (request.verdict.errno != 0) return -@as(isize, request.verdict.errno);
        switch (self.medium) {
            .drive => |*drive| drive.sync(request.sequence),
            .overlay => {},
        }
        return 0;
    }

    fn clear(self: *SimulatedDevice, operation: *Operation, verdict: *const faults.Verdict) isize {
        const offset = operation.offset;
        const length = operation.length;
        if (offset > self.size or length > self.size - offset) return negative(.INVAL);
        const failed = verdict.errno != 0 or verdict.torn != null;
        const done = if (verdict.torn) |bytes| @min(bytes, length) else if (failed) 0 else length;
        const result = self.zero(offset, done);
        if (result < 0) return result;
        if (failed) return if (verdict.errno == 0) negative(.IO) else -@as(isize, verdict.errno);
        self.written();
        const method: abi.Method = if (operation.kind == .discard) .discard else .zeroout;
        operation.detail = @intFromEnum(method);
        return 0;
    }

    fn zero(self: *SimulatedDevice, offset: u64, length: u64) isize {
        return switch (self.medium) {
            inline else => |*medium| resultOf(medium.zero(offset, length)),
        };
    }

    /// Only the base of an overlay can fail.
    fn resultOf(result: anytype) isize {
        return if (@TypeOf(result) == void) 0 else result;
    }

    /// Ends everything in flight. Writes among it may have reached the medium like any other
    /// unsynced write.
    fn cutPower(self: *SimulatedDevice, cause: ?*const Request) void {
        if (self.gone) return;
        while (self.delayed_count > 0) self.push(self.removeDelayed(0));
        if (self.medium == .drive) {
            if (cause) |request| self.writeInFlight(request);
            for (self.ready[0..self.ready_count]) |*request| self.writeInFlight(request);
            self.medium.drive.crash(self.prng.random());
        }
        self.gone = true;
    }

    fn writeInFlight(self: *SimulatedDevice, request: *const Request) void {
        const operation = request.operation;
        const verdict = &request.verdict;
        if (request.result != null or (verdict.errno != 0 and verdict.torn == null)) return;
        switch (operation.kind) {
            .write, .writev => {
                if (!self.isAligned(operation)) return;
                _ = self.move(operation, @min(verdict.limit, verdict.torn orelse verdict.limit));
            },
            .write_zeroes, .discard => {
                if (operation.offset > self.size) return;
                const bytes = @min(operation.length, self.size - operation.offset);
                _ = self.zero(operation.offset, @min(bytes, verdict.torn orelse bytes));
            },
            else => {},
        }
    }

    // What it says of itself ---------------------------------------------------------------------

    fn describeFile(self: *const SimulatedDevice, operation: *const Operation) isize {
        const info: *abi.FileInfo = @ptrFromInt(operation.address);
        info.* = std.mem.zeroes(abi.FileInfo);
        info.fd = fd;
        info.kind = @intFromEnum(abi.FileKind.disk);
        info.memory_alignment = self.memory_alignment;
        info.offset_alignment = self.alignment;
        info.direct = @intFromBool(self.alignment > 1);
        info.readable = 1;
        info.writable = 1;
        info.mode = 0o060600;
        info.nlink = 1;
        info.size = @floatFromInt(self.size);
        info.blksize = @floatFromInt(self.sector_size);
        return 0;
    }

    fn describeDevice(self: *const SimulatedDevice, operation: *const Operation) isize {
        const out: *abi.Geometry = @ptrFromInt(operation.address);
        const sector: f64 = @floatFromInt(self.sector_size);
        out.* = .{
            .size = @floatFromInt(self.size),
            .logical_sector_size = sector,
            .physical_sector_size = sector,
            .minimum_io_size = sector,
            .alignment_offset = 0,
            .rotational = 0,
            .read_only = 0,
        };
        const model = if (self.medium == .overlay) "overlay" else "simulated";
        @memcpy(out.model[0..model.len], model);
        // An overlay does not depend on the seed.
        if (self.medium == .overlay) return 0;
        _ = std.fmt.bufPrint(&out.serial, "seed {d}", .{self.seed}) catch unreachable;
        return 0;
    }

    // Commands -----------------------------------------------------------------------------------

    fn obey(self: *SimulatedDevice, operation: *Operation) isize {
        const invalid = negative(.INVAL);
        const command = std.enums.fromInt(abi.DeviceCommand, operation.argument) orelse return invalid;
        switch (command) {
            .add_rule => return self.addRule(@ptrFromInt(operation.address)),
            .remove_rule => {
                const place = operation.mode;
                if (place >= faults.rules_max or !self.rules.rules[place].active) return invalid;
                self.rules.remove(place);
                self.rule_count -= 1;
                self.lift(place, self.added[place]);
            },
            .crash => {
                operation.detail = @intFromBool(self.gone);
                self.cutPower(null);
            },
            .read_image, .write_image => {
                const offset = operation.offset;
                const length = operation.length;
                if (self.medium != .drive) return negative(.OPNOTSUPP);
                if (length == 0) return 0;
                const drive = &self.medium.drive;
                const memory = @as([*]u8, @ptrFromInt(operation.address))[0..length];
                if (command == .write_image) return if (drive.unpack(memory)) 0 else invalid;
                operation.detail = @intCast(drive.pack(offset, memory[0..@min(length, std.math.maxInt(u32))]));
            },
            .ask_gone => operation.detail = @intFromBool(self.gone),
        }
        return 0;
    }

    fn addRule(self: *SimulatedDevice, asked: *const abi.FaultRule) isize {
        const flags = abi.FaultFlag;
        const kind = std.enums.fromInt(faults.Operation, asked.operation) orelse return negative(.INVAL);
        if (asked.place >= faults.rules_max or self.rules.rules[asked.place].active) {
            return negative(.INVAL);
        }
        if (!mayFailWith(asked.errno)) return negative(.INVAL);
        self.added[asked.place] +|= 1;
        const is_lifted = self.added[asked.place] <= self.lifted[asked.place];
        self.rules.rules[asked.place] = .{
            .operation = kind,
            .offset = whole(asked.offset),
            .length = whole(asked.length),
            .nth = asked.nth,
            .every = asked.every,
            .probability = asked.probability,
            .times = asked.times,
            .errno = asked.errno,
            .short = whole(asked.short),
            .is_short = asked.flags & flags.short != 0,
            .torn = whole(asked.torn),
            .is_torn = asked.flags & flags.torn != 0,
            .latency_ns = whole(asked.latency_ms * std.time.ns_per_ms),
            .unplug = asked.flags & flags.unplug != 0,
            .crash = asked.flags & flags.crash != 0,
            .hang = asked.flags & flags.hang != 0 and !is_lifted,
            .active = true,
        };
        self.rule_count += 1;
        return 0;
    }

    /// Whether an error is valid: 0, or an errno of the system that the engine does not retry for
    /// ever.
    fn mayFailWith(errno: i32) bool {
        return switch (errno) {
            @intFromEnum(E.AGAIN), @intFromEnum(E.INTR) => false,
            else => errno >= 0 and errno <= errno_max,
        };
    }

    fn whole(number: f64) u64 {
        return if (number >= 0 and number < 0x1p63) @intFromFloat(number) else 0;
    }

    /// Runs of changed bytes of an overlay (`overlay.zig`).
    pub fn changes(self: *const SimulatedDevice, from: u64, out: [][2]f64) u32 {
        return switch (self.medium) {
            .drive => 0,
            .overlay => |*overlay| overlay.changes(from, out),
        };
    }
};
