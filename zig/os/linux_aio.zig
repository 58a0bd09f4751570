//! POSIX AIO of glibc and musl: the control blocks and lists of FreeBSD over a real
//! implementation, on every contributor's machine. Never chosen automatically: it is a thread
//! pool in libc (aio(7)).
//!
//! There is no queue of events: the running blocks of the lane are scanned with aio_error. Each
//! block is notified by SIGEV_THREAD, whose function rings the wake descriptor. glibc does not
//! notice if it could not start that thread (aio_notify.c), hence `scan_ms`.
//!
//! Nothing is cancelled; requests just end. glibc's aio_cancel of the first request in a descriptor's
//! queue removes it from the run list without putting the next one there: all requests behind it
//! stay EINPROGRESS for ever (seen on 2.36; __aio_remove_request, aio_misc.c). musl's waits until the
//! request has ended, with the descriptor's queue locked (src/aio/aio.c): the calling thread would
//! hang with the disk.
//!
//! glibc reads `aio_sigevent` of a block, and calls the function, after aio_error has become 0.
//! So `aio_sigevent` is written once, and blocks and the state that the function uses stay mapped
//! until every notification has arrived: each holds a reference. A lost one leaks the blocks of
//! its ring.

const builtin = @import("builtin");
const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const aio = @import("aio.zig");
const mapping = @import("mapping.zig");
const pthread = @import("pthread.zig");
const system = @import("linux.zig");
const E = linux.E;
const negative = @import("errno.zig").negative;
const Refusal = @import("refusal.zig").Refusal;

/// struct aiocb of glibc (aio.h, 64-bit offsets) and of musl (aio.h): 168 bytes, the same up to the
/// private members, of which both keep the error code at 112.
const Aiocb = extern struct {
    fildes: i32 = -1,
    lio_opcode: i32 = 0,
    reqprio: i32 = 0,
    buf: u64 align(8) = 0,
    nbytes: u64 = 0,
    sigevent: Sigevent = .{},
    private: [2]u64 = @splat(0),
    error_code: i32 = 0,
    return_value: i64 align(8) = 0,
    offset: i64 = 0,
    reserved: [4]u64 = @splat(0),
};

/// struct sigevent (sigevent(3type)): 64 bytes.
const Sigevent = extern struct {
    value: ?*Shared = null,
    signo: i32 = 0,
    notify: i32 = 0,
    function: ?*const fn (*Shared) callconv(.c) void = null,
    attributes: ?*anyopaque = null,
    padding: [4]u64 = @splat(0),
};

const SIGEV_THREAD = 2;
const LIO_READ = 0;
const LIO_WRITE = 1;
const LIO_NOWAIT = 1;

comptime {
    assert(@sizeOf(Aiocb) == 168);
    assert(@offsetOf(Aiocb, "buf") == 16);
    assert(@offsetOf(Aiocb, "sigevent") == 32);
    assert(@offsetOf(Aiocb, "error_code") == 112);
    assert(@offsetOf(Aiocb, "return_value") == 120);
    assert(@offsetOf(Aiocb, "offset") == 128);
    assert(@sizeOf(Sigevent) == 64);
    assert(@offsetOf(Sigevent, "notify") == 12);
    assert(@offsetOf(Sigevent, "function") == 16);
}

/// The functions, found in the host process: in libc, or before glibc 2.34 in librt.
const Functions = struct {
    lio_listio: *const fn (c_int, [*]const *Aio.Block, c_int, ?*Sigevent) callconv(.c) c_int,
    aio_fsync: *const fn (c_int, *Aio.Block) callconv(.c) c_int,
    aio_error: *const fn (*const Aio.Block) callconv(.c) c_int,
    aio_return: *const fn (*Aio.Block) callconv(.c) isize,

    fn find() ?Functions {
        var functions: Functions = undefined;
        inline for (@typeInfo(Functions).@"struct".fields) |field| {
            const address = symbol(field.name) orelse return null;
            @field(functions, field.name) = @ptrCast(@alignCast(address));
        }
        return functions;
    }

    fn symbol(comptime name: [:0]const u8) ?*const anyopaque {
        // Only test programs have a libc of their own, maybe a static one without dlsym.
        if (builtin.link_libc) return @extern(*const anyopaque, .{ .name = name });
        if (dlsym(null, name)) |address| return address;
        const librt = dlopen("librt.so.1", RTLD_NOW) orelse return null;
        return dlsym(librt, name);
    }
};

const RTLD_NOW = 2;
extern fn dlopen(name: ?[*:0]const u8, flags: c_int) ?*anyopaque;
extern fn dlsym(handle: ?*anyopaque, name: [*:0]const u8) ?*anyopaque;
extern fn __errno_location() *c_int;

/// What outlives the ring until the last notification has come.
const Shared = struct {
    /// One for the ring, one for each block given to libc and not yet notified.
    references: std.atomic.Value(u32),
    mutex: pthread.Mutex,
    wake: system.Wake,
    closed: bool,
    quiet: bool,
    wakes: u64,
    memory: []align(std.heap.page_size_min) u8,

    /// Runs on a thread of libc's, at any time until it has run.
    fn notified(shared: *Shared) callconv(.c) void {
        shared.mutex.lock();
        if (!shared.closed and !shared.quiet) {
            shared.wakes += 1;
            shared.wake.ring();
        }
        shared.mutex.unlock();
        shared.release();
    }

    fn release(shared: *Shared) void {
        const before = shared.references.fetchSub(1, .acq_rel);
        assert(before > 0);
        if (before > 1) return;
        assert(shared.closed);
        shared.mutex.deinit();
        mapping.unmapMemory(shared.memory);
    }
};

pub const Aio = struct {
    pub const Block = extern struct {
        control: Aiocb,
        token: u64,
    };

    pub const scan_ms: u32 = 100;

    functions: Functions,
    shared: *Shared,
    blocks: []Block,

    pub fn open(self: *Aio, count: u32, wake: system.Wake) ?Refusal {
        const functions = Functions.find() orelse return .of(.NOSYS, .lookup);
        const blocks_at = std.mem.alignForward(u64, @sizeOf(Shared), @alignOf(Block));
        const memory = mapping.mapMemory(blocks_at + count * @sizeOf(Block)) orelse return .of(.NOMEM, .mmap);
        const shared: *Shared = @ptrCast(@alignCast(memory.ptr));
        shared.* = .{
            .references = .init(1),
            .mutex = undefined,
            .wake = wake,
            .closed = false,
            .quiet = false,
            .wakes = 0,
            .memory = memory,
        };
        shared.mutex.init();
        const blocks: [*]Block = @ptrCast(@alignCast(memory.ptr + blocks_at));
        self.* = .{
            .functions = functions,
            .shared = shared,
            .blocks = blocks[0..count],
        };
        for (self.blocks) |*made| made.* = .{
            .control = .{ .sigevent = .{
                .value = shared,
                .notify = SIGEV_THREAD,
                .function = Shared.notified,
            } },
            .token = 0,
        };
        return null;
    }

    pub fn close(self: *Aio) void {
        self.shared.mutex.lock();
        assert(!self.shared.closed);
        self.shared.closed = true;
        self.shared.mutex.unlock();
        self.shared.release();
    }

    /// libc takes lists of any length and requests of any size; its threads call pread.
    pub fn limits(_: *Aio) aio.Limits {
        return .{
            .list_max = std.math.maxInt(u16),
            .disk_bytes_max = 1 << 30,
            .disk_iovecs_max = 1,
            .vectors = false,
            .syncs = true,
            .data_sync = true,
        };
    }

    pub fn wakes(self: *Aio) u64 {
        self.shared.mutex.lock();
        defer self.shared.mutex.unlock();
        return self.shared.wakes;
    }

    pub fn block(self: *Aio, index: u32) *Block {
        return &self.blocks[index];
    }

    pub fn prepare(_: *Aio, made: *Block, request: aio.Request) void {
        made.token = request.token;
        const control = &made.control;
        control.fildes = request.fd;
        control.lio_opcode = switch (request.opcode) {
            .read => LIO_READ,
            .write => LIO_WRITE,
            .readv, .writev => unreachable, // limits() said no
        };
        control.buf = request.address;
        control.nbytes = request.length;
        control.offset = @intCast(request.offset);
        // musl leaves a list at the first entry it has no room for: the others say so too.
        control.error_code = @intFromEnum(E.AGAIN);
        control.return_value = -1;
    }

    pub fn submitList(self: *Aio, blocks: []const *Block) isize {
        self.retain(@intCast(blocks.len));
        __errno_location().* = 0;
        const count: c_int = @intCast(blocks.len);
        return outcome(self.functions.lio_listio(LIO_NOWAIT, blocks.ptr, count, null));
    }

    pub fn submitSync(self: *Aio, made: *Block, data_only: bool) isize {
        const whole: linux.O = .{ .SYNC = true, .DSYNC = true };
        const data: linux.O = .{ .DSYNC = true };
        const flag: u32 = @bitCast(if (data_only) data else whole);
        self.retain(1);
        const result = outcome(self.functions.aio_fsync(@intCast(flag), made));
        if (result < 0) self.shared.release();
        return result;
    }

    /// Before libc has the blocks: their notifications may come before it returns. A list that
    /// fails keeps the references of those refused, because a block cannot tell whether it will
    /// be notified; with them stays the memory. libc refuses only when it has no thread at all.
    fn retain(self: *Aio, count: u32) void {
        const before = self.shared.references.fetchAdd(count, .monotonic);
        assert(before > 0);
    }

    fn outcome(result: c_int) isize {
        if (result == 0) return 0;
        // glibc need not set errno when only entries failed (lio_listio.c); then it is 0 still.
        const errno = __errno_location().*;
        return if (errno > 0) -@as(isize, errno) else negative(.IO);
    }

    pub fn status(self: *Aio, made: *const Block) i32 {
        return self.functions.aio_error(made);
    }

    /// aio_return says only that there was an error, aio_error which (aio_return(3)).
    pub fn finish(self: *Aio, made: *Block) isize {
        const errno = self.functions.aio_error(made);
        assert(errno != @intFromEnum(E.INPROGRESS));
        const result = self.functions.aio_return(made);
        return if (errno == 0) result else -@as(isize, errno);
    }

    /// What was asked to end runs on: see the head of this file.
    pub fn cancel(_: *Aio, _: i32, _: *Block) aio.Cancel {
        return .runs_on;
    }

    pub fn take(self: *Aio, running: []const *Block, out: []u64) usize {
        var count: usize = 0;
        for (running) |made| {
            if (count == out.len) break;
            if (self.status(made) == @intFromEnum(E.INPROGRESS)) continue;
            out[count] = made.token;
            count += 1;
        }
        return count;
    }

    /// What ended before this rings no more; what ends later rings.
    pub fn arm(self: *Aio, running: []const *Block) bool {
        self.setQuiet(false);
        var token: [1]u64 = undefined;
        return self.take(running, &token) == 0;
    }

    pub fn disarm(self: *Aio) void {
        self.setQuiet(true);
    }

    fn setQuiet(self: *Aio, quiet: bool) void {
        self.shared.mutex.lock();
        defer self.shared.mutex.unlock();
        self.shared.quiet = quiet;
    }
};
