//! Root of the unit tests: every file with tests is imported here.

test {
    _ = @import("histogram.zig");
    _ = @import("list.zig");
    _ = @import("operation.zig");
    _ = @import("api.zig");
    _ = @import("api_test.zig");
    _ = @import("api_rows_test.zig");
    _ = @import("backend/drive.zig");
    _ = @import("backend/sector_map.zig");
    _ = @import("os/simulated/faults.zig");
    _ = @import("os/simulated/medium.zig");
    _ = @import("backend/posix_aio.zig");
    _ = @import("aio_simulated.zig");
    if (@hasDecl(@import("os.zig").native, "Aio")) _ = @import("aio_test.zig");
}
