//! Worker threads of io_uring (io-wq), as /proc shows those of this process.

const std = @import("std");
const linux = std.os.linux;

/// io_wq_worker() in io_uring/io-wq.c names them so, and with the number of their task.
const name = "iou-wrk-";
const count_max = 64;
/// From a completion to the end of its request a worker takes less than a microsecond.
const passed_ns = 200 * std.time.ns_per_us;

/// Worker threads that may be between the completion of a request and the end of it, which drops the file
/// (io_worker_handle_work() and io_wq_free_work()). In between they do not sleep. None where /proc does not tell.
pub const Workers = struct {
    tasks: [count_max]Task = undefined,
    count: usize = 0,

    const Task = struct { id: u32, ran_ns: u64 };

    /// Notes those that run, or wait for a processor.
    pub fn note(workers: *Workers) void {
        workers.count = 0;
        const folder = open("/proc/self/task", .{ .DIRECTORY = true, .CLOEXEC = true }) orelse return;
        defer _ = linux.close(folder);
        var entries: [4096]u8 align(@alignOf(linux.dirent64)) = undefined;
        while (true) {
            const bytes: isize = @bitCast(linux.getdents64(folder, &entries, entries.len));
            if (bytes <= 0) return;
            var at: usize = 0;
            while (at < @as(usize, @intCast(bytes))) {
                const entry: *align(1) linux.dirent64 = @ptrCast(&entries[at]);
                at += entry.reclen;
                const text: [*:0]const u8 = @ptrCast(&entry.name);
                const id = std.fmt.parseInt(u32, std.mem.span(text), 10) catch continue;
                if (workers.count == count_max) return;
                if (!isWorker(id) or !runs(id)) continue;
                workers.tasks[workers.count] = .{ .id = id, .ran_ns = ranNs(id) };
                workers.count += 1;
            }
        }
    }

    /// Whether one of those that were noted may not have got on since.
    pub fn areLate(workers: *Workers) bool {
        while (workers.count > 0) {
            const task = workers.tasks[workers.count - 1];
            if (runs(task.id) and ranNs(task.id) < task.ran_ns + passed_ns) return true;
            workers.count -= 1;
        }
        return false;
    }
};

/// `stat` takes the kernel several times as long as `comm`, and most threads are no workers.
fn isWorker(id: u32) bool {
    var text: [64]u8 = undefined;
    return std.mem.startsWith(u8, read(id, "comm", &text), name);
}

fn runs(id: u32) bool {
    var text: [128]u8 = undefined;
    return stateOf(read(id, "stat", &text)) == 'R';
}

/// proc_pid_stat(5): the number, the name in brackets, the state.
fn stateOf(stat: []const u8) ?u8 {
    const end = std.mem.lastIndexOf(u8, stat, ") ") orelse return null;
    return if (end + 2 < stat.len) stat[end + 2] else null;
}

/// Time on a processor (Documentation/scheduler/sched-stats.rst); 0 where the kernel does not count it.
fn ranNs(id: u32) u64 {
    var text: [128]u8 = undefined;
    var words = std.mem.tokenizeAny(u8, read(id, "schedstat", &text), " \n");
    return std.fmt.parseInt(u64, words.next() orelse "0", 10) catch 0;
}

fn read(id: u32, file: []const u8, text: []u8) []const u8 {
    var path: [64]u8 = undefined;
    const whole = std.fmt.bufPrintZ(&path, "/proc/self/task/{d}/{s}", .{ id, file }) catch return "";
    const fd = open(whole, .{ .CLOEXEC = true }) orelse return "";
    defer _ = linux.close(fd);
    const bytes: isize = @bitCast(linux.read(fd, text.ptr, text.len));
    return if (bytes > 0) text[0..@intCast(bytes)] else "";
}

fn open(path: [*:0]const u8, how: linux.O) ?i32 {
    const fd: isize = @bitCast(linux.open(path, how, 0));
    return if (fd < 0) null else @intCast(fd);
}

test "a thread that runs is told from one that sleeps; this process has no workers" {
    const expect = std.testing.expect;
    try expect(stateOf("4711 (iou-wrk-4242) R 1 4711") == 'R');
    try expect(stateOf("4711 (a) S) S 1 4711") == 'S');
    try expect(stateOf("4711 (iou-wrk-4242) ") == null);
    try expect(stateOf("") == null);
    try expect(!isWorker(@intCast(linux.gettid())));
    try expect(runs(@intCast(linux.gettid())));
    try expect(ranNs(@intCast(linux.gettid())) > 0);
    var workers: Workers = .{};
    workers.note();
    try expect(!workers.areLate());
    // One that has got on, or is gone, is late no more.
    workers.tasks[0] = .{ .id = std.math.maxInt(u32), .ran_ns = 0 };
    workers.count = 1;
    try expect(!workers.areLate());
}
