//! The fuzzer. One seed is one run of the engine over each lane over the fake kernel, checked by
//! an oracle. `zig build fuzz -- [seed]`, `zig build fuzz -- --seeds 2000 [--from N] [--lane
//! NAME] [--trace]`. `zig build test` runs a few seeds; `zig build plants` shows that planted
//! bugs are found.

const std = @import("std");
const plant = @import("core").plant;
const report = @import("report.zig");
const rigs = @import("rigs.zig");
const scenario = @import("scenario.zig");

const all_rigs = .{ rigs.Own, rigs.Uring, rigs.Aio };
const seeds_default = 2000;

pub const panic = std.debug.FullPanic(panicked);
pub const debug = struct {
    pub fn handleSegfault(_: ?usize, name: []const u8, _: ?std.debug.CpuContextPtr) noreturn {
        report.finish(name);
    }
};

fn panicked(message: []const u8, address: ?usize) noreturn {
    report.announce(message);
    if (report.planted != null) std.process.exit(0);
    std.debug.defaultPanic(message, address);
}

fn runSeed(world: *scenario.World, seed: u64, only: ?[]const u8) void {
    inline for (all_rigs) |Rig| {
        const wanted = only == null or std.mem.eql(u8, only.?, Rig.name);
        if (wanted) {
            report.seed = seed;
            report.lane = Rig.name;
            scenario.Scenario(Rig).run(world, seed);
        }
    }
    report.seeds_done += 1;
}

const Arguments = struct {
    seed: ?u64 = null,
    seeds: u64 = seeds_default,
    from: u64 = 0,
    lane: ?[]const u8 = null,
    plant: ?[]const u8 = null,
};

fn parse(arguments: []const [:0]const u8) !Arguments {
    var parsed: Arguments = .{};
    var index: usize = 1;
    while (index < arguments.len) : (index += 1) {
        const name = arguments[index];
        if (!std.mem.startsWith(u8, name, "--")) {
            parsed.seed = try std.fmt.parseInt(u64, name, 0);
            continue;
        }
        if (std.mem.eql(u8, name, "--trace")) {
            report.tracing = true;
            continue;
        }
        index += 1;
        if (index == arguments.len) return error.MissingValue;
        const value = arguments[index];
        if (std.mem.eql(u8, name, "--seeds")) {
            parsed.seeds = try std.fmt.parseInt(u64, value, 0);
        } else if (std.mem.eql(u8, name, "--from")) {
            parsed.from = try std.fmt.parseInt(u64, value, 0);
        } else if (std.mem.eql(u8, name, "--lane")) {
            parsed.lane = value;
        } else if (std.mem.eql(u8, name, "--plant")) {
            parsed.plant = value;
        } else return error.UnknownOption;
    }
    return parsed;
}

pub fn main(init: std.process.Init) !void {
    const arguments = try parse(try init.minimal.args.toSlice(init.arena.allocator()));
    if (arguments.plant) |name| {
        plant.choose(name) orelse return error.UnknownPlant;
        report.planted = name;
    }
    const world = try init.arena.allocator().create(scenario.World);
    try world.init(init.arena.allocator());
    if (arguments.seed) |seed| {
        runSeed(world, seed, arguments.lane);
        std.debug.print("seed {d} holds\n", .{seed});
        return;
    }
    for (0..arguments.seeds) |index| runSeed(world, arguments.from + index, arguments.lane);
    if (report.planted) |name| {
        std.debug.print("FAIL {s}: not found in {d} seeds\n", .{ name, arguments.seeds });
        std.process.exit(1);
    }
    std.debug.print("{d} seeds hold\n", .{arguments.seeds});
}
