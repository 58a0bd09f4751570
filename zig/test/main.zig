//! Root of the unit tests: every file with tests is imported here.

test {
    _ = @import("api_test.zig");
    _ = @import("api_rows_test.zig");
    _ = @import("aio_fake.zig");
    if (@hasDecl(@import("core").os.native, "Aio")) _ = @import("aio_test.zig");
}
