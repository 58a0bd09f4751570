//! POSIX AIO of FreeBSD's kernel, with kqueue notification.
//!
//! Each block has its own SIGEV_KEVENT with EV_ONESHOT on the AIO kqueue, which the JavaScript
//! thread reads without blocking. A waiter thread blocks only on an outer kqueue, in which the
//! AIO kqueue is an EVFILT_READ with EV_DISPATCH: it fires once, then stays disabled until it is
//! enabled again. (poll(2) on a kqueue with a pending event would return at once again and again,
//! and only the JavaScript thread may take the event.) EVFILT_USER ends the thread.

const std = @import("std");
const assert = std.debug.assert;
const aio = @import("aio.zig");
const mapping = @import("mapping.zig");
const pthread = @import("pthread.zig");
const system = @import("freebsd.zig");
const negative = @import("errno.zig").negative;
const Refusal = @import("refusal.zig").Refusal;

/// struct aiocb (sys/aio.h).
pub const Aiocb = extern struct {
    fildes: c_int = 0,
    offset: i64 = 0,
    buf: u64 = 0,
    nbytes: u64 = 0,
    spare: [2]c_int = @splat(0),
    spare2: u64 = 0,
    lio_opcode: c_int = 0,
    reqprio: c_int = 0,
    status: c_long = 0,
    @"error": c_long = 0,
    spare3: u64 = 0,
    sigevent: Sigevent = .{},
};

/// struct sigevent (sys/signal.h), with the union as for SIGEV_KEVENT.
pub const Sigevent = extern struct {
    notify: c_int = 0,
    /// `sigev_signo`.
    kqueue: c_int = 0,
    value: u64 = 0,
    kevent_flags: c_ushort = 0,
    padding: [62]u8 = @splat(0),
};

/// struct kevent (sys/event.h).
pub const Kevent = extern struct {
    ident: u64,
    filter: c_short,
    flags: c_ushort,
    fflags: c_uint = 0,
    data: i64 = 0,
    udata: u64 = 0,
    ext: [4]u64 = @splat(0),
};

// sys/aio.h, sys/signal.h, sys/event.h, sys/fcntl.h; check_freebsd.zig compares.
pub const LIO_WRITE = 1;
pub const LIO_READ = 2;
pub const LIO_WRITEV = 5;
pub const LIO_READV = 6;
pub const LIO_NOWAIT = 0;
pub const AIO_CANCELED = 1;
pub const SIGEV_KEVENT = 3;
pub const EVFILT_READ = -1;
pub const EVFILT_AIO = -3;
pub const EVFILT_USER = -11;
pub const EV_ADD = 0x1;
pub const EV_ENABLE = 0x4;
pub const EV_ONESHOT = 0x10;
pub const EV_DISPATCH = 0x80;
pub const NOTE_TRIGGER = 0x01000000;
pub const O_SYNC = 0x80;
pub const O_DSYNC = 0x01000000;

const Timespec = extern struct { sec: i64 = 0, nsec: c_long = 0 };

extern "c" fn lio_listio(mode: c_int, list: [*]const *Aiocb, count: c_int, event: ?*Sigevent) c_int;
extern "c" fn aio_fsync(op: c_int, block: *Aiocb) c_int;
extern "c" fn aio_error(block: *const Aiocb) c_int;
extern "c" fn aio_return(block: *Aiocb) isize;
extern "c" fn aio_cancel(fd: c_int, block: ?*Aiocb) c_int;
extern "c" fn kqueue() c_int;
extern "c" fn kevent(
    queue: c_int,
    changes: ?[*]const Kevent,
    changes_count: c_int,
    events: ?[*]Kevent,
    events_count: c_int,
    timeout: ?*const Timespec,
) c_int;

/// 13.0-RELEASE (sys/param.h): aio_readv and LIO_READV, aio_fsync(O_DSYNC) (aio_fsync(2), HISTORY).
const osreldate_13_0 = 1300139;
/// MAXPHYS of amd64 and arm64 before `kern.maxphys` (13.0).
const maxphys_before = 128 * 1024;
const page_bytes = 4096;
/// Events taken by one kevent(2); the lane asks for no more.
const events_max = 64;

/// State shared by the waiter and the JavaScript thread; the last one frees it.
const Shared = struct {
    references: std.atomic.Value(u32),
    mutex: pthread.Mutex,
    wake: system.Wake,
    outer: c_int,
    closed: bool = false,
    /// A reap is about to happen: the waiter need not ring.
    quiet: bool = false,
    /// The AIO kqueue is enabled in the outer one.
    armed: bool = true,
    wakes: u64 = 0,
    /// Times that the waiter returned from kevent(2): shows that it does not spin.
    turns: u64 = 0,
    memory: []align(std.heap.page_size_min) u8,

    fn release(shared: *Shared) void {
        const before = shared.references.fetchSub(1, .acq_rel);
        assert(before > 0);
        if (before > 1) return;
        _ = system.close(shared.outer);
        shared.mutex.deinit();
        mapping.unmapMemory(shared.memory);
    }

    fn run(argument: ?*anyopaque) callconv(.c) ?*anyopaque {
        const shared: *Shared = @ptrCast(@alignCast(argument.?));
        while (shared.wait()) {}
        shared.release();
        return null;
    }

    /// Returns false at the end.
    fn wait(shared: *Shared) bool {
        var event: [1]Kevent = undefined;
        const count = kevent(shared.outer, null, 0, &event, 1, null);
        if (count < 0) return system.lastErrno() == .INTR;
        if (count == 1 and event[0].filter == EVFILT_USER) return false;
        shared.mutex.lock();
        defer shared.mutex.unlock();
        shared.turns += 1;
        // If ringing is off now, the owner later finds the kqueue disarmed and enables it, and it
        // fires again.
        shared.armed = false;
        if (shared.closed) return false;
        if (!shared.quiet) {
            shared.wakes += 1;
            shared.wake.ring();
        }
        return true;
    }
};

pub const Aio = struct {
    pub const Block = Aiocb;
    pub const scan_ms: u32 = 0;

    queue: c_int,
    shared: *Shared,
    blocks: []Block,
    memory: []align(std.heap.page_size_min) u8,

    pub fn open(self: *Aio, count: u32, wake: system.Wake) ?Refusal {
        if (system.sysctlNumber("vfs.aio.max_aio_queue_per_proc") == null) return .of(.NOSYS, .lookup);
        const memory = mapping.mapMemory(count * @sizeOf(Block)) orelse return .of(.NOMEM, .mmap);
        const shared_memory = mapping.mapMemory(@sizeOf(Shared)) orelse {
            mapping.unmapMemory(memory);
            return .of(.NOMEM, .mmap);
        };
        const blocks: [*]Block = @ptrCast(memory.ptr);
        const shared: *Shared = @ptrCast(shared_memory.ptr);
        self.* = .{ .queue = -1, .shared = shared, .blocks = blocks[0..count], .memory = memory };
        shared.* = .{
            .references = .init(1),
            .mutex = undefined,
            .wake = wake,
            .outer = -1,
            .memory = shared_memory,
        };
        shared.mutex.init();
        if (self.connect()) |refusal| {
            if (self.queue >= 0) _ = system.close(self.queue);
            shared.closed = true;
            shared.release();
            mapping.unmapMemory(memory);
            return refusal;
        }
        return null;
    }

    fn connect(self: *Aio) ?Refusal {
        const shared = self.shared;
        self.queue = kqueue();
        shared.outer = kqueue();
        if (self.queue < 0 or shared.outer < 0) return .of(system.lastErrno(), .kqueue);
        // fork(2) does not inherit a kqueue, but exec(2) alone would.
        system.closeOnExec(self.queue);
        system.closeOnExec(shared.outer);
        const changes = [_]Kevent{
            .{ .ident = @intCast(self.queue), .filter = EVFILT_READ, .flags = EV_ADD | EV_DISPATCH },
            .{ .ident = 0, .filter = EVFILT_USER, .flags = EV_ADD },
        };
        if (kevent(shared.outer, &changes, changes.len, null, 0, null) < 0) return .of(system.lastErrno(), .kqueue);
        _ = shared.references.fetchAdd(1, .monotonic);
        if (pthread.spawn(Shared.run, shared)) return null;
        _ = shared.references.fetchSub(1, .monotonic);
        return .of(.AGAIN, .threads);
    }

    pub fn close(self: *Aio) void {
        const shared = self.shared;
        shared.mutex.lock();
        assert(!shared.closed);
        shared.closed = true;
        shared.mutex.unlock();
        const end = [_]Kevent{
            .{ .ident = 0, .filter = EVFILT_USER, .flags = 0, .fflags = NOTE_TRIGGER },
        };
        const triggered = kevent(shared.outer, &end, 1, null, 0, null);
        assert(triggered >= 0);
        _ = system.close(self.queue);
        shared.release();
        mapping.unmapMemory(self.memory);
    }

    pub fn limits(_: *Aio) aio.Limits {
        const release = system.sysctlNumber("kern.osreldate") orelse 0;
        const since_13_0 = release >= osreldate_13_0;
        const maxphys = system.sysctlNumber("kern.maxphys") orelse maxphys_before;
        const list = system.sysctlNumber("vfs.aio.max_aio_queue_per_proc") orelse 16;
        const buffers = system.sysctlNumber("vfs.aio.max_buf_aio") orelse 1;
        const unsafe = system.sysctlNumber("vfs.aio.enable_unsafe") orelse 0;
        return .{
            .list_max = @intCast(std.math.clamp(list, 1, std.math.maxInt(u16))),
            .disk_bytes_max = @intCast(std.math.clamp(
                maxphys - @rem(maxphys, page_bytes),
                2 * page_bytes,
                1 << 30,
            )),
            .disk_iovecs_max = @intCast(std.math.clamp(buffers, 1, 1024)),
            .vectors = since_13_0,
            // With enable_unsafe aio_fsync accepts raw disks without flushing their caches.
            .syncs = unsafe == 0,
            .data_sync = since_13_0,
        };
    }

    pub fn wakes(self: *Aio) u64 {
        self.shared.mutex.lock();
        defer self.shared.mutex.unlock();
        return self.shared.wakes;
    }

    /// For tests: how often the waiter returned from kevent(2).
    pub fn turns(self: *Aio) u64 {
        self.shared.mutex.lock();
        defer self.shared.mutex.unlock();
        return self.shared.turns;
    }

    pub fn block(self: *Aio, index: u32) *Block {
        return &self.blocks[index];
    }

    /// The kernel also reads members that we do not use: all are zero (aio_read(2)).
    pub fn prepare(self: *Aio, made: *Block, request: aio.Request) void {
        made.* = .{
            .fildes = request.fd,
            .offset = @intCast(request.offset),
            .buf = request.address,
            .nbytes = request.length,
            .lio_opcode = switch (request.opcode) {
                .read => LIO_READ,
                .write => LIO_WRITE,
                .readv => LIO_READV,
                .writev => LIO_WRITEV,
            },
            .sigevent = .{
                .notify = SIGEV_KEVENT,
                .kqueue = self.queue,
                .value = request.token,
                .kevent_flags = EV_ONESHOT,
            },
        };
    }

    pub fn submitList(_: *Aio, blocks: []const *Block) isize {
        return outcome(lio_listio(LIO_NOWAIT, blocks.ptr, @intCast(blocks.len), null));
    }

    pub fn submitSync(_: *Aio, made: *Block, data_only: bool) isize {
        return outcome(aio_fsync(if (data_only) O_DSYNC else O_SYNC, made));
    }

    fn outcome(result: isize) isize {
        return if (result >= 0) result else negative(system.lastErrno());
    }

    /// aio_error fails with EINVAL for a block that the kernel never got.
    pub fn status(_: *Aio, made: *const Block) i32 {
        const errno = aio_error(made);
        return if (errno >= 0) errno else @intFromEnum(system.lastErrno());
    }

    pub fn finish(_: *Aio, made: *Block) isize {
        return outcome(aio_return(made));
    }

    pub fn cancel(_: *Aio, fd: i32, made: *Block) aio.Cancel {
        return if (aio_cancel(fd, made) == AIO_CANCELED) .canceled else .runs_on;
    }

    pub fn take(self: *Aio, _: []const *Block, out: []u64) usize {
        var events: [events_max]Kevent = undefined;
        const wanted: c_int = @intCast(@min(out.len, events.len));
        const now: Timespec = .{};
        const count = kevent(self.queue, null, 0, &events, wanted, &now);
        // EINTR: the next reap takes them.
        if (count <= 0) return 0;
        for (events[0..@intCast(count)], out[0..@intCast(count)]) |event, *token| {
            assert(event.filter == EVFILT_AIO);
            token.* = event.udata;
        }
        return @intCast(count);
    }

    /// Enabling fires at once for pending events, so this always returns true.
    pub fn arm(self: *Aio, _: []const *Block) bool {
        const shared = self.shared;
        shared.mutex.lock();
        const was_armed = shared.armed;
        shared.armed = true;
        shared.quiet = false;
        shared.mutex.unlock();
        if (was_armed) return true;
        const enable = [_]Kevent{.{
            .ident = @intCast(self.queue),
            .filter = EVFILT_READ,
            .flags = EV_ENABLE | EV_DISPATCH,
        }};
        const enabled = kevent(shared.outer, &enable, 1, null, 0, null);
        assert(enabled >= 0);
        return true;
    }

    pub fn disarm(self: *Aio) void {
        self.shared.mutex.lock();
        defer self.shared.mutex.unlock();
        self.shared.quiet = true;
    }
};
