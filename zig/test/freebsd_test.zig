//! `zig build freebsd-test -Dtarget=x86_64-freebsd`: the cases of `aio_cases.zig` as a program
//! for a real FreeBSD kernel. docs/freebsd-test.md describes how to run it. Each case runs in its
//! own child process, so that one that dies, hangs or leaves operations running does not affect
//! the next.
//!
//! It is also one object file that needs only libc and libthr: `main` is C's, without start code
//! of Zig.

const std = @import("std");
const Case = @import("aio_case.zig").Case;
const Cases = @import("aio_cases.zig").Cases;
const native = @import("aio_native.zig");
const os = @import("core").os;
const c = std.c;

const Context = native.Context(os.native, false);
const cases = Cases(Context).list;

pub const std_options: std.Options = .{
    .enable_segfault_handler = false,
    .signal_stack_size = null,
    .allow_stack_tracing = false,
    .queryPageSize = os.pageSize,
};

pub const panic = std.debug.FullPanic(trap);

fn trap(message: []const u8, _: ?usize) noreturn {
    @branchHint(.cold);
    os.calls.lastWords("assertion: ", message);
    @trap();
}

const count_default = 100_000;
/// A case that takes longer hangs; the random one has a second more for so many operations.
const case_seconds_max = 600;
const operations_a_second_min = 100;

const exit_failed = 1;
const exit_skipped = 2;

extern "c" fn fork() c_int;
extern "c" fn waitpid(pid: c_int, status: *c_int, options: c_int) c_int;
extern "c" fn alarm(seconds: c_uint) c_uint;
extern "c" fn _exit(status: c_int) noreturn;

pub export fn main(argc: c_int, argv: [*]const [*:0]const u8) c_int {
    const arguments = argv[0..@intCast(argc)];
    if (arguments.len < 2) {
        say("usage: {s} DIRECTORY [RAW-DISK|-] [N] [SEED]\n", .{arguments[0]});
        say("DIRECTORY holds the test files; RAW-DISK is overwritten\n", .{});
        return 64;
    }
    var context: Context = .{
        .directory = std.mem.span(arguments[1]),
        .count = count_default,
    };
    if (arguments.len > 2 and !std.mem.eql(u8, std.mem.span(arguments[2]), "-")) {
        context.disk_path = arguments[2];
    }
    if (arguments.len > 3) context.count = number(arguments[3]) orelse return 64;
    if (arguments.len > 4) context.seed = number(arguments[4]) orelse return 64;
    describe(&context);
    return runAll(&context);
}

fn number(text: [*:0]const u8) ?u64 {
    return std.fmt.parseInt(u64, std.mem.span(text), 10) catch {
        say("not a number: {s}\n", .{text});
        return null;
    };
}

fn describe(context: *Context) void {
    for ([_][*:0]const u8{
        "kern.osreldate",                 "vfs.aio.max_aio_queue",
        "vfs.aio.max_aio_queue_per_proc", "vfs.aio.max_buf_aio",
        "vfs.aio.enable_unsafe",          "kern.maxphys",
    }) |name| {
        if (os.native.sysctlNumber(name)) |value| {
            say("# {s} = {d}\n", .{ name, value });
        } else {
            say("# {s}: none\n", .{name});
        }
    }
    say("# directory {s}, N {d}, seed {d}\n", .{ context.directory, context.count, context.seed });
}

fn runAll(context: *Context) c_int {
    const process = context.limit(.process, null);
    const system = context.limit(.system, null);
    var passed: u32 = 0;
    var failed: u32 = 0;
    var skipped: u32 = 0;
    for (cases) |case| {
        switch (runChild(context, case)) {
            0 => passed += 1,
            exit_skipped => skipped += 1,
            else => failed += 1,
        }
        // A child that died has not put its limits back.
        if (process) |value| _ = context.limit(.process, value);
        if (system) |value| _ = context.limit(.system, value);
    }
    context.clean();
    say("{d} passed, {d} failed, {d} skipped\n", .{ passed, failed, skipped });
    return if (failed == 0) 0 else 1;
}

fn runChild(context: *Context, case: Case(Context)) c_int {
    const child = fork();
    if (child < 0) {
        say("FAIL {s}: no process\n", .{case.name});
        return exit_failed;
    }
    if (child == 0) {
        const seconds = case_seconds_max + context.count / operations_a_second_min;
        _ = alarm(@intCast(@min(seconds, std.math.maxInt(u32))));
        _exit(runCase(context, case));
    }
    var status: c_int = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (os.native.lastErrno() != .INTR) return exit_failed;
    }
    // sys/wait.h: the signal in the low bits, else the exit status above them.
    const signal = status & 0x7f;
    if (signal == 0) return (status >> 8) & 0xff;
    say("FAIL {s}: ended by signal {d}{s}\n", .{
        case.name,
        signal,
        @as([]const u8, if (signal == 14) " (it hangs)" else ""),
    });
    return exit_failed;
}

fn runCase(context: *Context, case: Case(Context)) c_int {
    case.run(context) catch |err| switch (err) {
        error.Skipped => {
            say("skip {s}: {s}\n", .{ case.name, context.text });
            return exit_skipped;
        },
        error.Failed => {
            say("FAIL {s}: {s}: expected {d}, got {d}\n", .{
                case.name, context.text, context.expected, context.actual,
            });
            return exit_failed;
        },
        error.OutOfMemory => {
            say("FAIL {s}: the rig is too small\n", .{case.name});
            return exit_failed;
        },
    };
    say("ok   {s}\n", .{case.name});
    return 0;
}

fn say(comptime format: []const u8, arguments: anytype) void {
    var buffer: [512]u8 = undefined;
    const text = std.fmt.bufPrint(&buffer, format, arguments) catch &buffer;
    _ = c.write(1, text.ptr, text.len);
}
