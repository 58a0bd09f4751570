//! A deterministic fake kernel: one seed decides everything. It has media in memory, descriptors,
//! a virtual clock, and requests that complete later, in any order, with the faults of
//! `device/faults.zig`. It has no submission interface: those are `lane.zig` (a lane of its own),
//! `uring.zig` and `posix_aio.zig` (under the real lanes), and `inline_pool.zig`. It does not
//! ship.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const data_ranges = @import("../os/data_ranges.zig");
const faults = @import("../device/faults.zig");
const Iovec = @import("../os/iovec.zig").Iovec;
const Piece = @import("../engine/operation.zig").Piece;
pub const Disk = @import("disk.zig").Disk;
const request_file = @import("request.zig");
pub const Ask = request_file.Ask;
pub const Owner = request_file.Owner;
pub const Request = request_file.Request;
const Answer = @import("../os/space.zig").Answer;
const E = std.posix.E;
const negative = @import("../os/os.zig").negative;

/// Descriptors start here, so that an index is never mistaken for one.
const fd_first = 1000;
const never = request_file.never;
const path_prefix = "fake:";

pub const File = struct {
    disk: ?*Disk = null,
    writable: bool = true,
    /// Requests that have ended and still hold it: closed, it would go on to keep the disk busy.
    holders: u32 = 0,
};

pub const Kernel = struct {
    prng: std.Random.DefaultPrng,
    now_ns: u64 = 1_000_000_000,
    weather: faults.Weather = .{},
    disks: []Disk,
    files: []File,
    requests: []Request,
    running_count: u32 = 0,
    /// The wake descriptor is readable.
    rung: bool = false,
    rings: u64 = 0,
    /// Times a whole submission failed for good.
    hard_refusals: u64 = 0,
    /// Other processes hold all room of the system until then.
    others_until_ns: u64 = 0,

    pub const Memory = struct { disks: []Disk, files: []File, requests: []Request };

    pub fn init(seed: u64, memory: Memory) Kernel {
        @memset(memory.files, .{});
        @memset(memory.requests, .{});
        return .{
            .prng = .init(seed),
            .disks = memory.disks,
            .files = memory.files,
            .requests = memory.requests,
        };
    }

    pub fn random(kernel: *Kernel) std.Random {
        return kernel.prng.random();
    }

    pub fn happens(kernel: *Kernel, rate: u8) bool {
        if (rate == 0) return false;
        return kernel.random().int(u8) < rate;
    }

    pub fn ring(kernel: *Kernel) void {
        kernel.rung = true;
        kernel.rings += 1;
    }

    // Time -------------------------------------------------------------------------------------

    /// Each system call takes a little time; requests end meanwhile.
    pub fn tick(kernel: *Kernel) void {
        kernel.advance(kernel.now_ns + kernel.random().uintLessThan(u64, 20_000));
    }

    /// Moves the clock and ends what is due, in any order.
    pub fn advance(kernel: *Kernel, now_ns: u64) void {
        assert(now_ns >= kernel.now_ns);
        kernel.now_ns = now_ns;
        while (kernel.pickDue()) |request| kernel.end(request);
    }

    fn pickDue(kernel: *Kernel) ?*Request {
        var count: u32 = 0;
        for (kernel.requests) |*request| count += @intFromBool(kernel.isDue(request));
        if (count == 0) return null;
        var skip = kernel.random().uintLessThan(u32, count);
        for (kernel.requests) |*request| {
            if (!kernel.isDue(request)) continue;
            if (skip == 0) return request;
            skip -= 1;
        }
        unreachable;
    }

    fn isDue(kernel: *const Kernel, request: *const Request) bool {
        return request.state == .running and request.due_ns <= kernel.now_ns;
    }

    /// When the next event is due, or null if there is none.
    pub fn nextEventNs(kernel: *const Kernel) ?u64 {
        var next: u64 = never;
        for (kernel.requests) |*request| {
            if (request.state == .running) next = @min(next, request.due_ns);
        }
        return if (next == never) null else next;
    }

    // Requests ---------------------------------------------------------------------------------

    /// Whether other processes hold all the room there is.
    pub fn othersHoldRoom(kernel: *Kernel) bool {
        if (kernel.now_ns < kernel.others_until_ns) return true;
        if (!kernel.happens(kernel.weather.others)) return false;
        const pause_ns = kernel.random().uintAtMost(u64, 100 * std.time.ns_per_ms);
        kernel.others_until_ns = kernel.now_ns + pause_ns;
        return pause_ns > 0;
    }

    /// Begins a request; it ends in `advance` or `cancel`, never here.
    pub fn start(kernel: *Kernel, owner: Owner, ask: Ask) *Request {
        const request = kernel.take(owner, ask);
        const disk = kernel.diskOf(ask.fd) orelse return request;
        request.disk = disk;
        request.sequence = disk.drive.sequence;
        request.verdict = kernel.consult(disk, &ask);
        request.due_ns +|= request.verdict.latency_ns;
        return request;
    }

    /// Begins a task: the owner works when its time has come.
    pub fn startTask(kernel: *Kernel, owner: Owner, user: u64) *Request {
        const request = kernel.take(owner, .{ .kind = .read, .fd = -1, .user = user });
        request.task = true;
        // A thread's call may be slow, but a shutdown waits longer.
        const slow_ns_max = 900 * std.time.ns_per_ms;
        if (request.due_ns == never) request.due_ns = kernel.now_ns + kernel.random().uintAtMost(u64, slow_ns_max);
        return request;
    }

    fn take(kernel: *Kernel, owner: Owner, ask: Ask) *Request {
        const request = for (kernel.requests) |*candidate| {
            if (candidate.state == .free) break candidate;
        } else unreachable; // the owner of the memory counts them
        request.* = .{ .state = .running, .ask = ask, .owner = owner };
        request.due_ns = kernel.now_ns;
        kernel.running_count += 1;
        if (kernel.happens(kernel.weather.stuck)) {
            request.due_ns = never;
        } else {
            request.cancellable = !kernel.happens(kernel.weather.uncancellable);
            const latency_ns_max = kernel.weather.latency_ns_max;
            if (latency_ns_max > 0 and !kernel.happens(kernel.weather.immediate)) {
                request.due_ns += kernel.random().uintAtMost(u64, latency_ns_max);
            }
        }
        return request;
    }

    fn end(kernel: *Kernel, request: *Request) void {
        assert(request.state == .running);
        if (!request.task) {
            request.result = if (request.disk) |disk|
                kernel.execute(disk, &request.ask, &request.verdict, request.sequence)
            else
                negative(.BADF);
        }
        kernel.finish(request);
    }

    fn finish(kernel: *Kernel, request: *Request) void {
        request.state = .finished;
        kernel.running_count -= 1;
        request.owner.finish(request.owner.context, request);
    }

    /// True when it has ended with ECANCELED; false when it is too late, or not possible.
    pub fn cancel(kernel: *Kernel, request: *Request) bool {
        if (request.state != .running or !request.cancellable) return false;
        request.result = negative(.CANCELED);
        kernel.finish(request);
        return true;
    }

    /// Removes a task silently.
    pub fn withdraw(kernel: *Kernel, request: *Request) void {
        assert(request.state == .running);
        assert(request.task);
        kernel.running_count -= 1;
        request.* = .{};
    }

    /// The owner is done with it.
    pub fn release(_: *Kernel, request: *Request) void {
        assert(request.state == .finished);
        request.* = .{};
    }

    // Files ------------------------------------------------------------------------------------

    /// A new descriptor, or null when the table is full.
    pub fn openDisk(kernel: *Kernel, disk: *Disk) ?i32 {
        for (kernel.files, 0..) |*file, index| {
            if (file.disk != null) continue;
            file.* = .{ .disk = disk };
            disk.refused_now = false;
            disk.refused_cached = false;
            return @intCast(fd_first + index);
        }
        return null;
    }

    pub fn hold(kernel: *Kernel, fd: i32) void {
        kernel.files[@intCast(fd - fd_first)].holders += 1;
    }

    pub fn letGo(kernel: *Kernel, fd: i32) void {
        kernel.files[@intCast(fd - fd_first)].holders -= 1;
    }

    pub fn diskOf(kernel: *const Kernel, fd: i32) ?*Disk {
        if (fd < fd_first or fd >= fd_first + kernel.files.len) return null;
        return kernel.files[@intCast(fd - fd_first)].disk;
    }

    /// Whether writing to an open descriptor is more than EBADF.
    pub fn mayWrite(kernel: *const Kernel, fd: i32) bool {
        return kernel.files[@intCast(fd - fd_first)].writable;
    }

    pub fn openReadOnly(kernel: *Kernel, disk: *Disk) ?i32 {
        const fd = kernel.openDisk(disk) orelse return null;
        kernel.files[@intCast(fd - fd_first)].writable = false;
        return fd;
    }

    /// Cuts the power: everything in flight on it ends with ENXIO, and some of it may have
    /// reached the medium.
    pub fn crash(kernel: *Kernel, disk: *Disk) void {
        for (kernel.requests) |*request| {
            if (request.state != .running or request.task) continue;
            if (request.disk != disk) continue;
            const is_write = operationOf(request.ask.kind) == .write;
            if (is_write and !disk.unplugged) _ = move(disk, &request.ask, request.ask.bytes);
            request.due_ns = kernel.now_ns;
        }
        disk.drive.crash(kernel.random());
        disk.unplugged = true;
    }

    fn operationOf(kind: abi.Kind) faults.Operation {
        return switch (kind) {
            .read, .readv => .read,
            .write, .writev, .write_zeroes, .allocate, .truncate => .write,
            .sync_all, .sync_data => .sync,
            .discard => .discard,
            else => .any,
        };
    }

    fn consult(kernel: *Kernel, disk: *Disk, ask: *const Ask) faults.Verdict {
        const operation = operationOf(ask.kind);
        return disk.rules.consult(kernel.random(), operation, ask.offset, ask.bytes);
    }

    /// Executes the request now. Returns bytes, or a negative errno.
    fn execute(kernel: *Kernel, disk: *Disk, ask: *const Ask, verdict: *const faults.Verdict, sequence: u64) isize {
        switch (disk.nature) {
            .medium => {},
            .pipe => return negative(.SPIPE),
            .sink => return if (operationOf(ask.kind) == .write) @intCast(ask.bytes) else 0,
        }
        if (verdict.crash and !disk.unplugged) kernel.crash(disk);
        if (verdict.unplug) disk.unplugged = true;
        if (disk.unplugged) return negative(.NXIO);
        if (kernel.happens(kernel.weather.interrupted)) return negative(.INTR);
        if (kernel.happens(kernel.weather.again)) return negative(.AGAIN);
        const failure = if (verdict.errno != 0) -@as(isize, verdict.errno) else kernel.accident(ask);
        switch (ask.kind) {
            .sync_all, .sync_data => {
                if (failure) |errno| return errno;
                disk.drive.sync(sequence);
                return 0;
            },
            else => {},
        }
        if (!ask.piece().isAligned(disk.alignment, disk.memory_alignment)) return negative(.INVAL);
        const is_write = ask.kind == .write or ask.kind == .writev;
        if (verdict.torn) |bytes| {
            if (is_write) _ = move(disk, ask, bytes);
            return failure orelse negative(.IO);
        }
        if (failure) |errno| {
            // Some of it may have been done.
            const part = kernel.random().uintAtMost(u64, ask.bytes);
            if (is_write and verdict.errno == 0) _ = move(disk, ask, part);
            return errno;
        }
        if (is_write and kernel.happens(kernel.weather.idle_write)) return 0;
        if (is_write and ask.bytes > 0 and disk.writable(ask.offset, ask.bytes) == 0) {
            return negative(.NOSPC);
        }
        return @intCast(move(disk, ask, @min(verdict.limit, kernel.shorten(disk, ask))));
    }

    fn accident(kernel: *Kernel, ask: *const Ask) ?isize {
        if (!kernel.happens(kernel.weather.io_error)) return null;
        const reads = [_]E{ .IO, .FAULT, .PERM, .OPNOTSUPP, .CANCELED };
        const writes = [_]E{ .IO, .NOSPC, .DQUOT, .OPNOTSUPP, .CANCELED };
        const choices = if (operationOf(ask.kind) == .read) &reads else &writes;
        return negative(choices[kernel.random().uintLessThan(usize, choices.len)]);
    }

    /// Bytes transferred this time; at least one.
    fn shorten(kernel: *Kernel, disk: *const Disk, ask: *const Ask) u64 {
        if (ask.bytes < 2 or !kernel.happens(kernel.weather.short)) return ask.bytes;
        const part = 1 + kernel.random().uintLessThan(u64, ask.bytes - 1);
        // A direct read never ends within a sector but at the end of the file.
        const is_read = operationOf(ask.kind) == .read;
        if (disk.alignment == 1) return part;
        if (is_read or kernel.random().boolean()) {
            return @max(part - part % disk.alignment, @min(disk.alignment, ask.bytes));
        }
        return part;
    }

    /// Transfers at most `limit` bytes between memory and medium.
    fn move(disk: *Disk, ask: *const Ask, limit: u64) u64 {
        const is_read = ask.kind == .read or ask.kind == .readv;
        const possible = if (is_read) disk.readable(ask.offset, ask.bytes) else disk.writable(ask.offset, ask.bytes);
        const total = @min(possible, limit);
        const piece = ask.piece();
        var plain: [1]Iovec = undefined;
        var done: u64 = 0;
        for (piece.buffers(&plain)) |buffer| {
            const bytes = @min(buffer.len, total - done);
            if (bytes == 0) continue;
            const memory = @as([*]u8, @ptrFromInt(buffer.base))[0..bytes];
            if (is_read) disk.drive.read(ask.offset + done, memory) else disk.write(ask.offset + done, memory);
            done += bytes;
        }
        assert(done == total);
        return done;
    }

    // Blocking system calls, as `perform` makes them -------------------------------------------

    fn call(kernel: *Kernel, ask: Ask) isize {
        const disk = kernel.diskOf(ask.fd) orelse return negative(.BADF);
        const verdict = kernel.consult(disk, &ask);
        return kernel.execute(disk, &ask, &verdict, disk.drive.sequence);
    }

    pub fn pread(kernel: *Kernel, fd: i32, address: u64, bytes: u64, offset: u64) isize {
        return kernel.call(.{ .kind = .read, .fd = fd, .address = address, .bytes = bytes, .offset = offset });
    }

    pub fn pwrite(kernel: *Kernel, fd: i32, address: u64, bytes: u64, offset: u64) isize {
        return kernel.call(.{ .kind = .write, .fd = fd, .address = address, .bytes = bytes, .offset = offset });
    }

    pub fn preadv(kernel: *Kernel, fd: i32, iovecs: []const Iovec, offset: u64) isize {
        return kernel.call(vector(.readv, fd, iovecs, offset));
    }

    pub fn readNow(kernel: *Kernel, fd: i32, iovecs: []const Iovec, offset: u64) isize {
        if (kernel.diskOf(fd)) |disk| if (disk.refuses_now) {
            if (disk.refused_now) @panic("asks for a read at once again");
            disk.refused_now = true;
            return negative(.OPNOTSUPP);
        };
        if (kernel.happens(kernel.weather.uncached)) return negative(.AGAIN);
        return kernel.call(vector(.readv, fd, iovecs, offset));
    }

    pub fn isTmpfs(kernel: *Kernel, fd: i32) bool {
        const disk = kernel.diskOf(fd) orelse return false;
        return disk.is_tmpfs;
    }

    pub fn isCached(kernel: *Kernel, fd: i32, _: u64, bytes: u64) isize {
        assert(bytes > 0);
        if (kernel.diskOf(fd)) |disk| {
            if (!disk.is_tmpfs) @panic("looks at what is no tmpfs");
            if (disk.refuses_cached) {
                if (disk.refused_cached) @panic("asks what is in memory again");
                disk.refused_cached = true;
                return negative(.NOSYS);
            }
        }
        return @intFromBool(!kernel.happens(kernel.weather.uncached));
    }

    pub fn pwritev(kernel: *Kernel, fd: i32, iovecs: []const Iovec, offset: u64) isize {
        return kernel.call(vector(.writev, fd, iovecs, offset));
    }

    pub fn vector(kind: abi.Kind, fd: i32, iovecs: []const Iovec, offset: u64) Ask {
        var bytes: u64 = 0;
        for (iovecs) |iovec| bytes += iovec.len;
        return .{
            .kind = kind,
            .fd = fd,
            .address = @intFromPtr(iovecs.ptr),
            .bytes = bytes,
            .iovec_count = @intCast(iovecs.len),
            .offset = offset,
        };
    }

    pub fn syncAll(kernel: *Kernel, fd: i32) isize {
        return kernel.call(.{ .kind = .sync_all, .fd = fd });
    }

    pub fn syncData(kernel: *Kernel, fd: i32) isize {
        return kernel.call(.{ .kind = .sync_data, .fd = fd });
    }

    /// Checks and accidents that every changing call shares; null when it may go on.
    fn hindered(kernel: *Kernel, ask: Ask) ?isize {
        const disk = kernel.diskOf(ask.fd) orelse return negative(.BADF);
        const verdict = kernel.consult(disk, &ask);
        if (verdict.crash and !disk.unplugged) kernel.crash(disk);
        if (verdict.unplug) disk.unplugged = true;
        if (disk.unplugged) return negative(.NXIO);
        if (kernel.happens(kernel.weather.interrupted)) return negative(.INTR);
        if (verdict.errno != 0) return -@as(isize, verdict.errno);
        return kernel.accident(&ask);
    }

    pub fn truncate(kernel: *Kernel, fd: i32, length: u64) isize {
        if (kernel.hindered(.{ .kind = .truncate, .fd = fd })) |result| return result;
        const disk = kernel.diskOf(fd).?;
        if (!disk.grows) return negative(.INVAL);
        if (length > disk.drive.size) return negative(.FBIG);
        disk.truncate(length);
        return 0;
    }

    pub fn allocate(kernel: *Kernel, fd: i32, offset: u64, length: u64) isize {
        const room = if (kernel.diskOf(fd)) |disk| disk.drive.size -| offset else 0;
        const part = kernel.random().uintAtMost(u64, @min(length, room));
        const hindrance = kernel.hindered(.{ .kind = .allocate, .fd = fd, .offset = offset, .bytes = length });
        const disk = kernel.diskOf(fd) orelse return negative(.BADF);
        const failure = hindrance orelse if (!disk.grows)
            negative(.NODEV)
        else if (length > room) negative(.NOSPC) else {
            disk.size = @max(disk.size, offset + length);
            return 0;
        };
        if (disk.grows and disk.reserves_by_writing and !disk.unplugged and part > 0) {
            disk.size = @max(disk.size, offset + part);
        }
        return failure;
    }

    pub fn space(kernel: *Kernel, fd: i32) Answer {
        const disk = kernel.diskOf(fd) orelse return .{ .refused = negative(.BADF) };
        if (disk.unplugged) return .{ .refused = negative(.NXIO) };
        return .{ .space = .{ .size = disk.size, .reserved = 0, .free = disk.drive.size } };
    }

    /// A truncation that always works.
    pub fn cut(kernel: *Kernel, fd: i32, size: u64) isize {
        kernel.diskOf(fd).?.truncate(size);
        return 0;
    }

    pub fn fileSize(kernel: *Kernel, fd: i32) isize {
        const disk = kernel.diskOf(fd) orelse return negative(.BADF);
        return if (disk.unplugged) negative(.NXIO) else @intCast(disk.size);
    }

    pub fn freesPages(kernel: *Kernel, fd: i32) bool {
        const disk = kernel.diskOf(fd) orelse return false;
        return disk.frees_pages;
    }

    /// fspacectl(2) of FreeBSD 15 in a tmpfs, which cuts the range at the end of the file.
    pub fn freePages(kernel: *Kernel, fd: i32, offset: u64, length: u64) isize {
        if (kernel.hindered(.{ .kind = .discard, .fd = fd, .offset = offset, .bytes = length })) |r| return r;
        const disk = kernel.diskOf(fd).?;
        const bytes = disk.readable(offset, length);
        const page = std.heap.pageSize();
        if (bytes > 0 and offset % page == 0 and bytes < page) {
            @panic("fspacectl of a part of a page never returns, and nothing ends it");
        }
        disk.drive.zero(offset, bytes);
        return 0;
    }

    pub fn discard(kernel: *Kernel, fd: i32, _: abi.FileKind, offset: u64, length: u64, method: *abi.Method) isize {
        method.* = .discard;
        return kernel.clear(.discard, fd, offset, length);
    }

    pub fn dataRanges(_: *Kernel, _: i32, _: bool, stop: u64, answer: *abi.DataRanges) isize {
        return data_ranges.allData(answer, stop);
    }

    pub fn writeZeroes(kernel: *Kernel, fd: i32, _: abi.FileKind, offset: u64, length: u64, method: *abi.Method) isize {
        method.* = .zeroout;
        return kernel.clear(.write_zeroes, fd, offset, length);
    }

    fn clear(kernel: *Kernel, kind: abi.Kind, fd: i32, offset: u64, length: u64) isize {
        if (kernel.hindered(.{ .kind = kind, .fd = fd, .offset = offset, .bytes = length })) |r| return r;
        const disk = kernel.diskOf(fd).?;
        if (disk.readable(offset, length) < length) return negative(.INVAL);
        disk.drive.zero(offset, length);
        return 0;
    }

    pub fn invalidateCache(kernel: *Kernel, fd: i32, _: abi.FileKind) isize {
        return kernel.syncAll(fd);
    }

    pub fn rereadPartitions(kernel: *Kernel, fd: i32) isize {
        return if (kernel.diskOf(fd) == null) negative(.BADF) else 0;
    }

    pub fn close(kernel: *Kernel, fd: i32) isize {
        if (kernel.diskOf(fd) == null) return negative(.BADF);
        const file = &kernel.files[@intCast(fd - fd_first)];
        if (file.holders > 0) @panic("a descriptor is closed that the ring still holds");
        file.disk = null;
        return 0;
    }

    /// Paths are "fake:N", N the position of the disk.
    pub fn open(kernel: *Kernel, _: i32, path: [*:0]const u8, _: u32, _: u32, info: *abi.FileInfo) isize {
        const name = std.mem.span(path);
        if (!std.mem.startsWith(u8, name, path_prefix)) return negative(.NOENT);
        const index = std.fmt.parseInt(usize, name[path_prefix.len..], 10) catch return negative(.NOENT);
        if (index >= kernel.disks.len) return negative(.NOENT);
        if (kernel.disks[index].unplugged) return negative(.NXIO);
        const fd = kernel.openDisk(&kernel.disks[index]) orelse return negative(.MFILE);
        return kernel.fileInfo(fd, info);
    }

    pub fn fileInfo(kernel: *Kernel, fd: i32, info: *abi.FileInfo) isize {
        const disk = kernel.diskOf(fd) orelse return negative(.BADF);
        if (disk.unplugged) return negative(.NXIO);
        if (disk.nature == .pipe) return negative(.SPIPE);
        info.* = std.mem.zeroes(abi.FileInfo);
        info.fd = fd;
        info.kind = @intFromEnum(disk.kind);
        info.memory_alignment = disk.memory_alignment;
        info.offset_alignment = disk.alignment;
        info.direct = @intFromBool(disk.alignment > 1);
        info.readable = 1;
        info.writable = @intFromBool(kernel.mayWrite(fd));
        info.size = @floatFromInt(disk.size);
        return 0;
    }

    pub fn geometry(kernel: *Kernel, fd: i32, out: *abi.Geometry) isize {
        const disk = kernel.diskOf(fd) orelse return negative(.BADF);
        if (disk.unplugged) return negative(.NXIO);
        out.* = std.mem.zeroes(abi.Geometry);
        out.size = @floatFromInt(disk.size);
        out.logical_sector_size = @floatFromInt(disk.drive.sector_size);
        out.physical_sector_size = @floatFromInt(disk.drive.sector_size);
        inline for (.{ "minimum_io_size", "optimal_io_size", "maximum_transfer_size" }) |name| {
            @field(out, name) = -1;
        }
        return 0;
    }
};
