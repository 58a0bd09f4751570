//! A `Context` of `aio_case.zig` for this machine: real files in one directory, real limits.

const builtin = @import("builtin");
const std = @import("std");
const abi = @import("core").abi;
const Limit = @import("aio_case.zig").Limit;
const os = @import("core").os;
const pool = @import("core").thread_pool;
const c = std.c;

const PollFd = extern struct { fd: c_int, events: c_short, revents: c_short = 0 };
const POLLIN = 1;
const AF_UNIX = 1;
const SOCK_STREAM = 1;

extern "c" fn poll(fds: [*]PollFd, count: c_uint, timeout_ms: c_int) c_int;
extern "c" fn read(fd: c_int, buffer: [*]u8, length: usize) isize;
extern "c" fn pipe(fds: *[2]c_int) c_int;
extern "c" fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *[2]c_int) c_int;
extern "c" fn unlink(path: [*:0]const u8) c_int;

pub fn Context(comptime System: type, comptime faulty: bool) type {
    return struct {
        const Self = @This();

        pub const Os = System;
        pub const Pool = pool.Pool(System);
        pub const kernel_rules = builtin.os.tag == .freebsd;
        pub const faults = faulty;

        directory: []const u8,
        disk_path: ?[*:0]const u8 = null,
        count: u64,
        seed: u64 = 1,

        /// Why the last case failed or was skipped.
        text: []const u8 = "",
        expected: i64 = 0,
        actual: i64 = 0,

        pub fn fail(self: *Self, text: []const u8, expected: i64, actual: i64) error{Failed} {
            self.text = text;
            self.expected = expected;
            self.actual = actual;
            return error.Failed;
        }

        pub fn skip(self: *Self, text: []const u8) error{Skipped} {
            self.text = text;
            return error.Skipped;
        }

        pub fn equal(self: *Self, text: []const u8, expected: i64, actual: i64) error{Failed}!void {
            if (expected != actual) return self.fail(text, expected, actual);
        }

        pub fn pause(_: *Self, wake: Os.Wake, ms: u32) void {
            var fds = [1]PollFd{.{ .fd = wake.readFd(), .events = POLLIN }};
            if (poll(&fds, 1, @intCast(ms)) <= 0) return;
            var buffer: [64]u8 = undefined;
            // An eventfd gives its count once, a pipe what is in it.
            while (read(wake.readFd(), &buffer, buffer.len) == buffer.len) {}
        }

        fn path(self: *Self, name: []const u8, buffer: *[512]u8) [*:0]const u8 {
            const made = std.fmt.bufPrintZ(buffer, "{s}/bun-aio-{s}", .{ self.directory, name }) catch unreachable;
            return made.ptr;
        }

        pub fn openFile(self: *Self, name: []const u8, size: u64) error{Failed}!i32 {
            const bits = abi.OpenFlag;
            var buffer: [512]u8 = undefined;
            const file = self.path(name, &buffer);
            const fd = try self.openPath(file, bits.read | bits.write | bits.create | bits.truncate);
            if (os.native.truncate(fd, size) < 0) return self.fail("truncate", 0, -1);
            return fd;
        }

        pub fn openReadOnly(self: *Self, name: []const u8) error{Failed}!i32 {
            var buffer: [512]u8 = undefined;
            return self.openPath(self.path(name, &buffer), abi.OpenFlag.read);
        }

        pub fn openAppending(self: *Self, name: []const u8) error{Failed}!?i32 {
            const fd = try self.openFile(name, 0);
            const flags: c.O = .{ .ACCMODE = .RDWR, .APPEND = true };
            if (c.fcntl(fd, c.F.SETFL, @as(c_int, @bitCast(flags))) != 0) return self.fail("fcntl", 0, -1);
            return fd;
        }

        fn openPath(self: *Self, file: [*:0]const u8, flags: u32) error{Failed}!i32 {
            var info: abi.FileInfo = undefined;
            const result = Os.open(-1, file, flags, 0o600, &info);
            if (result < 0) return self.fail("open", 0, result);
            return info.fd;
        }

        pub fn openNull(self: *Self) error{Failed}!?i32 {
            return try self.openPath("/dev/null", abi.OpenFlag.read | abi.OpenFlag.write);
        }

        pub fn openPipe(self: *Self) error{Failed}!?[2]i32 {
            var fds: [2]c_int = undefined;
            if (pipe(&fds) != 0) return self.fail("pipe", 0, -1);
            return fds;
        }

        /// A socket nobody writes to. libc's AIO calls pread, which refuses it.
        pub fn openSilent(self: *Self) error{Failed}!?[2]i32 {
            if (!kernel_rules) return null;
            var fds: [2]c_int = undefined;
            if (socketpair(AF_UNIX, SOCK_STREAM, 0, &fds) != 0) return self.fail("socketpair", 0, -1);
            return fds;
        }

        pub fn disk(self: *Self) error{Failed}!?i32 {
            const given = self.disk_path orelse return null;
            return try self.openPath(given, abi.OpenFlag.read | abi.OpenFlag.write);
        }

        pub fn limit(_: *Self, which: Limit, value: ?u32) ?u32 {
            if (builtin.os.tag != .freebsd) return null;
            const name = switch (which) {
                .process => "vfs.aio.max_aio_queue_per_proc",
                .system => "vfs.aio.max_aio_queue",
            };
            const before = os.native.sysctlNumber(name) orelse return null;
            if (value) |wanted| {
                if (!os.native.setSysctl(name, @intCast(wanted))) return null;
            }
            return @intCast(before);
        }

        /// Files the cases leave behind.
        pub fn clean(self: *Self) void {
            for ([_][]const u8{
                "event",      "twice",     "discard",    "bad",        "long",       "full",  "partial",
                "mixed",      "readonly",  "fsync",      "waiter",     "single",     "end",   "vectors",
                "longvector", "onelist",   "twofiles-a", "twofiles-b", "badfd",      "many",  "limited",
                "noroom",     "cancel",    "sync",       "closedfd",   "closedring", "wakes", "oracle",
                "reused",     "appending", "early",      "cancellate", "places",     "holes", "reserved",
            }) |name| {
                var buffer: [512]u8 = undefined;
                _ = unlink(self.path(name, &buffer));
            }
        }
    };
}
