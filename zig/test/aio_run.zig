//! Runs one of `aio_cases.zig` as a unit test; prints why it failed or was skipped.

const std = @import("std");
const Case = @import("aio_case.zig").Case;

/// `under`: the name of the unit test, for a case that is skipped; null to say nothing, where the same case has been
/// told of with another seed. `npm test` counts and lists `[skipped: reason]`.
pub fn run(comptime Context: type, case: Case(Context), context: *Context, under: ?[]const u8) error{Failed}!void {
    case.run(context) catch |err| switch (err) {
        error.Skipped => {
            const name = under orelse return;
            std.debug.print("{s}: {s} [skipped: {s}]\n", .{ name, case.name, context.text });
        },
        error.Failed, error.OutOfMemory => {
            std.debug.print("FAIL {s}: {s}: expected {d}, got {d} ({t}, seed {d})\n", .{
                case.name, context.text, context.expected, context.actual, err, context.seed,
            });
            return error.Failed;
        },
    };
}
