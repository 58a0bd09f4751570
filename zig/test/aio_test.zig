//! `zig build test`: the cases over the POSIX AIO of this machine, without and with injected
//! faults.

const std = @import("std");
const abi = @import("core").abi;
const aio_run = @import("aio_run.zig");
const native = @import("aio_native.zig");
const os = @import("core").os;
const Cases = @import("aio_cases.zig").Cases;
const FaultOs = @import("core").fault.FaultOs;

fn runAll(comptime Context: type, count: u64, seed: u64, under: ?[]const u8) !void {
    var directory = std.testing.tmpDir(.{});
    defer directory.cleanup();
    var buffer: [256]u8 = undefined;
    var context: Context = .{
        .directory = try std.fmt.bufPrint(&buffer, ".zig-cache/tmp/{s}", .{directory.sub_path}),
        .count = count,
        .seed = seed,
    };
    // What a failed case has left running may write into memory of the next one.
    for (Cases(Context).list) |case| try aio_run.run(Context, case, &context, under);
}

test "POSIX AIO of this system" {
    try runAll(native.Context(os.native, false), 4000, 1, "POSIX AIO of this system");
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
        const under: ?[]const u8 = if (seed == 1) "POSIX AIO of this system with accidents" else null;
        try runAll(native.Context(Os, true), 1500, seed, under);
    }
}
