//! `zig build` makes the library for this machine, `zig build test` runs the unit tests, `zig build
//! abi` prints src/native/abi.gen.ts.

const std = @import("std");

pub fn build(b: *std.Build) void {
    const target = b.standardTargetOptions(.{});
    const optimize = b.option(std.builtin.OptimizeMode, "optimize", "ReleaseSafe unless said") orelse
        .ReleaseSafe;
    const faults = b.option(bool, "faults", "Inject faults below the engine (tests only)") orelse false;
    const options = optionsOf(b, .{ .faults = faults });

    const library = b.addLibrary(.{
        .name = if (faults) "bun-aio-faults" else "bun-aio",
        .linkage = .dynamic,
        .root_module = module(b, "zig/root.zig", target, optimize, options),
    });
    // pthread_create and a few more come from the process that loads us.
    library.linker_allow_shlib_undefined = true;
    b.installArtifact(library);

    const tests = b.addTest(.{ .root_module = module(b, "zig/tests.zig", target, .Debug, options) });
    tests.root_module.link_libc = true;
    const run_tests = b.addRunArtifact(tests);
    b.step("test", "Run the unit tests").dependOn(&run_tests.step);

    addFuzz(b, target, optimize);

    const generator = b.addExecutable(.{
        .name = "gen_abi",
        .root_module = module(b, "zig/gen_abi.zig", b.graph.host, .Debug, options),
    });
    generator.root_module.link_libc = true;
    const run_generator = b.addRunArtifact(generator);
    const generated = run_generator.captureStdOut(.{});
    const install = b.addInstallFile(generated, "abi.gen.ts");
    b.step("abi", "Generate zig-out/abi.gen.ts").dependOn(&install.step);
}

const Switches = struct {
    /// Injects faults below the engine.
    faults: bool = false,
    /// Splits small transfers already.
    small_limits: bool = false,
    /// Compiles the planted bugs in.
    plants: bool = false,
};

fn optionsOf(b: *std.Build, switches: Switches) *std.Build.Step.Options {
    const options = b.addOptions();
    inline for (@typeInfo(Switches).@"struct".fields) |field| {
        options.addOption(bool, field.name, @field(switches, field.name));
    }
    return options;
}

fn addFuzz(
    b: *std.Build,
    target: std.Build.ResolvedTarget,
    optimize: std.builtin.OptimizeMode,
) void {
    const options = optionsOf(b, .{ .small_limits = true });
    const fuzz = b.addExecutable(.{
        .name = "fuzz",
        .root_module = module(b, "zig/fuzz.zig", target, optimize, options),
    });
    fuzz.root_module.link_libc = true;
    fuzz.root_module.strip = false;
    b.step("fuzz-exe", "Build the fuzzer only").dependOn(&b.addInstallArtifact(fuzz, .{}).step);
    const run = b.addRunArtifact(fuzz);
    if (b.args) |arguments| run.addArgs(arguments);
    b.step("fuzz", "Run the engine over the simulated kernel: -- [seed] | --seeds N").dependOn(&run.step);
}

fn module(
    b: *std.Build,
    root: []const u8,
    target: std.Build.ResolvedTarget,
    optimize: std.builtin.OptimizeMode,
    options: *std.Build.Step.Options,
) *std.Build.Module {
    const made = b.createModule(.{
        .root_source_file = b.path(root),
        .target = target,
        .optimize = optimize,
        .strip = optimize != .Debug,
        .link_libc = target.result.os.tag != .linux,
    });
    made.addOptions("build_options", options);
    return made;
}
