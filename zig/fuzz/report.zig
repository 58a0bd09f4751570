//! The end of a fuzz run: which seed is running, what to print when it fails, and whether a
//! failure is expected (a planted bug).

const std = @import("std");

pub var seed: u64 = 0;
pub var lane: []const u8 = "";
/// The name of a planted bug: finding it is a success.
pub var planted: ?[]const u8 = null;
/// Seeds finished in this run, for the report of a planted bug.
pub var seeds_done: u64 = 0;
/// Prints every event, for debugging one seed.
pub var tracing = false;
var reported = false;

pub fn trace(comptime format: []const u8, arguments: anytype) void {
    if (tracing) std.debug.print(format ++ "\n", arguments);
}

/// Ends the process: a property does not hold.
pub fn fail(comptime format: []const u8, arguments: anytype) noreturn {
    @branchHint(.cold);
    var buffer: [1024]u8 = undefined;
    const text = std.fmt.bufPrint(&buffer, format, arguments) catch buffer[0..];
    finish(text);
}

/// What `finish` is for panics and signals: called from the root's handlers.
pub fn finish(text: []const u8) noreturn {
    announce(text);
    std.process.exit(if (planted == null) 1 else 0);
}

pub fn announce(text: []const u8) void {
    if (reported) return;
    reported = true;
    if (planted) |name| {
        std.debug.print("ok {s}: found by seed {d} ({d} seeds before it), lane {s}: {s}\n", .{
            name, seed, seeds_done, lane, text,
        });
        return;
    }
    std.debug.print("FAIL lane {s}, seed {d}: {s}\nreplay: zig build fuzz -- {d}\n", .{
        lane, seed, text, seed,
    });
}
