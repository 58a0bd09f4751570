//! `zig build` makes the library for this machine, `zig build test` runs the unit tests, `zig build
//! abi` prints src/native/abi.gen.ts.

const std = @import("std");

pub fn build(b: *std.Build) void {
    // Not this machine's own instructions: what is built here runs on every machine of its kind.
    const target = b.standardTargetOptions(.{ .default_target = .{ .cpu_model = .baseline } });
    const optimize = b.option(std.builtin.OptimizeMode, "optimize", "ReleaseSafe unless said") orelse
        .ReleaseSafe;
    const faults = b.option(bool, "faults", "Inject faults below the engine (tests only)") orelse false;
    const options = b.addOptions();
    options.addOption(bool, "faults", faults);

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
