//! Root of the shared library: exports every function of `api.zig` with the prefix `ba_` (libc
//! owns `aio_`). The library prints nothing, except that a failed assertion writes one line and
//! traps.

const std = @import("std");
const api = @import("api.zig");
const os = @import("os/os.zig");

pub const std_options: std.Options = .{
    .enable_segfault_handler = false,
    .signal_stack_size = null,
    .allow_stack_tracing = false,
    .queryPageSize = os.pageSize,
};

pub const panic = std.debug.FullPanic(trap);

fn trap(message: []const u8, _: ?usize) noreturn {
    @branchHint(.cold);
    os.calls.lastWords("bun-aio: internal error, please report: ", message);
    @trap();
}

comptime {
    for (@typeInfo(api).@"struct".decls) |decl| {
        const value = @field(api, decl.name);
        if (@typeInfo(@TypeOf(value)) == .@"fn") @export(&value, .{ .name = "ba_" ++ decl.name });
    }
}
