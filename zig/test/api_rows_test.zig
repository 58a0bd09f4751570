//! Tests through the C ABI: a row of the submission table may be wrong in any way, except for
//! naming unmapped memory. A status is returned, on every backend.

const std = @import("std");
const abi = @import("core").abi;
const api = @import("core").api;
const shared = @import("api_test.zig");
const Opened = shared.Opened;
const options = shared.options;
const submission = shared.submission;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;

extern "c" fn mkstemp(template: [*:0]u8) c_int;

const device_bytes = 64 * 1024;

/// Where a row may lead: every backend of this system, and both media of a simulated device.
const Place = enum {
    threads,
    io_uring,
    posix_aio,
    simulated,
    strict,
    overlay,

    /// Null where this system refuses it: `test "every place can be had"` says so.
    fn open(place: Place, base_fd: i32) !?Opened {
        var wanted = options(switch (place) {
            .simulated, .strict, .overlay => .simulated,
            inline else => |same| @field(abi.Backend, @tagName(same)),
        }, 4);
        wanted.device_bytes = device_bytes;
        wanted.device_sector_size = 512;
        wanted.device_memory_alignment = 512;
        wanted.device_base_fd = base_fd;
        if (place == .strict) wanted.device_flags = abi.DeviceFlag.strict;
        if (place == .overlay) wanted.device_flags = abi.DeviceFlag.overlay;
        var info: abi.RingInfo = undefined;
        if (api.ring_open(&wanted, &info) != 0) {
            try expect(place == .io_uring or place == .posix_aio);
            return null;
        }
        return .{ .ring = @ptrFromInt(@as(usize, @intFromFloat(info.ring))), .info = info };
    }
};

fn scratchFile() !c_int {
    var path = "/tmp/bun-aio-api-XXXXXX".*;
    const fd = mkstemp(&path);
    try expect(fd >= 0);
    _ = std.c.unlink(&path);
    try expectEqual(@as(c_int, 0), std.c.ftruncate(fd, device_bytes));
    return fd;
}

/// What `abi.Kind` and `abi.DeviceCommand` say of `address`.
const Wanted = struct {
    bytes: f64,
    alignment: u64 = 1,

    fn of(row: *const abi.Submission) Wanted {
        return switch (@as(abi.Kind, @enumFromInt(row.kind))) {
            .read, .write => .{ .bytes = row.length },
            .readv, .writev => .{ .bytes = 1, .alignment = 8 },
            .open, .stat, .probe, .geometry, .loop_status, .data_ranges, .copy_range => .{ .bytes = 1, .alignment = 8 },
            .attach_image => .{ .bytes = 1, .alignment = 4 },
            .unmount => .{ .bytes = 1 },
            .device_command => switch (row.argument) {
                @intFromEnum(abi.DeviceCommand.add_rule) => .{ .bytes = 1, .alignment = 8 },
                @intFromEnum(abi.DeviceCommand.read_image) => .{ .bytes = row.length },
                @intFromEnum(abi.DeviceCommand.write_image) => .{ .bytes = row.length },
                else => .{ .bytes = 0 },
            },
            else => .{ .bytes = 0 },
        };
    }

    fn isPossible(wanted: Wanted, address: f64) bool {
        if (wanted.bytes == 0) return true;
        return address >= 4096 and @as(u64, @intFromFloat(address)) % wanted.alignment == 0;
    }
};

/// Every kind at every address and length, and every command of a device.
fn kindsEverywhere(opened: Opened, fd: i32) !void {
    const bounce = opened.info.bounce_address;
    const addresses = [_]f64{ 0, 1, 8, 4088, bounce, bounce + 1, bounce + 4, bounce + 8, bounce + 4092 };
    for (std.enums.values(abi.Kind)) |kind| {
        for (addresses) |address| for ([_]f64{ 0, 1, 16, 512, 4096 }) |length| for (0..8) |argument| {
            var row = submission(0, kind);
            row.address = address;
            row.length = length;
            row.argument = @intCast(argument);
            // Nothing here attaches or closes what the next row needs.
            row.fd = if (kind == .attach_image or kind == .close) -1 else fd;
            try settlesAsItShould(opened, row);
        };
    }
}

fn settlesAsItShould(opened: Opened, row: abi.Submission) !void {
    // A vector has one buffer, which is right but for its length.
    const start = opened.memory() + opened.info.bounce_offset;
    @memset(start[0 .. 4 * 4096], 0);
    const bounce = opened.info.bounce_address;
    if (row.address >= bounce) {
        const words: [2]u64 = .{ @intFromFloat(bounce + 8192), @intFromFloat(row.length) };
        const kind: abi.Kind = @enumFromInt(row.kind);
        const at: usize = @intFromFloat(row.address - bounce);
        if (kind == .readv or kind == .writev) @memcpy(start[at..][0..16], std.mem.asBytes(&words));
    }
    opened.submissions()[0] = row;
    var ended: [1]abi.Completion = undefined;
    try opened.settle(1, &ended);
    const status = std.enums.fromInt(abi.Status, ended[0].status).?;
    var possible = Wanted.of(&row).isPossible(row.address);
    switch (@as(abi.Kind, @enumFromInt(row.kind))) {
        // The other buffers are empty.
        .readv, .writev => possible = possible and row.argument > 0,
        else => {},
    }
    errdefer std.debug.print("{any}: {t}\n", .{ row, status });
    try expectEqual(!possible, status == .invalid);
    try expectEqual(status == .failed, ended[0].errno > 0);
}

test "every place can be had" {
    const fd = try scratchFile();
    defer _ = std.c.close(fd);
    for (std.enums.values(Place)) |place| {
        const opened = try place.open(fd) orelse {
            return shared.skip(if (place == .io_uring) "io_uring is refused here" else "no POSIX AIO here");
        };
        try opened.close();
    }
}

test "no kind of operation needs an address to be good: a status comes back" {
    const fd = try scratchFile();
    defer _ = std.c.close(fd);
    for (std.enums.values(Place)) |place| {
        errdefer std.debug.print("on {t}\n", .{place});
        const opened = try place.open(fd) orelse continue;
        try kindsEverywhere(opened, fd);
        try kindsEverywhere(opened, -1);
        try opened.close();
    }
}

test "no row is trusted with its numbers" {
    const fd = try scratchFile();
    defer _ = std.c.close(fd);
    const max = std.math.maxInt(u32);
    for (std.enums.values(Place)) |place| {
        const opened = try place.open(fd) orelse continue;
        for (std.enums.values(abi.Kind)) |kind| for (0..12) |what| {
            var row = submission(0, kind);
            row.address = opened.info.bounce_address;
            row.length = 512;
            row.argument = 1;
            row.fd = if (kind == .attach_image or kind == .close) -1 else fd;
            switch (what) {
                0 => row.length = std.math.nan(f64),
                1 => row.length = -512,
                2 => row.length = 0x1p62,
                3 => row.length = 0x1p63,
                4 => row.offset = std.math.maxInt(i64) - 512,
                5 => row.offset = std.math.maxInt(u64),
                6 => row.argument = max,
                7 => row.mode = max,
                8 => row.fd = std.math.minInt(i32),
                9 => row.flags = max,
                10 => row.file = abi.files_max,
                11 => row.slot = max,
                else => unreachable,
            }
            // So much memory is nowhere: the simulated device would have to touch it.
            if (what == 2 and (kind == .read or kind == .write)) row.offset = device_bytes;
            @memset((opened.memory() + opened.info.bounce_offset)[0..4096], 0);
            opened.submissions()[0] = row;
            var ended: [1]abi.Completion = undefined;
            try opened.settle(1, &ended);
            const status = std.enums.fromInt(abi.Status, ended[0].status).?;
            errdefer std.debug.print("on {t}, {d}: {any}: {t}\n", .{ place, what, row, status });
            switch (what) {
                0, 1, 3, 5, 9, 10 => try expectEqual(abi.Status.invalid, status),
                else => try expect(status != .outcome_unknown),
            }
            try expectEqual(row.slot, ended[0].slot);
            // The generation is the row's own.
            try expectEqual(@as(i32, 0), api.cancel(opened.ring, row.slot, row.generation + 1));
        };
        try opened.close();
    }
}

test "a vector is as long as its buffers, and they are somewhere" {
    const fd = try scratchFile();
    defer _ = std.c.close(fd);
    for (std.enums.values(Place)) |place| {
        const opened = try place.open(fd) orelse continue;
        const bounce: u64 = @intFromFloat(opened.info.bounce_address);
        const words: [*]u64 = @ptrCast(@alignCast(opened.memory() + opened.info.bounce_offset));
        const wrong = [_][4]u64{
            .{ bounce + 4096, 512, bounce + 8192, 511 },
            .{ bounce + 4096, 512, bounce + 8192, 1024 },
            .{ bounce + 4096, 512, 0, 512 },
            .{ 8, 512, bounce + 4096, 512 },
            .{ bounce + 4096, std.math.maxInt(u64), bounce + 4096, 1025 },
        };
        for (wrong ++ [_][4]u64{.{ bounce + 4096, 512, bounce + 8192, 512 }}, 0..) |buffers, index| {
            for ([_]abi.Kind{ .readv, .writev }) |kind| {
                words[0..6].* = buffers ++ [2]u64{ 0, 0 };
                opened.submissions()[0] = submission(0, kind);
                opened.submissions()[0].address = opened.info.bounce_address;
                opened.submissions()[0].argument = 2;
                opened.submissions()[0].length = 1024;
                opened.submissions()[0].fd = fd;
                var ended: [1]abi.Completion = undefined;
                try opened.settle(1, &ended);
                const status: abi.Status = if (index < wrong.len) .invalid else .ok;
                try expectEqual(@intFromEnum(status), ended[0].status);
            }
        }
        try opened.close();
    }
}

test "a rule of a simulated device fails with an errno of the system, or is refused" {
    const opened = (try Place.open(.simulated, -1)).?;
    const rule: *abi.FaultRule = @ptrCast(@alignCast(opened.memory() + opened.info.bounce_offset));
    const eagain: i32 = @intFromEnum(std.posix.E.AGAIN);
    const eintr: i32 = @intFromEnum(std.posix.E.INTR);
    for ([_]i32{ -5, 4096, 70000, std.math.minInt(i32), std.math.maxInt(i32), eagain, eintr, 5 }) |errno| {
        rule.* = std.mem.zeroes(abi.FaultRule);
        rule.operation = @intFromEnum(abi.FaultOperation.any);
        rule.errno = errno;
        for ([_]*f64{ &rule.offset, &rule.short, &rule.torn, &rule.latency_ms }) |number| number.* = std.math.nan(f64);
        const rows = opened.submissions();
        rows[0] = submission(0, .device_command);
        rows[0].argument = @intFromEnum(abi.DeviceCommand.add_rule);
        rows[0].address = opened.info.bounce_address;
        rows[1] = submission(1, .sync_all);
        rows[2] = submission(2, .read);
        rows[2].address = opened.info.bounce_address + 4096;
        rows[2].length = 512;
        var ended: [3]abi.Completion = undefined;
        try opened.settle(3, &ended);
        const taken = errno == 5;
        for (ended) |row| {
            const failed = if (row.slot == 0) !taken else taken;
            try expectEqual(@intFromEnum(if (failed) abi.Status.failed else .ok), row.status);
            if (failed) try expectEqual(@as(i32, if (taken) 5 else 22), row.errno);
        }
    }
    try opened.close();
}

test "a file that is called open while it is written to keeps its writes" {
    for ([_]abi.Backend{ .threads, .automatic }) |backend| {
        const opened: Opened = try .open(backend);
        const fd = try scratchFile();
        defer _ = std.c.close(fd);
        const rows = opened.submissions();
        for (0..4) |index| {
            rows[index] = submission(@intCast(index), if (index % 2 == 0) .write else .probe);
            rows[index].file = 0;
            rows[index].fd = fd;
            rows[index].address = opened.info.bounce_address + @as(f64, @floatFromInt(index * 4096));
            rows[index].length = 512;
        }
        var ended: [4]abi.Completion = undefined;
        try opened.settle(4, &ended);
        for (ended) |row| try expectEqual(@intFromEnum(abi.Status.ok), row.status);
        try opened.close();
    }
}

test "a directory opened for a file that is written to changes nothing but what is closed with it" {
    const opened: Opened = try .open(.threads);
    const fd = try scratchFile();
    var directory: i32 = -1;
    // Until a round in which no thread has done the write before the flush returns.
    for (0..1000) |_| {
        const rows = opened.submissions();
        rows[0] = submission(0, .write);
        rows[0].address = opened.info.bounce_address;
        rows[0].length = 4096;
        rows[1] = submission(1, .sync_all);
        for (rows[0..2]) |*row| row.file = 0;
        for (rows[0..2]) |*row| row.fd = fd;
        var ready = api.flush(opened.ring, 2, 0);
        const all_run = ready == 0;
        try expectEqual(@as(i32, 0), api.directory_close(opened.ring, 0));
        directory = api.directory_open(opened.ring, 0);
        try expect(directory >= 0);
        var settled: i32 = 0;
        while (true) {
            for (opened.completions()[0..@intCast(ready)]) |row| try expectEqual(@intFromEnum(abi.Status.ok), row.status);
            settled += ready;
            if (settled == 2) break;
            std.Thread.yield() catch {};
            ready = api.drain(opened.ring, 0);
        }
        if (all_run) break;
    } else return error.NeverInFlight;
    try opened.close();
    try expectEqual(@as(c_int, -1), std.c.fcntl(directory, std.c.F.GETFD));
    try expect(std.c.fcntl(fd, std.c.F.GETFD) >= 0);
    _ = std.c.close(fd);
}

test "a simulated device of an impossible shape is refused" {
    const einval: i32 = @intFromEnum(std.posix.E.INVAL);
    var right = options(.simulated, 4);
    right.device_bytes = device_bytes;
    right.device_sector_size = 512;
    for (0..7) |what| {
        var wrong = right;
        switch (what) {
            0 => wrong.device_sector_size = 0,
            1 => wrong.device_sector_size = 513,
            2 => wrong.device_bytes = 0,
            3 => wrong.device_bytes = std.math.nan(f64),
            4 => wrong.device_bytes = -512,
            5 => wrong.device_bytes = 0x1p60,
            6 => wrong.device_memory_alignment = 3,
            else => unreachable,
        }
        var info: abi.RingInfo = undefined;
        try expectEqual(einval, api.ring_open(&wrong, &info));
    }
    try (try Opened.with(&right)).close();
}
