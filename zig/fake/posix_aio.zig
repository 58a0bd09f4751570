//! POSIX AIO with kqueue as FreeBSD's kernel does it, under `lanes/posix_aio.zig`. The rules are
//! those of aio(4) and of `test/aio_kernel_cases.zig`. What a program must never do is caught:
//! touching or reusing a control block that runs, aio_return of one that runs, or twice.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const aio = @import("../os/aio.zig");
const fake = @import("kernel.zig");
const Iovec = @import("../os/iovec.zig").Iovec;
const E = std.posix.E;
const negative = @import("../os/os.zig").negative;

const blocks_max = 512;
const page_bytes = 4096;
/// Old events that may come once more.
const stale_max = 4;

/// What the program sees of a control block.
pub const Block = extern struct {
    fd: i32 = -1,
    opcode: u32 = 0,
    address: u64 = 0,
    length: u64 = 0,
    offset: u64 = 0,
    token: u64 = 0,
};

/// What the kernel knows of it.
const Shadow = struct {
    state: enum { unknown, running, ended, refused, returned } = .unknown,
    copy: Block = .{},
    request: ?*fake.Request = null,
    result: isize = 0,
    refused_errno: i32 = 0,
    /// Its EV_ONESHOT event waits in the kqueue.
    event: bool = false,
};

pub const Aio = struct {
    pub const Block = @import("posix_aio.zig").Block;
    pub const scan_ms: u32 = 0;

    kernel: *fake.Kernel,
    blocks: [blocks_max]Self.Block = @splat(.{}),
    shadows: [blocks_max]Shadow = @splat(.{}),
    count: u32,
    /// Queued or not yet returned.
    used: u32 = 0,
    limits_now: aio.Limits,
    /// Before 14 an EINVAL at submission leaves aio_error at 0.
    old: bool,
    stale: [stale_max]u64 = @splat(0),
    stale_count: u32 = 0,
    calls: u64 = 0,
    submit_calls: u64 = 0,

    // The waiter thread and its outer kqueue (`freebsd_aio.zig`).
    /// The AIO kqueue is enabled in the outer one (EV_DISPATCH disables it when it fires).
    enabled: bool = true,
    fired: bool = false,
    armed: bool = true,
    quiet: bool = false,
    ring_count: u64 = 0,
    turn_count: u64 = 0,

    const Self = @This();

    pub fn open(self: *Self, count: u32, wake: Os.Wake) ?@import("../os/refusal.zig").Refusal {
        _ = wake;
        assert(count <= blocks_max);
        const kernel = Os.current_kernel;
        const random = kernel.random();
        Os.current = self;
        Os.system_max = if (Os.as_documented) Os.system_max else std.math.maxInt(u32);
        self.* = .{
            .kernel = kernel,
            .count = count,
            .old = random.boolean(),
            .limits_now = .{
                .list_max = 1,
                .disk_bytes_max = 2 * page_bytes * random.intRangeAtMost(u32, 1, 3),
                .disk_iovecs_max = random.intRangeAtMost(u32, 1, 4),
                .vectors = random.boolean(),
                .syncs = random.uintLessThan(u32, 4) > 0 or Os.as_documented,
                .data_sync = random.boolean(),
            },
        };
        if (!Os.as_documented) self.setLimits();
        return null;
    }

    /// Sometimes there is no room for anybody.
    fn setLimits(self: *Self) void {
        const random = self.kernel.random();
        Os.process_max = random.intRangeAtMost(u32, 1, self.count + 4);
        Os.system_max = if (random.uintLessThan(u32, 8) == 0) 0 else std.math.maxInt(u32);
    }

    pub fn close(self: *Self) void {
        for (self.shadows[0..self.count]) |*shadow| {
            if (shadow.state == .running or shadow.state == .ended) {
                @panic("closed with control blocks that were not returned");
            }
        }
        assert(self.used == 0);
        Os.current = null;
    }

    /// What the lane must never do ends a run of the fuzzer; the cases ask for it.
    fn misuse(comptime what: []const u8) isize {
        if (!Os.as_documented) @panic(what);
        return negative(.INVAL);
    }

    pub fn limits(self: *Self) aio.Limits {
        self.limits_now.list_max = Os.process_max;
        return self.limits_now;
    }

    pub fn wakes(self: *Self) u64 {
        return self.ring_count;
    }

    /// Times the waiter came back from kevent.
    pub fn turns(self: *Self) u64 {
        return self.turn_count;
    }

    pub fn block(self: *Self, index: u32) *Self.Block {
        return &self.blocks[index];
    }

    fn shadowOf(self: *Self, made: *const Self.Block) *Shadow {
        const offset = @intFromPtr(made) - @intFromPtr(&self.blocks);
        assert(offset % @sizeOf(Self.Block) == 0);
        return &self.shadows[offset / @sizeOf(Self.Block)];
    }

    pub fn prepare(self: *Self, made: *Self.Block, request: aio.Request) void {
        const shadow = self.shadowOf(made);
        if (shadow.state == .running) @panic("a control block is reused while it runs");
        if (shadow.state == .ended) @panic("a control block is reused before its aio_return");
        made.* = .{
            .fd = request.fd,
            .opcode = @intFromEnum(request.opcode),
            .address = request.address,
            .length = request.length,
            .offset = request.offset,
            .token = request.token,
        };
        shadow.* = .{};
    }

    /// Each system call takes time, and looks at what it must not find changed.
    fn entering(self: *Self) void {
        self.calls += 1;
        self.kernel.tick();
        if (self.kernel.random().boolean()) self.waiterTurn();
        for (self.shadows[0..self.count], self.blocks[0..self.count]) |*shadow, *made| {
            if (shadow.state != .running) continue;
            if (!std.meta.eql(shadow.copy, made.*)) @panic("a running control block was touched");
        }
        // An administrator is at work.
        if (self.kernel.happens(self.kernel.weather.others / 4)) {
            if (!Os.as_documented) self.setLimits();
        }
    }

    // Submission -------------------------------------------------------------------------------

    pub fn submitList(self: *Self, blocks: []const *Self.Block) isize {
        self.entering();
        self.submit_calls += 1;
        if (blocks.len > Os.process_max) return negative(.INVAL);
        var room_refused = false;
        var other_refused = false;
        for (blocks) |made| {
            const errno = self.queue(made, askOf(made)) orelse continue;
            self.refuse(made, errno);
            if (errno == .AGAIN) room_refused = true else other_refused = true;
        }
        self.kernel.advance(self.kernel.now_ns);
        if (other_refused) return negative(.IO);
        return if (room_refused) negative(.AGAIN) else 0;
    }

    pub fn submitSync(self: *Self, made: *Self.Block, data_only: bool) isize {
        self.entering();
        self.submit_calls += 1;
        assert(self.limits_now.syncs);
        const errno = if (data_only and !self.limits_now.data_sync) E.INVAL else self.queue(made, .{
            .kind = if (data_only) .sync_data else .sync_all,
            .fd = made.fd,
            .user = made.token,
        }) orelse {
            self.kernel.advance(self.kernel.now_ns);
            return 0;
        };
        self.refuse(made, errno);
        return negative(errno);
    }

    fn askOf(made: *const Self.Block) fake.Ask {
        const opcode: aio.Opcode = @enumFromInt(made.opcode);
        switch (opcode) {
            .read, .write => return .{
                .kind = if (opcode == .read) .read else .write,
                .fd = made.fd,
                .address = made.address,
                .bytes = made.length,
                .offset = made.offset,
                .user = made.token,
            },
            .readv, .writev => {
                const pointer: [*]const Iovec = @ptrFromInt(made.address);
                const kind = if (opcode == .readv) @as(@FieldType(fake.Ask, "kind"), .readv) else .writev;
                var ask = fake.Kernel.vector(kind, made.fd, pointer[0..made.length], made.offset);
                ask.user = made.token;
                return ask;
            },
        }
    }

    /// Null: it runs. The check for room comes before the check of the descriptor.
    fn queue(self: *Self, made: *Self.Block, ask: fake.Ask) ?E {
        const kernel = self.kernel;
        const shadow = self.shadowOf(made);
        if (shadow.state == .running or shadow.state == .ended) @panic("a control block is queued twice");
        if (ask.bytes > std.math.maxInt(i64)) return .INVAL;
        if (self.used >= @min(Os.process_max, Os.system_max) or kernel.othersHoldRoom()) return .AGAIN;
        if (kernel.happens(kernel.weather.refuse)) return .AGAIN;
        if (kernel.happens(kernel.weather.refuse_hard)) {
            return if (kernel.random().boolean()) .BADF else .INVAL;
        }
        const disk = kernel.diskOf(ask.fd) orelse {
            if (!Os.as_documented) @panic("an entry names a descriptor that is not open");
            return .BADF;
        };
        const is_write = ask.kind == .write or ask.kind == .writev;
        if (is_write and !kernel.mayWrite(ask.fd)) return .BADF;
        if (disk.refuses_aio) return .OPNOTSUPP;
        if (disk.alignment > 1) {
            const is_sync = ask.kind == .sync_all or ask.kind == .sync_data;
            if (is_sync or ask.bytes % disk.alignment != 0) return .OPNOTSUPP;
            const slack: u32 = if (ask.address % page_bytes == 0) 0 else page_bytes;
            if (ask.iovec_count == 0 and ask.bytes > self.limits_now.disk_bytes_max - slack) return tooLong();
            if (ask.iovec_count > 0 and !self.fitsBios(ask, disk.alignment)) return tooLong();
        }
        self.used += 1;
        shadow.* = .{ .state = .running, .copy = made.* };
        shadow.request = kernel.start(.{ .context = self, .finish = ended }, ask);
        return null;
    }

    /// One bio for each buffer (aio_qbio, vfs_aio.c).
    fn fitsBios(self: *const Self, ask: fake.Ask, alignment: u32) bool {
        const pointer: [*]const Iovec = @ptrFromInt(ask.address);
        if (ask.iovec_count > self.limits_now.disk_iovecs_max) return false;
        for (pointer[0..ask.iovec_count]) |iovec| {
            const slack: u32 = if (iovec.base % page_bytes == 0) 0 else page_bytes;
            if (iovec.len == 0 or iovec.len % alignment != 0) return false;
            if (iovec.len > self.limits_now.disk_bytes_max - slack) return false;
        }
        return ask.bytes <= self.limits_now.disk_bytes_max;
    }

    /// The lane knows the limits: its requests never meet them.
    fn tooLong() E {
        if (!Os.as_documented) @panic("a request that the disk cannot take");
        return .OPNOTSUPP;
    }

    fn refuse(self: *Self, made: *Self.Block, errno: E) void {
        const kept: i32 = if (self.old and errno == .INVAL) 0 else @intFromEnum(errno);
        self.shadowOf(made).* = .{ .state = .refused, .refused_errno = kept };
    }

    fn ended(context: *anyopaque, request: *fake.Request) void {
        const self: *Self = @ptrCast(@alignCast(context));
        for (self.shadows[0..self.count]) |*shadow| {
            if (shadow.request != request) continue;
            shadow.state = .ended;
            shadow.request = null;
            shadow.result = request.result;
            shadow.event = true;
            self.kernel.release(request);
            return self.fire();
        }
        unreachable;
    }

    // Completion -------------------------------------------------------------------------------

    pub fn status(self: *Self, made: *const Self.Block) i32 {
        self.entering();
        const shadow = self.shadowOf(made);
        return switch (shadow.state) {
            .running => @intFromEnum(E.INPROGRESS),
            .ended => if (shadow.result < 0) @intCast(-shadow.result) else 0,
            .refused => shadow.refused_errno,
            .unknown, .returned => @intFromEnum(E.INVAL),
        };
    }

    /// aio_return before kevent discards the event.
    pub fn finish(self: *Self, made: *Self.Block) isize {
        self.entering();
        const shadow = self.shadowOf(made);
        switch (shadow.state) {
            .ended => {},
            .refused => return negative(.INVAL),
            .running => return misuse("aio_return of a control block that runs"),
            .returned, .unknown => return misuse("aio_return without a cause"),
        }
        const result = shadow.result;
        if (self.stale_count < stale_max) self.stale_count += 1;
        self.stale[self.kernel.random().uintLessThan(u32, self.stale_count)] = made.token;
        shadow.* = .{ .state = .returned };
        self.used -= 1;
        return result;
    }

    pub fn cancel(self: *Self, fd: i32, made: *Self.Block) aio.Cancel {
        self.entering();
        const shadow = self.shadowOf(made);
        if (shadow.state != .running and shadow.state != .ended) @panic("aio_cancel of nothing");
        if (fd != made.fd) @panic("aio_cancel with another descriptor");
        const request = shadow.request orelse return .runs_on;
        return if (self.kernel.cancel(request)) .canceled else .runs_on;
    }

    pub fn take(self: *Self, _: []const *Self.Block, out: []u64) usize {
        self.entering();
        const kernel = self.kernel;
        if (kernel.happens(kernel.weather.interrupted)) return 0;
        var count: usize = 0;
        if (self.stale_count > 0 and kernel.happens(kernel.weather.stale)) {
            out[0] = self.stale[kernel.random().uintLessThan(u32, self.stale_count)];
            count = 1;
        }
        const start = kernel.random().uintLessThan(u32, self.count);
        for (0..self.count) |step| {
            if (count == out.len) break;
            const index = (start + step) % self.count;
            const shadow = &self.shadows[index];
            if (!shadow.event) continue;
            shadow.event = false;
            out[count] = shadow.copy.token;
            count += 1;
        }
        return count;
    }

    // The waiter -------------------------------------------------------------------------------

    fn fire(self: *Self) void {
        if (!self.enabled) return;
        for (self.shadows[0..self.count]) |*shadow| {
            if (!shadow.event) continue;
            self.enabled = false;
            self.fired = true;
            return;
        }
    }

    /// The waiter thread comes back from kevent, at some time after it was fired.
    pub fn waiterTurn(self: *Self) void {
        if (!self.fired) return;
        self.fired = false;
        self.turn_count += 1;
        self.armed = false;
        if (self.quiet) return;
        self.ring_count += 1;
        self.kernel.ring();
    }

    pub fn arm(self: *Self, _: []const *Self.Block) bool {
        if (self.kernel.random().boolean()) self.waiterTurn();
        const was_armed = self.armed;
        self.armed = true;
        self.quiet = false;
        if (was_armed) return true;
        self.enabled = true;
        self.fire();
        return true;
    }

    pub fn disarm(self: *Self) void {
        self.quiet = true;
    }
};

/// What `lanes/posix_aio.zig` and its test cases need of a system.
pub const Os = struct {
    pub threadlocal var current_kernel: *fake.Kernel = undefined;
    /// The process's control blocks.
    pub threadlocal var current: ?*Self = null;
    /// `vfs.aio.max_aio_queue_per_proc`, and `max_aio_queue` as far as it is ours.
    pub threadlocal var process_max: u32 = 0;
    pub threadlocal var system_max: u32 = std.math.maxInt(u32);
    /// Limits stay as they are set, and misuse is answered as FreeBSD answers it.
    pub threadlocal var as_documented = false;

    pub const Wake = struct {
        pub fn open() union(enum) { wake: Wake, errno: i32 } {
            return .{ .wake = .{} };
        }

        pub fn close(_: Wake) void {}
    };
    pub const Aio = Self;
    const Self = @import("posix_aio.zig").Aio;

    pub fn close(fd: i32) isize {
        return current_kernel.close(fd);
    }

    pub fn fileInfo(fd: i32, info: *abi.FileInfo) isize {
        return current_kernel.fileInfo(fd, info);
    }
};
