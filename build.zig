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

    const test_step = b.step("test", "Run the unit tests, a little stress and a few fuzz seeds");
    const unit_step = b.step("unit-test", "Run the unit tests alone");
    for (unitTests(b, target, options)) |tests| {
        const run_tests = b.addRunArtifact(tests);
        // They depend on this machine, and each run says what it has skipped.
        run_tests.has_side_effects = true;
        unit_step.dependOn(&run_tests.step);
    }
    test_step.dependOn(unit_step);

    const cost = b.addTest(.{
        .root_module = module(b, "zig/test/histogram_cost.zig", target, .ReleaseSafe, options),
    });
    cost.root_module.link_libc = true;
    test_step.dependOn(&b.addRunArtifact(cost).step);

    const run_fuzz = addFuzz(b, target, optimize, test_step);
    test_step.dependOn(&run_fuzz.step);

    const generator = b.addExecutable(.{
        .name = "gen_abi",
        .root_module = module(b, "zig/gen_abi.zig", b.graph.host, .Debug, options),
    });
    generator.root_module.link_libc = true;
    const run_generator = b.addRunArtifact(generator);
    const generated = run_generator.captureStdOut(.{});
    const install = b.addInstallFile(generated, "abi.gen.ts");
    b.step("abi", "Generate zig-out/abi.gen.ts").dependOn(&install.step);

    nativeDriver(b, target, options);
    package(b, optimize, options);
    checkTargets(b, options);
    freebsdTest(b, target, options);
}

/// test/native/driver.c, for test/once/native.ts: one program that loads a library, and one that has it
/// built in and is watched by ThreadSanitizer.
fn nativeDriver(
    b: *std.Build,
    target: std.Build.ResolvedTarget,
    options: *std.Build.Step.Options,
) void {
    const source = b.path("test/native/driver.c");
    const warnings = [_][]const u8{ "-Wall", "-Wextra", "-Werror" };

    const loading = b.addExecutable(.{
        .name = "native-driver",
        .root_module = b.createModule(.{
            .target = target,
            .optimize = .ReleaseSafe,
            .link_libc = true,
        }),
        // A static program, which Zig makes for musl, cannot load anything.
        .linkage = .dynamic,
    });
    loading.root_module.addCSourceFile(.{ .file = source, .flags = &warnings });
    // Where it is a library of its own: pthread_create is for the library to find.
    loading.root_module.linkSystemLibrary("pthread", .{});
    loading.root_module.linkSystemLibrary("dl", .{});
    const step = b.step("native-driver", "Build the C program that drives a library");
    step.dependOn(&b.addInstallArtifact(loading, .{}).step);

    const core = b.addLibrary(.{
        .name = "bun-aio-tsan",
        .linkage = .static,
        .root_module = module(b, "zig/root.zig", target, .ReleaseSafe, options),
    });
    core.root_module.link_libc = true;
    core.root_module.strip = false;
    core.root_module.sanitize_thread = true;
    const watched = b.addExecutable(.{ .name = "native-driver-tsan", .root_module = b.createModule(.{
        .target = target,
        .optimize = .ReleaseSafe,
        .link_libc = true,
        .sanitize_thread = true,
    }) });
    watched.root_module.addCSourceFile(.{ .file = source, .flags = &(warnings ++ [_][]const u8{"-DLINKED"}) });
    watched.root_module.addCSourceFile(.{ .file = b.path("test/native/aio_threads.c"), .flags = &warnings });
    watched.root_module.linkLibrary(core);
    const watched_step = b.step("native-driver-tsan", "Build the same with ThreadSanitizer");
    watched_step.dependOn(&b.addInstallArtifact(watched, .{}).step);
}

/// The oldest C libraries and kernels the library is meant for (README).
const targets = [_][]const u8{
    "x86_64-linux-gnu.2.17", "aarch64-linux-gnu.2.17",
    "x86_64-linux-musl",     "aarch64-linux-musl",
    "x86_64-freebsd.14.0",   "aarch64-freebsd.14.0",
    "x86_64-macos",          "aarch64-macos",
};

/// What the npm package carries: `process.platform`-`process.arch` of Bun, and for whom it is built.
/// The Linux libraries have no libc and serve glibc and musl; all are for the oldest CPU of their kind.
const packaged = [_]struct { folder: []const u8, triple: []const u8 }{
    .{ .folder = "linux-x64", .triple = "x86_64-linux" },
    .{ .folder = "linux-arm64", .triple = "aarch64-linux" },
    .{ .folder = "darwin-x64", .triple = "x86_64-macos" },
    .{ .folder = "darwin-arm64", .triple = "aarch64-macos" },
    .{ .folder = "freebsd-x64", .triple = "x86_64-freebsd.14.0" },
    .{ .folder = "freebsd-arm64", .triple = "aarch64-freebsd.14.0" },
};

/// zig-out/package/<platform>-<arch>/libbun-aio.{so,dylib}, for scripts/pack.ts.
fn package(
    b: *std.Build,
    optimize: std.builtin.OptimizeMode,
    options: *std.Build.Step.Options,
) void {
    const step = b.step("package", "Build the library for every platform of the npm package");
    for (packaged) |one| {
        const query = std.Target.Query.parse(.{ .arch_os_abi = one.triple }) catch unreachable;
        const target = b.resolveTargetQuery(query);
        const library = b.addLibrary(.{
            .name = "bun-aio",
            .linkage = .dynamic,
            .root_module = module(b, "zig/root.zig", target, optimize, options),
        });
        library.linker_allow_shlib_undefined = true;
        const extension = if (target.result.os.tag == .macos) "dylib" else "so";
        const path = b.fmt("package/{s}/libbun-aio.{s}", .{ one.folder, extension });
        const said = b.allocator.create(std.Build.Step) catch @panic("OOM");
        said.* = .init(.{ .id = .custom, .name = one.folder, .owner = b, .makeFn = sayPackaged });
        said.dependOn(&b.addInstallFile(library.getEmittedBin(), path).step);
        step.dependOn(said);
    }
}

var packaged_count: std.atomic.Value(usize) = .init(0);

/// They are built side by side: what is done is counted, in whatever order.
fn sayPackaged(step: *std.Build.Step, _: std.Build.Step.MakeOptions) anyerror!void {
    const count = packaged_count.fetchAdd(1, .monotonic) + 1;
    std.debug.print("native library {d} of {d}: {s}\n", .{ count, packaged.len, step.name });
}

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
        for (unitTests(b, target, options)) |tests| step.dependOn(&tests.step);
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
        .root_source_file = b.path(b.fmt("zig/test/check_{s}.h", .{system})),
        .target = target,
        .optimize = .Debug,
    });
    const root = module(b, b.fmt("zig/test/check_{s}.zig", .{system}), target, .Debug, options);
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
        .root_module = module(b, "zig/test/freebsd_test.zig", target, .ReleaseSafe, options),
    });
    step.dependOn(&b.addInstallArtifact(program, .{}).step);
    const object = b.addObject(.{
        .name = name,
        .root_module = module(b, "zig/test/freebsd_test.zig", target, .ReleaseSafe, options),
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
    test_step: *std.Build.Step,
) *std.Build.Step.Run {
    const planted = b.option([]const u8, "plant", "Plants a known bug for `fuzz` (zig/engine/plant.zig)");
    const fuzz = fuzzer(b, "fuzz", target, optimize, planted != null);
    b.step("fuzz-exe", "Build the fuzzer only").dependOn(&b.addInstallArtifact(fuzz, .{}).step);
    const run = b.addRunArtifact(fuzz);
    if (planted) |name| run.addArgs(&.{ "--plant", name });
    if (b.args) |arguments| run.addArgs(arguments);
    b.step("fuzz", "Run the engine over the fake kernel: -- [seed] | --seeds N").dependOn(&run.step);

    const sanitize = b.option(bool, "sanitize-thread", "ThreadSanitizer for `stress`") orelse false;
    const stress = b.addExecutable(.{
        .name = "pool-stress",
        .root_module = module(b, "zig/test/pool_stress.zig", target, optimize, optionsOf(b, .{})),
    });
    stress.root_module.link_libc = true;
    stress.root_module.strip = false;
    stress.root_module.sanitize_thread = sanitize;
    coreOf(stress.root_module).sanitize_thread = sanitize;
    coreOf(stress.root_module).strip = false;
    const run_stress = b.addRunArtifact(stress);
    if (b.args) |arguments| run_stress.addArgs(arguments);
    b.step("stress", "Stress the pool's hand-over with real threads: -- [operations]").dependOn(&run_stress.step);
    b.step("stress-exe", "Build the stress program only").dependOn(&b.addInstallArtifact(stress, .{}).step);
    const little_stress = b.addRunArtifact(stress);
    little_stress.addArg("50000");
    test_step.dependOn(&little_stress.step);

    const plants = b.step("plants", "Show that every planted bug is found within 500 seeds");
    const with_plants = fuzzer(b, "fuzz-plants", target, optimize, true);
    const Plant = @import("zig/engine/plant_names.zig").Plant;
    for (std.enums.values(Plant)) |plant| {
        if (plant == .none) continue;
        const hunt = b.addRunArtifact(with_plants);
        hunt.addArgs(&.{ "--seeds", "500", "--plant", @tagName(plant) });
        plants.dependOn(&hunt.step);
    }

    const few = b.addRunArtifact(fuzz);
    few.addArgs(&.{ "--seeds", "300" });
    return few;
}

fn fuzzer(
    b: *std.Build,
    name: []const u8,
    target: std.Build.ResolvedTarget,
    optimize: std.builtin.OptimizeMode,
    plants: bool,
) *std.Build.Step.Compile {
    const options = optionsOf(b, .{ .small_limits = true, .plants = plants });
    const made = b.addExecutable(.{
        .name = name,
        .root_module = module(b, "zig/fuzz/main.zig", target, optimize, options),
    });
    made.root_module.link_libc = true;
    made.root_module.strip = false;
    coreOf(made.root_module).strip = false;
    return made;
}

/// The tests beside the code, and those of zig/test.
fn unitTests(
    b: *std.Build,
    target: std.Build.ResolvedTarget,
    options: *std.Build.Step.Options,
) [2]*std.Build.Step.Compile {
    var made: [2]*std.Build.Step.Compile = undefined;
    for (&made, [_][]const u8{ "zig/core.zig", "zig/test/main.zig" }) |*tests, root| {
        tests.* = b.addTest(.{ .root_module = module(b, root, target, .Debug, options) });
        tests.*.root_module.link_libc = true;
    }
    return made;
}

/// Programs stand in folders below the library's files, and import those as the module `core`.
fn coreOf(program: *std.Build.Module) *std.Build.Module {
    return program.import_table.get("core").?;
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
    const folder = std.fs.path.dirname(root).?;
    const is_library = std.mem.eql(u8, folder, "zig");
    if (!is_library) made.addImport("core", module(b, "zig/core.zig", target, optimize, options));
    return made;
}
