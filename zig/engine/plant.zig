//! Known bugs, planted one at a time to show that the fuzzer finds them (`zig build plants`).
//! Without `-Dplants` every query is false at compile time and costs nothing.

const std = @import("std");
const options = @import("build_options");

pub const Plant = @import("plant_names.zig").Plant;

var chosen: Plant = .none;

pub inline fn is(comptime which: Plant) bool {
    if (!options.plants) return false;
    return chosen == which;
}

/// Returns null if there is no such bug.
pub fn choose(name: []const u8) ?void {
    if (!options.plants) return null;
    chosen = std.meta.stringToEnum(Plant, name) orelse return null;
}
