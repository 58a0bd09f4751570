//! Known bugs, planted one at a time to show that the fuzzer can fail (`zig build plants`). Without
//! `-Dplants` every question here is false at compile time and leaves no trace.

const std = @import("std");
const options = @import("build_options");

pub const Plant = @import("plant_names.zig").Plant;

var chosen: Plant = .none;

pub inline fn is(comptime which: Plant) bool {
    if (!options.plants) return false;
    return chosen == which;
}

/// Null: no such bug.
pub fn choose(name: []const u8) ?void {
    if (!options.plants) return null;
    chosen = std.meta.stringToEnum(Plant, name) orelse return null;
}
