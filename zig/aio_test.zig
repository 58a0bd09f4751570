//! `zig build test`: the cases over this machine's POSIX AIO, and again with accidents.

const builtin = @import("builtin");
const std = @import("std");
const abi = @import("abi.zig");
const native = @import("aio_native.zig");
const os = @import("os.zig");
const Cases = @import("aio_cases.zig").Cases;
const FaultOs = @import("os/fault.zig").FaultOs;

fn runAll(comptime Context: type, count: u64, seed: u64) !void {
    var directory = std.testing.tmpDir(.{});
    defer directory.cleanup();
    var buffer: [256]u8 = undefined;
    var context: Context = .{
        .directory = try std.fmt.bufPrint(&buffer, ".zig-cache/tmp/{s}", .{directory.sub_path}),
        .count = count,
        .seed = seed,
    };
    var failed = false;
    for (Cases(Context).list) |case| {
        case.run(&context) catch |err| switch (err) {
            error.Skipped => continue,
            else => {
                std.debug.print("FAIL {s}: {s}: expected {d}, got {d} ({t}, seed {d})\n", .{
                    case.name, context.text, context.expected, context.actual, err, seed,
                });
                // What it left running may write into memory of the next case.
                failed = true;
                break;
            },
        };
    }
    try std.testing.expect(!failed);
}

test "POSIX AIO of this system" {
    try runAll(native.Context(os.native, false), 4000, 1);
}

test "POSIX AIO of this system with accidents" {
    const Os = FaultOs(os.native);
    var rates = std.mem.zeroes(abi.RingOptions);
    rates.fault_short = 0x4000;
    rates.fault_refuse = 0x2000;
    rates.fault_reorder = 0x8000;
    for (1..4) |seed| {
        rates.fault_seed = @intCast(seed);
        Os.configure(rates);
        try runAll(native.Context(Os, true), 1500, seed);
    }
}
