//! Tests through the C ABI: mistakes of JavaScript are a status, never a crash.

const std = @import("std");
const abi = @import("core").abi;
const api = @import("core").api;
const os = @import("core").os;
const Ring = @import("core").ring.Ring;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;

const invalid = api.invalid;

pub fn options(backend: abi.Backend, queue_depth: u32) abi.RingOptions {
    var wanted = std.mem.zeroes(abi.RingOptions);
    wanted.backend = @intFromEnum(backend);
    wanted.queue_depth = queue_depth;
    wanted.window_bytes = abi.window_bytes_default;
    return wanted;
}

/// A ring of the backend that every system has, with its tables.
pub const Opened = struct {
    ring: *Ring,
    info: abi.RingInfo,

    pub fn open(backend: abi.Backend) !Opened {
        return with(&options(backend, 4));
    }

    pub fn with(wanted: *const abi.RingOptions) !Opened {
        var info: abi.RingInfo = undefined;
        try expectEqual(@as(i32, 0), api.ring_open(wanted, &info));
        return .{ .ring = @ptrFromInt(@as(usize, @intFromFloat(info.ring))), .info = info };
    }

    pub fn memory(opened: Opened) [*]u8 {
        return @ptrFromInt(@as(usize, @intFromFloat(opened.info.memory)));
    }

    pub fn submissions(opened: Opened) []abi.Submission {
        const rows: [*]abi.Submission = @ptrCast(@alignCast(opened.memory() + opened.info.submissions_offset));
        return rows[0..opened.info.operations_max];
    }

    pub fn completions(opened: Opened) []const abi.Completion {
        const rows: [*]const abi.Completion = @ptrCast(@alignCast(opened.memory() + opened.info.completions_offset));
        return rows[0..opened.info.operations_max];
    }

    /// Flushes and drains until `count` completions have come; they stand in `out`.
    pub fn settle(opened: Opened, submitted: u32, out: []abi.Completion) !void {
        var filled: usize = 0;
        var ready = api.flush(opened.ring, submitted, 0);
        while (true) {
            try expect(ready >= 0);
            for (opened.completions()[0..@intCast(ready)]) |row| {
                out[filled] = row;
                filled += 1;
            }
            if (filled == out.len) return;
            std.Thread.yield() catch {};
            ready = api.drain(opened.ring, 0);
        }
    }

    /// As JavaScript does: close, then the deallocator of the shared memory.
    pub fn close(opened: Opened) !void {
        try expectEqual(@as(i32, 0), api.ring_close(opened.ring));
        api.ring_release(null, opened.ring);
    }
};

/// `npm test` lists the reason.
pub fn skip(reason: []const u8) error{SkipZigTest} {
    std.debug.print("[skipped: {s}]\n", .{reason});
    return error.SkipZigTest;
}

pub fn submission(slot: u32, kind: abi.Kind) abi.Submission {
    var row = std.mem.zeroes(abi.Submission);
    row.slot = slot;
    row.generation = 7;
    row.kind = @intFromEnum(kind);
    row.file = abi.file_none;
    row.fd = -1;
    return row;
}

test "a ring is refused for wrong options, with the reason" {
    var info: abi.RingInfo = undefined;
    try expectEqual(invalid, api.ring_open(null, &info));
    try expectEqual(invalid, api.ring_open(&options(.threads, 4), null));
    const einval: i32 = @intFromEnum(std.posix.E.INVAL);
    for ([_]u32{ 0, abi.queue_depth_max + 1, std.math.maxInt(u32) }) |queue_depth| {
        try expectEqual(einval, api.ring_open(&options(.threads, queue_depth), &info));
        try expectEqual(einval, info.refused_errno);
        try expectEqual(@intFromEnum(abi.Backend.threads), info.refused_backend);
    }
    var unknown = options(.threads, 4);
    unknown.backend = 99;
    try expectEqual(einval, api.ring_open(&unknown, &info));
}

test "calls without a ring are invalid" {
    try expectEqual(invalid, api.flush(null, 0, 0));
    try expectEqual(invalid, api.drain(null, 0));
    try expectEqual(invalid, api.cancel(null, 0, 0));
    try expectEqual(invalid, api.file_forget(null, 0));
    try expectEqual(invalid, api.slab_register(null, null, 4096));
    try expectEqual(invalid, api.slab_unregister(null, null));
    try expectEqual(invalid, api.ring_close(null));
    api.ring_release(null, null);
    api.slab_release(null, null);
}

test "a closed ring serves nothing, and closing twice is nothing" {
    const opened: Opened = try .open(.threads);
    try expectEqual(@as(i32, 0), api.ring_close(opened.ring));
    try expectEqual(@as(i32, 0), api.ring_close(opened.ring));
    try expectEqual(invalid, api.flush(opened.ring, 0, 0));
    try expectEqual(invalid, api.drain(opened.ring, 0));
    try expectEqual(invalid, api.cancel(opened.ring, 0, 0));
    try expectEqual(@as(i32, 0), api.file_forget(opened.ring, abi.files_max - 1));
    try expectEqual(invalid, api.file_forget(opened.ring, abi.files_max));
    api.ring_release(null, opened.ring);
}

test "more rows than there is room for are refused" {
    const opened: Opened = try .open(.threads);
    try expectEqual(invalid, api.flush(opened.ring, opened.info.operations_max + 1, 0));
    try expectEqual(invalid, api.flush(opened.ring, std.math.maxInt(u32), 0));
    try expectEqual(@as(i32, 0), api.flush(opened.ring, 0, 0));
    try opened.close();
}

test "submissions that break the rules settle as invalid, each" {
    for ([_]abi.Backend{ .threads, .automatic }) |backend| {
        const opened: Opened = try .open(backend);
        var wrong: [21]abi.Submission = undefined;
        for (&wrong, 0..) |*row, index| {
            row.* = submission(@intCast(index), .read);
            row.address = opened.info.bounce_address;
            row.length = 16;
        }
        wrong[0].kind = 9999;
        wrong[1].length = -1;
        wrong[2].length = 0.5;
        wrong[3].length = std.math.nan(f64);
        wrong[4].length = std.math.inf(f64);
        wrong[5].address = -4096;
        wrong[6].address = std.math.nan(f64);
        wrong[7].file = abi.files_max;
        wrong[8].offset = 1 << 63;
        wrong[9].offset = std.math.maxInt(i64) - 15;
        wrong[10].address = 0;
        wrong[11].flags = abi.SubmissionFlag.aligned | 21 << abi.SubmissionFlag.alignment_shift;
        wrong[12].slab = 12345; // no page starts there
        wrong[13].slab = -1;
        wrong[14].kind = @intFromEnum(abi.Kind.readv); // no buffers
        wrong[15].kind = @intFromEnum(abi.Kind.writev);
        wrong[15].argument = abi.iovecs_max + 1;
        wrong[16].kind = @intFromEnum(abi.Kind.readv);
        wrong[16].argument = 1;
        wrong[16].address += 4;
        wrong[17].kind = @intFromEnum(abi.Kind.readv); // a vector of nothing, nowhere
        wrong[17].argument = 1;
        wrong[17].address = 0;
        wrong[17].length = 0;
        wrong[18] = submission(18, .stat); // no room for the answer
        wrong[19] = submission(19, .open); // no path
        wrong[20] = submission(20, .write); // it was never counted among its file's writes
        wrong[20].file = 0;
        wrong[20].length = 16;
        @memcpy(opened.submissions()[0..wrong.len], &wrong);
        var rows: [wrong.len]abi.Completion = undefined;
        try opened.settle(wrong.len, &rows);
        for (rows, 0..) |row, index| {
            try expectEqual(@as(u32, @intCast(index)), row.slot);
            try expectEqual(@as(u32, 7), row.generation);
            try expectEqual(@intFromEnum(abi.Status.invalid), row.status);
            try expectEqual(@as(f64, 0), row.transferred);
        }
        try opened.close();
    }
}

test "a wrong descriptor fails with EBADF, its siblings go on" {
    for ([_]abi.Backend{ .threads, .automatic }) |backend| {
        const opened: Opened = try .open(backend);
        const rows = opened.submissions();
        rows[0] = submission(0, .read);
        rows[0].address = opened.info.bounce_address;
        rows[0].length = 8;
        rows[1] = submission(1, .sync_all);
        // The path stands where the answer will.
        rows[2] = submission(2, .open);
        rows[2].address = opened.info.bounce_address + 8192;
        rows[2].argument = abi.OpenFlag.read;
        rows[2].file = 0;
        const path = "/dev/null\x00";
        @memcpy(opened.memory() + opened.info.bounce_offset + 8192, path);
        var ended: [3]abi.Completion = undefined;
        try opened.settle(3, &ended);
        for (ended) |row| {
            const good = row.slot == 2;
            const status: abi.Status = if (good) .ok else .failed;
            try expectEqual(@intFromEnum(status), row.status);
            try expectEqual(if (good) @as(i32, 0) else @intFromEnum(std.posix.E.BADF), row.errno);
        }
        // The descriptor is the ring's to close: nobody closed it.
        try opened.close();
    }
}

test "teardown closes the descriptors that are ours, and no others" {
    for ([_]abi.Backend{ .threads, .automatic }) |backend| {
        const opened: Opened = try .open(backend);
        const memory = opened.memory() + opened.info.bounce_offset;
        const rows = opened.submissions();
        var fds: [4]c_int = undefined;
        for (&fds) |*fd| fd.* = std.c.open("/dev/null", .{ .ACCMODE = .RDONLY });
        for (0..4) |index| {
            rows[index] = submission(@intCast(index), .probe);
            rows[index].address = opened.info.bounce_address + @as(f64, @floatFromInt(index * 4096));
            rows[index].file = @intCast(index);
            rows[index].fd = fds[index];
            rows[index].argument = 1;
        }
        // Somebody else's; closed by itself; an open that fails, with a path that reads like the
        // number of a descriptor where the answer would be.
        rows[1].argument = 0;
        rows[3].kind = @intFromEnum(abi.Kind.open);
        rows[3].argument = abi.OpenFlag.read;
        rows[3].fd = -1;
        try expect(fds[3] < 128);
        @memcpy(memory[3 * 4096 ..][0..4], &[4]u8{ @intCast(fds[3]), 0, 0, 0 });
        var ended: [4]abi.Completion = undefined;
        try opened.settle(4, &ended);
        for (ended) |row| {
            const status: abi.Status = if (row.slot == 3) .failed else .ok;
            try expectEqual(@intFromEnum(status), row.status);
        }
        rows[0] = submission(0, .close);
        rows[0].file = 2;
        rows[0].fd = fds[2];
        try opened.settle(1, ended[0..1]);
        // The number is given to somebody else at once.
        const again = std.c.open("/dev/null", .{ .ACCMODE = .RDONLY });
        try expectEqual(fds[2], again);
        try opened.close();
        try expectEqual(@as(c_int, -1), std.c.fcntl(fds[0], std.c.F.GETFD));
        for ([_]c_int{ fds[1], again, fds[3] }) |fd| {
            try expect(std.c.fcntl(fd, std.c.F.GETFD) >= 0);
            _ = std.c.close(fd);
        }
    }
}

test "a read at once is for an idle ring that knows the way, and for arguments that make sense" {
    const opened: Opened = try .open(.threads);
    var byte: [1]u8 = .{0};
    try expectEqual(invalid, api.read_at_once(null, 0, 0, &byte, 1, 0));
    // Threads by name make every read themselves.
    try expectEqual(@as(i32, 0), api.read_at_once(opened.ring, 0, 0, &byte, 1, 0));
    try expectEqual(@as(i32, 0), api.read_at_once(opened.ring, abi.files_max, 0, &byte, 1, 0));
    try expectEqual(@as(i32, 0), api.read_at_once(opened.ring, 0, 0, null, 1, 0));
    for ([_]f64{ -1, 0x1p63, std.math.nan(f64), std.math.inf(f64) }) |offset| {
        try expectEqual(@as(i32, 0), api.read_at_once(opened.ring, 0, 0, &byte, 1, offset));
    }
    try expectEqual(@as(i32, 0), api.ring_close(opened.ring));
    try expectEqual(@as(i32, 0), api.read_at_once(opened.ring, 0, 0, &byte, 1, 0));
    api.ring_release(null, opened.ring);
}

test "what is unknown cannot be cancelled; what runs keeps a ring from closing" {
    const opened: Opened = try .open(.threads);
    try expectEqual(@as(i32, 0), api.cancel(opened.ring, 3, 7));
    const rows = opened.submissions();
    rows[0] = submission(3, .sync_all);
    const ready = api.flush(opened.ring, 1, 0);
    try expect(ready >= 0);
    if (ready == 0) {
        // A pool thread has it.
        try expectEqual(@as(i32, 1), api.ring_close(opened.ring));
        try expectEqual(@as(i32, 0), api.cancel(opened.ring, 3, 8));
        try expectEqual(@as(i32, 1), api.cancel(opened.ring, 3, 7));
        while (api.drain(opened.ring, 0) == 0) std.Thread.yield() catch {};
    }
    try expectEqual(@as(i32, 3), @as(i32, @intCast(opened.completions()[0].slot)));
    try expectEqual(@as(i32, 0), api.cancel(opened.ring, 3, 7));
    try opened.close();
}

test "a ring that is released with operations running cancels them" {
    for ([_]abi.Backend{ .threads, .automatic }) |backend| {
        const opened: Opened = try .open(backend);
        const rows = opened.submissions();
        for (rows[0..8], 0..) |*row, slot| {
            row.* = submission(@intCast(slot), .sync_all);
        }
        try expect(api.flush(opened.ring, 8, 0) >= 0);
        api.ring_release(null, opened.ring);
    }
}

test "slabs have limits, and are zeroed and aligned" {
    var info: abi.SlabInfo = undefined;
    try expectEqual(invalid, api.slab_create(4096, 4096, 1, null));
    for ([_]f64{ 0, -1, 0.5, 4096.5, std.math.nan(f64), std.math.inf(f64), 0x1p47 }) |size| {
        try expectEqual(invalid, api.slab_create(size, 4096, 1, &info));
    }
    for ([_]u32{ 0, 3, 4097, std.math.maxInt(u32) }) |alignment| {
        try expectEqual(invalid, api.slab_create(4096, alignment, 1, &info));
    }
    const enomem: i32 = @intFromEnum(std.posix.E.NOMEM);
    // 64 TiB with a gap of 2 GiB: more than the addresses that a process has.
    const huge = api.slab_create(0x1p46, 1 << 31, 1, &info);
    if (huge == 0) api.slab_release(null, header(info)) else try expectEqual(enomem, huge);
    for ([_]u32{ 1, 4096, 1 << 21 }) |alignment| {
        for ([_]f64{ 1, 4096, 4097 }) |size| {
            try expectEqual(@as(i32, 0), api.slab_create(size, alignment, 1, &info));
            const address: usize = @intFromFloat(info.address);
            try expectEqual(@as(usize, 0), address % @max(alignment, 4096));
            const bytes: [*]u8 = @ptrFromInt(address);
            for (bytes[0..@intFromFloat(size)]) |byte| try expectEqual(@as(u8, 0), byte);
            @memset(bytes[0..@intFromFloat(size)], 0xff);
            api.slab_release(null, header(info));
        }
    }
}

fn header(info: abi.SlabInfo) ?*anyopaque {
    return @ptrFromInt(@as(usize, @intFromFloat(info.header)));
}

test "memory can be registered once, and let go of by address" {
    const opened = Opened.open(.io_uring) catch return skip("io_uring is refused here");
    var info: abi.SlabInfo = undefined;
    try expectEqual(@as(i32, 0), api.slab_create(4096, 4096, 1, &info));
    try expectEqual(invalid, api.slab_register(opened.ring, null, 4096));
    try expectEqual(@as(i32, 0), api.slab_unregister(opened.ring, null));
    try expectEqual(@as(i32, 0), api.slab_register(opened.ring, header(info), 0));
    try expectEqual(@as(i32, 0), api.slab_register(opened.ring, header(info), 1)); // more chunks than there is room for
    if (api.slab_register(opened.ring, header(info), 4096) == 0) return skip("Linux 6.4 or later only");
    try expectEqual(@as(i32, 0), api.slab_register(opened.ring, header(info), 4096));
    try expectEqual(@as(i32, 0), api.slab_unregister(opened.ring, null));
    // JavaScript's reference goes: the memory stays for as long as it is registered.
    api.slab_release(null, header(info));
    const bytes: [*]u8 = @ptrFromInt(@as(usize, @intFromFloat(info.address)));
    @memset(bytes[0..4096], 0xff);
    try expectEqual(@as(i32, 0), api.slab_unregister(opened.ring, header(info)));
    try expectEqual(@as(i32, 0), api.slab_unregister(opened.ring, header(info)));
    try registeredElsewhere(opened);
    // What is still registered goes with the ring.
    for (0..70) |index| {
        try expectEqual(@as(i32, 0), api.slab_create(4096, 4096, 1, &info));
        const wanted: i32 = if (index < 64) 1 else 0;
        try expectEqual(wanted, api.slab_register(opened.ring, header(info), 4096));
        api.slab_release(null, header(info));
    }
    try opened.close();
}

/// A row that names a registered slab, but memory before, behind and across its edges, gets a plain request.
fn registeredElsewhere(opened: Opened) !void {
    var info: abi.SlabInfo = undefined;
    try expectEqual(@as(i32, 0), api.slab_create(3 * 4096, 4096, 1, &info));
    const middle = info.address + 4096;
    var registered: abi.SlabInfo = undefined;
    try expectEqual(@as(i32, 0), api.slab_create(4096, 4096, 1, &registered));
    try expectEqual(@as(i32, 1), api.slab_register(opened.ring, header(registered), 4096));
    const fd = std.c.open("/dev/zero", .{});
    defer _ = std.c.close(fd);
    for ([_]f64{ info.address, middle, registered.address, middle + 4000 }, 0..) |address, index| {
        const rows = opened.submissions();
        rows[0] = submission(@intCast(index), .read);
        rows[0].fd = fd;
        rows[0].address = address;
        rows[0].slab = registered.header;
        rows[0].length = 4096;
        var ready = api.flush(opened.ring, 1, 0);
        while (ready == 0) ready = api.drain(opened.ring, 0);
        try expectEqual(@as(i32, 1), ready);
        try expectEqual(@intFromEnum(abi.Status.ok), opened.completions()[0].status);
        try expectEqual(@as(f64, 4096), opened.completions()[0].transferred);
    }
    try expectEqual(@as(i32, 0), api.slab_unregister(opened.ring, header(registered)));
    api.slab_release(null, header(registered));
    api.slab_release(null, header(info));
}

test "a slab that JavaScript has let go of lives until its operation ends" {
    const opened: Opened = try .open(.threads);
    var info: abi.SlabInfo = undefined;
    try expectEqual(@as(i32, 0), api.slab_create(4096, 4096, 1, &info));
    const rows = opened.submissions();
    rows[0] = submission(0, .read);
    rows[0].address = info.address;
    rows[0].slab = info.header;
    rows[0].length = 4096;
    const ready = api.flush(opened.ring, 1, 0);
    try expect(ready >= 0);
    api.slab_release(null, header(info));
    if (ready == 0) while (api.drain(opened.ring, 0) == 0) std.Thread.yield() catch {};
    try opened.close();
}

test "rows that a cancel has filled take room until they are taken" {
    const opened: Opened = try .open(.threads);
    const max = opened.info.operations_max;
    const rows = opened.submissions();
    // Until a round in which no thread has done the write before the flush returns.
    for (0..1000) |_| {
        rows[0] = submission(0, .write);
        rows[1] = submission(1, .sync_all);
        rows[2] = submission(2, .sync_all);
        for (rows[0..3]) |*row| row.file = 0;
        rows[0].address = opened.info.bounce_address;
        rows[0].length = 4096;
        var ready = api.flush(opened.ring, 3, 0);
        const all_run = ready == 0;
        if (all_run) {
            // Both wait for the write.
            try expectEqual(@as(i32, 1), api.cancel(opened.ring, 1, 7));
            try expectEqual(@as(i32, 1), api.cancel(opened.ring, 2, 7));
            for (rows) |*row| row.kind = 9999;
            try expectEqual(invalid, api.flush(opened.ring, max - 2, 0));
            ready = api.flush(opened.ring, max - 3, 0);
            try expect(ready >= @as(i32, @intCast(max - 3 + 2)));
        }
        var settled = ready;
        while (settled < if (all_run) @as(i32, @intCast(max)) else 3) {
            std.Thread.yield() catch {};
            settled += api.drain(opened.ring, 0);
        }
        if (all_run) break;
    } else return error.NeverInFlight;
    try opened.close();
}

test "the clock goes forward, in milliseconds" {
    const before_ns = os.monotonicNs();
    const now = api.now_ms();
    const after_ns = os.monotonicNs();
    try expect(now * std.time.ns_per_ms >= @as(f64, @floatFromInt(before_ns)) - 1000);
    try expect(now * std.time.ns_per_ms <= @as(f64, @floatFromInt(after_ns)) + 1000);
}

test "a descriptor is asked for its position, and moved" {
    var directory = std.testing.tmpDir(.{ .iterate = true });
    defer directory.cleanup();
    const fd = directory.dir.handle;
    try expectEqual(@as(f64, 0), api.seek(fd, -1));
    try expectEqual(@as(f64, 0), api.seek(fd, 0));
    const badf = -@as(f64, @floatFromInt(@intFromEnum(os.E.BADF)));
    try expectEqual(badf, api.seek(-5, -1));
    const inval = -@as(f64, @floatFromInt(@intFromEnum(os.E.INVAL)));
    for ([_]f64{ -2, std.math.nan(f64), 0x1p63, std.math.inf(f64) }) |offset| {
        try expectEqual(inval, api.seek(fd, offset));
    }
}
