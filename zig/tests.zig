//! Root of the unit tests: every file with tests is imported here.

test {
    _ = @import("histogram.zig");
    _ = @import("list.zig");
    _ = @import("operation.zig");
    _ = @import("api.zig");
    _ = @import("api_test.zig");
}
