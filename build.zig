//! `zig build` makes the library for this machine, `zig build test` runs the unit tests, `zig build
//! abi` prints src/native/abi.gen.ts, `zig build check-targets` compiles library and unit tests for
//! every target, `zig build freebsd-test -Dtarget=x86_64-freebsd` makes the program that
//! docs/freebsd-test.md describes.

const std = @import("std");

pub fn build(b: *std.Build) void {
    // Not this machine's own instructions: what is built here runs on every machine of its kind.
    const target = b.standardTargetOptions(.{ .default_target = .{ .cpu_model = .baseline } });
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

    checkTargets(b, options);
    freebsdTest(b, target, options);
}

/// The oldest C libraries and kernels the library is meant for (docs/platforms, README).
const targets = [_][]const u8{
    "x86_64-linux-gnu.2.17", "aarch64-linux-gnu.2.17",
    "x86_64-linux-musl",     "aarch64-linux-musl",
    "x86_64-freebsd.14.0",   "aarch64-freebsd.14.0",
    "x86_64-macos",          "aarch64-macos",
};

/// Compiles and links library and test program for every target, and compares our declarations
/// with the C headers. The library itself has no libc on Linux, so that one serves both of them.
fn checkTargets(b: *std.Build, options: *std.Build.Step.Options) void {
    const step = b.step("check-targets", "Compile library and unit tests for every target");
    for (targets) |triple| {
        const query = std.Target.Query.parse(.{ .arch_os_abi = triple }) catch unreachable;
        const target = b.resolveTargetQuery(query);
        const library = b.addLibrary(.{
            .name = "bun-aio",
            .linkage = .dynamic,
            .root_module = module(b, "zig/root.zig", target, .ReleaseSafe, options),
        });
        library.linker_allow_shlib_undefined = true;
        step.dependOn(&library.step);
        const tests = b.addTest(.{ .root_module = module(b, "zig/tests.zig", target, .Debug, options) });
        tests.root_module.link_libc = true;
        step.dependOn(&tests.step);
        const system = switch (target.result.os.tag) {
            .freebsd => "freebsd",
            .macos => "darwin",
            else => continue,
        };
        step.dependOn(checkHeaders(b, target, system, options));
    }
}

fn checkHeaders(
    b: *std.Build,
    target: std.Build.ResolvedTarget,
    system: []const u8,
    options: *std.Build.Step.Options,
) *std.Build.Step {
    const headers = b.addTranslateC(.{
        .root_source_file = b.path(b.fmt("zig/os/check_{s}.h", .{system})),
        .target = target,
        .optimize = .Debug,
    });
    const root = module(b, b.fmt("zig/check_{s}.zig", .{system}), target, .Debug, options);
    root.addImport("headers", headers.createModule());
    const object = b.addObject(.{ .name = b.fmt("check-{s}", .{system}), .root_module = root });
    return &object.step;
}

/// An executable, and the same as one object file for machines where it has to be linked by hand.
fn freebsdTest(
    b: *std.Build,
    target: std.Build.ResolvedTarget,
    options: *std.Build.Step.Options,
) void {
    const step = b.step("freebsd-test", "Make the test program for a FreeBSD kernel");
    if (target.result.os.tag != .freebsd) {
        step.dependOn(&b.addFail("freebsd-test wants -Dtarget=x86_64-freebsd or aarch64-freebsd").step);
        return;
    }
    const name = b.fmt("freebsd-test-{t}", .{target.result.cpu.arch});
    const program = b.addExecutable(.{
        .name = name,
        .root_module = module(b, "zig/freebsd_test.zig", target, .ReleaseSafe, options),
    });
    step.dependOn(&b.addInstallArtifact(program, .{}).step);
    const object = b.addObject(.{
        .name = name,
        .root_module = module(b, "zig/freebsd_test.zig", target, .ReleaseSafe, options),
    });
    // Self-contained: also what the compiler itself calls.
    object.bundle_compiler_rt = true;
    object.root_module.pic = true;
    const installed = b.addInstallBinFile(object.getEmittedBin(), b.fmt("{s}.o", .{name}));
    step.dependOn(&installed.step);
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
