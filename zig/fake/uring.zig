//! A fake io_uring in plain memory under `lanes/io_uring.zig`: submission and completion rings,
//! and an enter over the fake kernel. It guarantees no more than Linux does (sources:
//! io_uring/io_uring.c and eventfd.c, 6.12): an enter runs at most 20 deferred completions, which
//! ring only when they find an empty list; a full completion ring overflows; eventfd signals
//! under IORING_CQ_EVENTFD_DISABLED are lost.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const abi = @import("../abi.zig");
const real = @import("../os/linux.zig");
const fake = @import("kernel.zig");
const E = linux.E;
const negative = @import("../os/os.zig").negative;
const Iovec = @import("../os/iovec.zig").Iovec;

const entries_max = 256;
const pending_max = 1024;
const table_max = 4096;
/// Marks work that is no completion: it lets go of the descriptor in `res`.
const notice_flag = 1 << 31;
/// Less than a close waits for them.
const late_ns_max = 50 * std.time.ns_per_ms;
/// As `user_data` of that: nothing is posted.
const no_tag = std.math.maxInt(u64);
/// IO_LOCAL_TW_DEFAULT_MAX.
const deferred_max = 20;
/// Longer than the engine's patience, as often as not.
const unresponsive_ns_max = 2 * @as(u64, abi.unresponsive_ms_max) * std.time.ns_per_ms;

/// When completions become visible, by setup flags.
const Mode = enum {
    /// DEFER_TASKRUN: in an enter with GETEVENTS only.
    deferred,
    /// COOP_TASKRUN: at the next transition into the kernel, whatever for.
    cooperative,
    /// At once.
    plain,
};

const Words = struct {
    sq_head: u32 = 0,
    sq_tail: u32 = 0,
    sq_flags: u32 = 0,
    sq_dropped: u32 = 0,
    cq_head: u32 = 0,
    cq_tail: u32 = 0,
    cq_overflow: u32 = 0,
    cq_flags: u32 = 0,
};

/// A first-in first-out list of completions.
const Pending = struct {
    entries: [pending_max]linux.io_uring_cqe = undefined,
    first: u32 = 0,
    count: u32 = 0,

    fn push(pending: *Pending, cqe: linux.io_uring_cqe) void {
        assert(pending.count < pending_max);
        pending.entries[(pending.first + pending.count) % pending_max] = cqe;
        pending.count += 1;
    }

    fn peek(pending: *const Pending) ?linux.io_uring_cqe {
        return if (pending.count == 0) null else pending.entries[pending.first];
    }

    fn pop(pending: *Pending) ?linux.io_uring_cqe {
        if (pending.count == 0) return null;
        const cqe = pending.entries[pending.first];
        pending.first = (pending.first + 1) % pending_max;
        pending.count -= 1;
        return cqe;
    }
};

pub const Ring = struct {
    kernel: *fake.Kernel,
    /// The newest setup flags this kernel knows.
    newest: Mode,
    mode: Mode = .plain,
    taskrun_flag: bool = false,
    submit_all: bool = false,
    registered: bool = false,
    submitting: bool = false,
    words: Words = .{},
    array: [entries_max]u32 = undefined,
    sqes: [entries_max]linux.io_uring_sqe = undefined,
    cqes: [entries_max]linux.io_uring_cqe = undefined,
    cq_entries: u32 = 0,
    sq_entries: u32 = 0,
    /// What was asked for, twice the window: the queue may be smaller.
    asked_entries: u32 = 0,
    /// Ended, but not run yet; and run, but without room in the ring.
    work: Pending = .{},
    overflow: Pending = .{},
    /// Of worker threads that have completed a request and not yet let go of its descriptor, `res`; they do
    /// at `user_data` at the latest.
    late: Pending = .{},
    /// Those of them that were noted.
    noted: u32 = 0,
    running: u32 = 0,
    /// Until then a sandbox forbids every call.
    unresponsive_until_ns: u64 = 0,
    /// IORING_REGISTER_FILES; null: this kernel has none.
    table: ?[table_max]i32 = null,
    /// What is posted when a file of the table is let go of.
    tags: [table_max]u64 = @splat(0),
    /// IORING_REGISTER_BUFFERS; null: this kernel has none.
    places: ?[table_max]?[]u8 = null,
    /// Calls of io_uring_enter and synchronous cancels; those of them that submit.
    calls: u64 = 0,
    submit_calls: u64 = 0,

    pub fn init(ring: *Ring, kernel: *fake.Kernel) void {
        // Half of them as newer kernels are.
        const newest: Mode = if (kernel.random().boolean()) .deferred else kernel.random().enumValue(Mode);
        ring.* = .{ .kernel = kernel, .newest = newest };
        if (kernel.random().boolean()) ring.table = @splat(-1);
        if (kernel.random().boolean()) ring.places = @splat(null);
    }

    // Completions ------------------------------------------------------------------------------

    fn finish(context: *anyopaque, request: *fake.Request) void {
        const ring: *Ring = @ptrCast(@alignCast(context));
        const cqe: linux.io_uring_cqe = .{
            .user_data = request.ask.user,
            .res = @intCast(request.result),
            .flags = 0,
        };
        const fd = request.ask.fd;
        ring.kernel.release(request);
        ring.running -= 1;
        // What ends within its own submission needs no task work.
        if (ring.submitting) return ring.post(cqe);
        switch (ring.mode) {
            .plain => {
                ring.post(cqe);
                ring.signal();
            },
            .cooperative => {
                ring.work.push(cqe);
                ring.markWork();
            },
            .deferred => {
                // Files of the table are let go of one by one, with a tag.
                if (ring.table == null and ring.kernel.random().boolean()) {
                    ring.kernel.hold(fd);
                    const ns = ring.kernel.random().uintLessThan(u64, late_ns_max);
                    ring.late.push(.{ .user_data = ring.kernel.now_ns + ns, .res = fd, .flags = 0 });
                }
                ring.work.push(cqe);
                ring.markWork();
                if (ring.work.count == 1) ring.signal();
            },
        }
    }

    fn markWork(ring: *Ring) void {
        if (ring.taskrun_flag) ring.words.sq_flags |= linux.IORING_SQ_TASKRUN;
    }

    fn signal(ring: *Ring) void {
        if (!ring.registered) return;
        if (ring.words.cq_flags & linux.IORING_CQ_EVENTFD_DISABLED != 0) return;
        ring.kernel.ring();
    }

    fn post(ring: *Ring, cqe: linux.io_uring_cqe) void {
        const words = &ring.words;
        assert(words.cq_tail -% words.cq_head <= ring.cq_entries);
        if (ring.overflow.count > 0 or words.cq_tail -% words.cq_head == ring.cq_entries) {
            ring.overflow.push(cqe);
            words.sq_flags |= linux.IORING_SQ_CQ_OVERFLOW;
            return;
        }
        ring.cqes[words.cq_tail & (ring.cq_entries - 1)] = cqe;
        words.cq_tail +%= 1;
    }

    fn flushOverflow(ring: *Ring) void {
        const words = &ring.words;
        while (words.cq_tail -% words.cq_head < ring.cq_entries) {
            const cqe = ring.overflow.pop() orelse break;
            ring.cqes[words.cq_tail & (ring.cq_entries - 1)] = cqe;
            words.cq_tail +%= 1;
        }
        if (ring.overflow.count == 0) words.sq_flags &= ~@as(u32, linux.IORING_SQ_CQ_OVERFLOW);
    }

    fn runWork(ring: *Ring, most: u32) void {
        ring.words.sq_flags &= ~@as(u32, linux.IORING_SQ_TASKRUN);
        for (0..most) |_| ring.run(ring.work.pop() orelse break);
        if (ring.work.count > 0) ring.markWork();
    }

    fn run(ring: *Ring, work: linux.io_uring_cqe) void {
        var cqe = work;
        if (work.flags == notice_flag) {
            ring.kernel.letGo(work.res);
            if (work.user_data == no_tag) return;
            cqe.flags = 0;
            cqe.res = 0;
        }
        ring.post(cqe);
    }

    /// A slot of the table gives up a file. With DEFER_TASKRUN the end of a request that a worker thread
    /// had may wait for an enter, and the file with it (io_free_req() in io_uring.c, 6.18).
    fn letGo(ring: *Ring, fd: i32, tag: u64) void {
        if (ring.mode != .deferred or ring.kernel.random().boolean()) {
            return ring.post(.{ .user_data = tag, .res = 0, .flags = 0 });
        }
        ring.kernel.hold(fd);
        ring.letGoInEnter(fd, tag);
    }

    fn letGoInEnter(ring: *Ring, fd: i32, tag: u64) void {
        ring.work.push(.{ .user_data = tag, .res = fd, .flags = notice_flag });
        ring.markWork();
        if (ring.work.count == 1) ring.signal();
    }

    /// Worker threads that were preempted between the completion of a request and its end go on, at any time.
    fn runWorkers(ring: *Ring) void {
        while (ring.late.peek()) |late| {
            if (late.user_data > ring.kernel.now_ns and ring.kernel.random().boolean()) return;
            ring.letGoInEnter(ring.late.pop().?.res, no_tag);
            ring.noted -|= 1;
        }
    }

    /// The thread sleeps, or makes any system call: COOP_TASKRUN runs its work then.
    pub fn transition(ring: *Ring) void {
        if (ring.mode != .cooperative or ring.work.count == 0) return;
        ring.runWork(ring.work.count);
        ring.signal();
    }

    // System calls -----------------------------------------------------------------------------

    fn enter(ring: *Ring, to_submit: u32, flags: u32) isize {
        const kernel = ring.kernel;
        ring.calls += 1;
        kernel.tick();
        ring.transition();
        ring.runWorkers();
        const queued = ring.words.sq_tail -% ring.words.sq_head;
        assert(queued <= ring.sq_entries);
        assert(to_submit <= queued);
        var submitted: u32 = 0;
        if (to_submit > 0) ring.submit_calls += 1;
        if (ring.isUnresponsive()) {
            kernel.hard_refusals += 1;
            return negative(.PERM);
        }
        if (to_submit > 0) {
            if (kernel.othersHoldRoom() or kernel.happens(kernel.weather.refuse)) return ring.refusal();
            if (kernel.happens(kernel.weather.refuse_hard)) {
                kernel.hard_refusals += 1;
                return negative(.BADF);
            }
            const part = if (kernel.happens(kernel.weather.refuse))
                kernel.random().uintAtMost(u32, to_submit)
            else
                to_submit;
            submitted = ring.submitSome(part);
            // Worst where the window is full, and others wait behind it.
            const is_full = ring.running * 2 >= ring.asked_entries;
            const rate = if (is_full) kernel.weather.unresponsive *| 8 else kernel.weather.unresponsive;
            if (ring.running > 0 and kernel.happens(rate)) ring.fallSilent();
            // io_uring_enter(2): without all of them there is no waiting either.
            if (submitted < to_submit) return submitted;
        } else if (kernel.happens(kernel.weather.interrupted)) return negative(.INTR);
        if (flags & linux.IORING_ENTER_GETEVENTS != 0) {
            if (ring.mode == .deferred) ring.runWork(deferred_max);
            ring.flushOverflow();
        }
        return submitted;
    }

    fn fallSilent(ring: *Ring) void {
        const random = ring.kernel.random();
        // What a device never ends is heard of in no other mode, either.
        const for_ever = ring.mode == .deferred and random.uintLessThan(u32, 4) > 0;
        const now_ns = ring.kernel.now_ns;
        ring.unresponsive_until_ns = if (for_ever) std.math.maxInt(u64) else now_ns + random.uintLessThan(u64, unresponsive_ns_max);
    }

    pub fn isUnresponsive(ring: *const Ring) bool {
        return ring.kernel.now_ns < ring.unresponsive_until_ns;
    }

    fn refusal(ring: *Ring) isize {
        const choices = [_]E{ .AGAIN, .NOMEM, .INTR };
        if (ring.overflow.count > 0) return negative(.BUSY);
        return negative(choices[ring.kernel.random().uintLessThan(usize, choices.len)]);
    }

    fn submitSome(ring: *Ring, most: u32) u32 {
        ring.submitting = true;
        defer ring.submitting = false;
        for (0..most) |done| {
            const index = ring.array[ring.words.sq_head & (ring.sq_entries - 1)];
            const sqe = ring.sqes[index];
            // What is behind the head may be reused at once.
            ring.sqes[index] = undefined;
            ring.words.sq_head +%= 1;
            const good = ring.submitOne(&sqe);
            ring.kernel.advance(ring.kernel.now_ns);
            if (!good and !ring.submit_all) return @intCast(done + 1);
        }
        return most;
    }

    fn submitOne(ring: *Ring, sqe: *const linux.io_uring_sqe) bool {
        const vector = sqe.opcode == .READV or sqe.opcode == .WRITEV;
        const fixed = sqe.flags & linux.IOSQE_FIXED_FILE != 0;
        const fd = if (fixed) ring.table.?[@intCast(sqe.fd)] else sqe.fd;
        var ask: fake.Ask = .{
            .kind = switch (sqe.opcode) {
                .READ, .READ_FIXED => .read,
                .WRITE, .WRITE_FIXED => .write,
                .READV => .readv,
                .WRITEV => .writev,
                .FSYNC => if (sqe.rw_flags & linux.IORING_FSYNC_DATASYNC != 0) .sync_data else .sync_all,
                .ASYNC_CANCEL => return ring.cancel(sqe),
                else => return ring.bad(sqe, .INVAL),
            },
            .fd = fd,
            .address = sqe.addr,
            .bytes = sqe.len,
            .offset = sqe.off,
            .user = sqe.user_data,
        };
        if (vector) {
            const pointer: [*]const @import("../os/iovec.zig").Iovec = @ptrFromInt(sqe.addr);
            ask = fake.Kernel.vector(ask.kind, fd, pointer[0..sqe.len], sqe.off);
            ask.user = sqe.user_data;
        }
        if (sqe.opcode == .READ_FIXED or sqe.opcode == .WRITE_FIXED) ring.checkPlace(sqe);
        if (ring.kernel.diskOf(ask.fd) == null) @panic("an entry names a descriptor that is not open");
        assert(ring.find(ask.user) == null);
        _ = ring.kernel.start(.{ .context = ring, .finish = finish }, ask);
        ring.running += 1;
        return true;
    }

    /// Linux would answer EFAULT: the lane must never ask for what is not registered there.
    fn checkPlace(ring: *const Ring, sqe: *const linux.io_uring_sqe) void {
        const memory = ring.places.?[sqe.buf_index] orelse @panic("an entry names an empty place");
        const begin = @intFromPtr(memory.ptr);
        if (sqe.addr < begin or sqe.addr + sqe.len > begin + memory.len) {
            @panic("an entry names memory outside of its place");
        }
    }

    fn bad(ring: *Ring, sqe: *const linux.io_uring_sqe, errno: E) bool {
        ring.post(.{ .user_data = sqe.user_data, .res = @intCast(negative(errno)), .flags = 0 });
        return false;
    }

    fn find(ring: *Ring, user: u64) ?*fake.Request {
        for (ring.kernel.requests) |*request| {
            if (request.state != .running or request.task) continue;
            if (request.owner.context == @as(*anyopaque, ring) and request.ask.user == user) return request;
        }
        return null;
    }

    /// io_uring_prep_cancel(3): 0, ENOENT or EALREADY for the request itself.
    fn cancel(ring: *Ring, sqe: *const linux.io_uring_sqe) bool {
        const result: isize = if (ring.find(sqe.addr)) |request|
            (if (ring.kernel.cancel(request)) 0 else negative(.ALREADY))
        else
            negative(.NOENT);
        ring.post(.{ .user_data = sqe.user_data, .res = @intCast(result), .flags = 0 });
        return result == 0;
    }

    fn cancelAll(ring: *Ring, timeout_ms: u32) isize {
        const kernel = ring.kernel;
        ring.calls += 1;
        if (ring.isUnresponsive()) return negative(.PERM);
        for (kernel.requests) |*request| {
            if (request.state != .running or request.task) continue;
            if (request.owner.context == @as(*anyopaque, ring)) _ = kernel.cancel(request);
        }
        const deadline = kernel.now_ns + @as(u64, timeout_ms) * std.time.ns_per_ms;
        while (ring.running > 0) {
            const next = kernel.nextEventNs() orelse deadline;
            if (next >= deadline) {
                kernel.advance(deadline);
                return if (ring.running > 0) negative(.TIME) else 0;
            }
            kernel.advance(@max(next, kernel.now_ns));
        }
        return 0;
    }
};

/// What `lanes/io_uring.zig` needs of a system.
pub const Os = struct {
    /// The fake that the next calls mean; set by the fuzzer.
    pub threadlocal var current: *Ring = undefined;

    pub const Wake = struct {
        pub fn readFd(_: Wake) i32 {
            return 3;
        }
    };
    pub fn readNow(fd: i32, iovecs: []const Iovec, offset: u64) isize {
        return readAtOnce(current.kernel.readNow(fd, iovecs, offset));
    }

    fn readAtOnce(result: isize) isize {
        current.calls += 1;
        if (result > 0) current.submit_calls += 1;
        return result;
    }

    pub fn isTmpfs(fd: i32) bool {
        current.calls += 1;
        return current.kernel.isTmpfs(fd);
    }

    pub fn isCached(fd: i32, offset: u64, bytes: u64) isize {
        current.calls += 1;
        return current.kernel.isCached(fd, offset, bytes);
    }

    pub fn preadv(fd: i32, iovecs: []const Iovec, offset: u64) isize {
        return readAtOnce(current.kernel.preadv(fd, iovecs, offset));
    }

    pub const uring = struct {
        pub const Ring = real.uring.Ring;

        pub fn setup(entries: u16, flags: u32) real.uring.Setup {
            const ring = current;
            const deferred = flags & linux.IORING_SETUP_DEFER_TASKRUN != 0;
            const cooperative = flags & linux.IORING_SETUP_COOP_TASKRUN != 0;
            if ((deferred and ring.newest != .deferred) or (cooperative and ring.newest == .plain)) {
                return .{ .refused = .{ .errno = @intFromEnum(E.INVAL), .step = .setup } };
            }
            ring.mode = if (deferred) .deferred else if (cooperative) .cooperative else .plain;
            ring.taskrun_flag = flags & linux.IORING_SETUP_TASKRUN_FLAG != 0;
            ring.submit_all = flags & linux.IORING_SETUP_SUBMIT_ALL != 0;
            ring.asked_entries = entries;
            // IORING_SETUP_CLAMP lets a kernel make fewer than were asked for; half of these do.
            const fewer = if (ring.kernel.random().boolean()) ring.kernel.random().uintAtMost(u5, 8) else 0;
            ring.sq_entries = @max(@as(u32, entries) >> fewer, 1);
            // Linux makes twice as many; fewer overflow more often.
            const shift = ring.kernel.random().uintAtMost(u5, 4);
            ring.cq_entries = @max(@as(u32, entries) * 2 >> shift, 1);
            assert(entries <= entries_max and ring.cq_entries <= entries_max);
            const words = &ring.words;
            const no_memory: []align(std.heap.page_size_min) u8 = &.{};
            return .{ .ring = .{
                .ring = .{
                    .fd = 3,
                    .flags = flags,
                    .features = 0,
                    .sq = .{
                        .head = &words.sq_head,
                        .tail = &words.sq_tail,
                        .mask = ring.sq_entries - 1,
                        .flags = &words.sq_flags,
                        .dropped = &words.sq_dropped,
                        .array = ring.array[0..ring.sq_entries],
                        .sqes = ring.sqes[0..ring.sq_entries],
                        .mmap = no_memory,
                        .mmap_sqes = no_memory,
                    },
                    .cq = .{
                        .head = &words.cq_head,
                        .tail = &words.cq_tail,
                        .mask = ring.cq_entries - 1,
                        .overflow = &words.cq_overflow,
                        .cqes = ring.cqes[0..ring.cq_entries],
                    },
                },
                .cq_flags = &words.cq_flags,
            } };
        }

        pub fn enter(_: *real.uring.Ring, _: ?u31, to_submit: u32, flags: u32) isize {
            return current.enter(to_submit, flags);
        }

        pub const Workers = struct {
            pub fn note(_: *Workers) void {
                current.runWorkers();
                current.noted = current.late.count;
            }

            pub fn areLate(_: *Workers) bool {
                current.runWorkers();
                return current.noted > 0;
            }
        };

        pub fn supports(_: *real.uring.Ring, _: []const linux.IORING_OP) isize {
            return 0;
        }

        pub fn registerEventfd(_: *real.uring.Ring, _: i32) isize {
            current.registered = true;
            return 0;
        }

        pub fn registerFiles(_: *real.uring.Ring, count: u32) isize {
            assert(count <= table_max);
            return if (current.table == null) negative(.INVAL) else 0;
        }

        pub fn updateFile(_: *real.uring.Ring, index: u32, fd: i32, tag: u64) isize {
            const table = &current.table.?;
            if (fd >= 0 and current.kernel.happens(current.kernel.weather.refuse)) return negative(.NOMEM);
            if (fd >= 0 and current.kernel.diskOf(fd) == null) @panic("a closed descriptor is registered");
            if (table[index] >= 0) current.letGo(table[index], current.tags[index]);
            table[index] = fd;
            current.tags[index] = tag;
            return 1;
        }

        pub fn registerBuffers(_: *real.uring.Ring, count: u32) isize {
            assert(count <= table_max);
            return if (current.places == null) negative(.INVAL) else 0;
        }

        pub fn updateBuffer(_: *real.uring.Ring, place: u32, memory: []u8) isize {
            const places = &current.places.?;
            assert(places[place] == null);
            if (current.kernel.happens(current.kernel.weather.refuse)) return negative(.NOMEM);
            places[place] = memory;
            return 1;
        }

        pub fn clearBuffers(_: *real.uring.Ring, place: u32, count: u32) isize {
            if (current.kernel.happens(current.kernel.weather.refuse)) return negative(.PERM);
            @memset(current.places.?[place..][0..count], null);
            return @intCast(count);
        }

        pub fn cancelAll(_: *real.uring.Ring, timeout_ms: u32) isize {
            return current.cancelAll(timeout_ms);
        }

        pub fn close(_: *real.uring.Ring) void {
            assert(current.running == 0);
        }
    };
};
