//! One seed on one lane, in the role of JavaScript. It calls the engine only for the reasons
//! `src/ring/proactor.ts` has: new calls, a ring of the wake descriptor, the retry timer, `more`,
//! a cancel. Operations still in flight when none of these can happen any more would hang for
//! ever.

const std = @import("std");
const abi = @import("core").abi;
const checked = @import("checked.zig");
const Drive = @import("core").drive.Drive;
const engine_file = @import("core").engine;
const model_file = @import("model.zig");
const operation_file = @import("core").operation;
const oracle_file = @import("oracle.zig");
const read_now = @import("core").read_now;
const fake = @import("core").fake_kernel;
const workload = @import("workload.zig");
const Call = oracle_file.Call;
const EngineMemory = @import("core").memory.Memory;
const Memory = @import("memory.zig").Memory;
const Oracle = oracle_file.Oracle;
const pauses = @import("pauses.zig");
const report = @import("report.zig");
const fail = report.fail;
const trace = report.trace;

const operations_max = checked.operations_max;
const files_max = oracle_file.files_max;
/// Limit of virtual time after the last call of a run.
const patience_ns = 600 * std.time.ns_per_s;
const shutdown_ms = 1000;
const steps_max = 100_000;

/// All memory of a run, allocated once for all seeds.
pub const World = struct {
    memory: Memory,
    disks: [files_max]fake.Disk,
    fd_table: [files_max * 64]fake.File,
    requests: [2 * operations_max]fake.Request,
    model_bytes: [files_max][]u8,
    model_changed: [files_max][]u16,
    control: abi.Control,
    submissions: [operations_max]abi.Submission,
    completions: [operations_max]abi.Completion,
    scratch: [EngineMemory.bytes(.{ .operations = operations_max, .queue_depth = operations_max, .files = files_max })]u8,
    kernel: fake.Kernel,
    oracle: Oracle,

    pub fn init(world: *World, allocator: std.mem.Allocator) !void {
        world.memory.init();
        for (&world.disks, &world.model_bytes, &world.model_changed) |*disk, *bytes, *changed| {
            disk.* = .{ .drive = Drive.init(model_file.bytes_max, 512).?, .size = 0, .grows = true };
            bytes.* = try allocator.alloc(u8, model_file.bytes_max);
            changed.* = try allocator.alloc(u16, model_file.bytes_max);
        }
    }

    fn engineMemory(world: *World, plan: *const workload.Plan) EngineMemory {
        var fixed: std.heap.FixedBufferAllocator = .init(&world.scratch);
        return EngineMemory.allocate(fixed.allocator(), .{
            .control = &world.control,
            .submissions = world.submissions[0..plan.operations],
            .completions = world.completions[0..plan.operations],
        }, .{
            .operations = plan.operations,
            .queue_depth = plan.queue_depth,
            .files = files_max,
        }) catch unreachable; // a plan is never larger than the scratch space
    }
};

/// `Rig` makes a lane over the fake kernel: see `rigs.zig`.
pub fn Scenario(comptime Rig: type) type {
    return struct {
        const Self = @This();
        const Engine = engine_file.Engine(checked.Checked(Rig.Lane), checked.CheckedPool);

        world: *World,
        kernel: *fake.Kernel,
        oracle: *Oracle,
        plan: workload.Plan,
        engine: Engine,
        fds: [files_max]i32,
        /// Calls that JavaScript holds back because the table was full, oldest first.
        queue: [oracle_file.slots_max]*Call,
        queued: u32 = 0,
        issued: u32 = 0,
        timer_ns: ?u64 = null,
        /// A cancel wants a drain.
        cancelled: bool = false,
        /// The engine was told that it need not ring.
        will_poll: bool = false,
        last_call_ns: u64 = 0,
        /// A file is being opened: JavaScript waits for it before it uses the file.
        opening: bool = false,

        pub fn run(world: *World, seed: u64) void {
            var self: Self = undefined;
            self.setUp(world, seed);
            self.play();
            self.tearDown();
        }

        fn setUp(self: *Self, world: *World, seed: u64) void {
            world.kernel = .init(seed, .{
                .disks = &world.disks,
                .files = &world.fd_table,
                .requests = &world.requests,
            });
            const kernel = &world.kernel;
            const random = kernel.random();
            const plan = workload.Plan.make(random, operation_file.piece_bytes_max);
            const may_refuse = Rig.may_refuse orelse random.boolean();
            world.oracle.init(&world.memory, kernel, may_refuse);
            world.oracle.shares_room = Engine.shares_room;
            for (0..plan.files) |index| {
                workload.makeDisk(random, &world.disks[index]);
                world.oracle.models[index].init(&world.disks[index], world.model_bytes[index], world.model_changed[index]);
                self.fds[index] = kernel.openDisk(&world.disks[index]).?;
            }
            self.* = .{
                .world = world,
                .kernel = kernel,
                .oracle = &world.oracle,
                .plan = plan,
                .engine = undefined,
                .fds = self.fds,
                .queue = undefined,
            };
            kernel.weather = workload.makeWeather(random);
            // What a lane that is refused does not take, the pool does.
            if (Rig.may_be_refused) {
                world.oracle.may_be_refused = kernel.weather.refuse_hard > 0 or kernel.weather.unresponsive > 0;
                world.oracle.may_refuse = world.oracle.may_be_refused;
            }
            const engine = &self.engine;
            engine.kernel = .{
                .inner = undefined,
                .oracle = self.oracle,
                .kernel = kernel,
                .limit_count = plan.queue_depth,
                .limit_bytes = plan.window_bytes,
            };
            Rig.start(&engine.kernel.inner, kernel, plan.queue_depth, plan.operations, may_refuse);
            self.oracle.lane_syncs = engine.kernel.inner.capability(.sync_all) != .no;
            engine.pool = .{ .inner = undefined, .oracle = self.oracle };
            engine.pool.inner.init(kernel);
            engine.init(world.engineMemory(&self.plan), .{
                .queue_depth = plan.queue_depth,
                .window_bytes = plan.window_bytes,
                .pool_reads_now = random.boolean(),
            });
        }

        fn play(self: *Self) void {
            const random = self.kernel.random();
            for (0..self.plan.files) |file| self.openFile(@intCast(file));
            var steps: u32 = 0;
            while (self.issued < self.plan.calls or self.oracle.outstanding > 0) {
                if (self.isLost()) {
                    self.issued = self.plan.calls;
                } else if (self.plan.shutdown_at) |when| {
                    if (self.issued >= when) return self.shutDown();
                }
                steps += 1;
                if (steps > steps_max) fail("no end after {d} steps", .{steps});
                switch (random.uintLessThan(u32, 8)) {
                    0, 1 => self.issue(),
                    2 => if (random.int(u8) < self.plan.cancel_rate) self.cancelSome(),
                    3 => self.kernel.tick(),
                    4 => switch (random.uintLessThan(u32, 16)) {
                        0 => self.drain(),
                        1 => self.reopenFile(),
                        2, 3 => if (@hasDecl(Rig.Lane, "registerSlab") and !self.isLost()) {
                            self.world.memory.changeRegistered(&self.engine.kernel.inner, random);
                        },
                        else => {},
                    },
                    else => self.wait(),
                }
                self.disaster();
            }
        }

        fn isLost(self: *const Self) bool {
            return self.oracle.lost_errno != 0;
        }

        fn disaster(self: *Self) void {
            if (self.plan.crash_at) |when| {
                if (self.issued < when) return;
                self.plan.crash_at = null;
                const file = self.kernel.random().uintLessThan(u32, self.plan.files);
                self.kernel.crash(&self.world.disks[file]);
                self.oracle.models[file].checkSurvivor();
                self.oracle.models[file].gone = true;
            }
            if (self.plan.unplug_at) |when| {
                if (self.issued < when) return;
                self.plan.unplug_at = null;
                self.world.disks[0].unplugged = true;
            }
        }

        /// The engine learns of a descriptor that is its own to close.
        fn openFile(self: *Self, file: u32) void {
            self.opening = true;
            self.oracle.opened(file);
            self.callAndWait(file, .probe);
            self.opening = false;
        }

        /// Closes a file that nobody uses, and opens it again under another descriptor.
        fn reopenFile(self: *Self) void {
            const file = self.kernel.random().uintLessThan(u32, self.plan.files);
            if (self.isLost()) return;
            for (&self.oracle.calls) |*call| {
                if (call.state != .free and call.file == file) return;
            }
            if (self.oracle.freeCall() == null) return;
            const other = self.kernel.openDisk(&self.world.disks[file]).?;
            self.callAndWait(file, .close);
            if (self.isLost()) return;
            self.fds[file] = other;
            self.openFile(file);
        }

        fn callAndWait(self: *Self, file: u32, kind: abi.Kind) void {
            const call = self.oracle.freeCall().?;
            call.kind = kind;
            call.file = file;
            call.fd = self.fds[file];
            const generation = call.generation;
            self.oracle.made(call);
            self.queue[self.queued] = call;
            self.queued += 1;
            self.flush();
            while (call.state != .free and call.generation == generation) self.wait();
        }

        // JavaScript's reasons to call ---------------------------------------------------------

        fn issue(self: *Self) void {
            const random = self.kernel.random();
            for (0..random.intRangeAtMost(u32, 1, self.plan.burst_max)) |_| {
                if (self.issued == self.plan.calls) break;
                const call = self.oracle.freeCall() orelse break;
                self.issued += 1;
                if (!workload.makeCall(&self.plan, random, self.oracle, &self.fds, call)) continue;
                if (self.readAtOnce(call)) continue;
                self.oracle.made(call);
                self.queue[self.queued] = call;
                self.queued += 1;
            }
            self.last_call_ns = self.kernel.now_ns;
            if (self.queued > 0) self.flush();
        }

        /// JavaScript's other way to read, while the engine holds nothing.
        fn readAtOnce(self: *Self, call: *Call) bool {
            const cached = self.oracle.models[call.file].disk.alignment == 1;
            if (call.kind != .read or !cached or call.length == 0 or call.length > read_now.bytes_max) return false;
            if (self.oracle.native > 0 or self.queued > 0 or self.kernel.random().boolean()) return false;
            const begun_ns = self.kernel.now_ns;
            const bytes = self.engine.readAtOnce(.{
                .file = call.file,
                .fd = call.fd,
                .address = self.oracle.memory.addressOf(call.slot),
                .length = call.length,
                .offset = call.offset,
            });
            if (bytes == 0) return false;
            trace("read at once: {d} bytes at {d}", .{ bytes, call.offset });
            self.oracle.readAtOnce(call, bytes, self.kernel.now_ns - begun_ns);
            self.checkStats();
            return true;
        }

        fn room(self: *const Self) u32 {
            const count = if (self.isLost()) 0 else self.plan.operations - self.oracle.native;
            const free = self.engine.operationsFree();
            if (free != count) fail("room for {d} instead of {d}", .{ free, count });
            return count;
        }

        fn flush(self: *Self) void {
            const count = @min(self.queued, self.room());
            if (count == 0) return self.drain();
            for (self.queue[0..count], 0..) |call, index| {
                self.world.submissions[index] = self.submissionOf(call);
                self.oracle.handedOver(call);
            }
            self.queued -= count;
            std.mem.copyForwards(*Call, self.queue[0..self.queued], self.queue[count..][0..self.queued]);
            self.entering();
            trace("flush {d} at {d} us", .{ count, self.kernel.now_ns / 1000 });
            const rows = self.engine.flush(count, self.choose());
            self.oracle.tally.stats.flushes += 1;
            self.oracle.tally.stats.inline_completions += rows;
            self.returned(rows);
        }

        fn drain(self: *Self) void {
            self.entering();
            trace("drain at {d} us", .{self.kernel.now_ns / 1000});
            const rows = self.engine.drain(self.choose());
            self.oracle.tally.stats.drains += 1;
            self.returned(rows);
        }

        fn poll(self: *Self) void {
            self.entering();
            trace("poll at {d} us", .{self.kernel.now_ns / 1000});
            const rows = self.engine.poll(self.choose());
            self.oracle.tally.stats.polls += 1;
            self.returned(rows);
        }

        /// Whether this call is followed by `poll`, rung for or not.
        fn choose(self: *Self) engine_file.Next {
            self.will_poll = self.kernel.random().uintLessThan(u32, 4) == 0;
            return if (self.will_poll) .poll else .sleep;
        }

        fn entering(self: *Self) void {
            self.kernel.rung = false;
            self.cancelled = false;
            self.timer_ns = null;
            self.engine.kernel.calls = 0;
            self.oracle.entering();
        }

        fn returned(self: *Self, rows: u32) void {
            if (rows > self.plan.operations) fail("{d} rows in a table of {d}", .{ rows, self.plan.operations });
            for (self.world.completions[0..rows]) |*completion| self.oracle.row(completion);
            const control = &self.world.control;
            trace("= {d} rows, more {d}, retry {d} ms", .{ rows, control.more, control.retry_ms });
            if (control.retry_ms > 0) {
                self.timer_ns = self.kernel.now_ns + @as(u64, control.retry_ms) * std.time.ns_per_ms;
            }
            if (control.operations != self.oracle.native) {
                fail("the engine holds {d} operations instead of {d}", .{ control.operations, self.oracle.native });
            }
            if (control.operations == 0 and (control.retry_ms > 0 or control.more > 0)) {
                fail("an idle ring asks for calls", .{});
            }
            if (control.lost_errno != self.oracle.lost_errno) {
                fail("the ring says {d} of being lost instead of {d}", .{ control.lost_errno, self.oracle.lost_errno });
            }
            self.oracle.afterCall();
            pauses.noteRoutes(&self.engine, self.oracle);
            self.checkStats();
            pauses.check(&self.engine, self.oracle);
            if (self.isLost()) self.refuseWaiting();
        }

        fn refuseWaiting(self: *Self) void {
            for (self.queue[0..self.queued]) |call| self.oracle.forget(call);
            self.queued = 0;
        }

        fn submissionOf(self: *Self, call: *const Call) abi.Submission {
            const memory = self.oracle.memory;
            const disk = self.oracle.models[call.file].disk;
            const vector = call.iovec_count > 0;
            const address = if (vector) @intFromPtr(&memory.vectors[call.slot]) else memory.addressOf(call.slot);
            const flags = abi.SubmissionFlag;
            const shift: u32 = std.math.log2_int(u32, disk.alignment);
            const cached = if (self.kernel.random().boolean()) flags.cached else 0;
            return .{
                .slot = call.slot,
                .generation = call.generation,
                .kind = @intFromEnum(call.kind),
                .flags = cached | if (disk.alignment > 1) flags.aligned | shift << flags.alignment_shift else 0,
                // `open` and `probe` begin a file's record; these calls are about an open one.
                .file = if (call.kind == .open or (call.kind == .probe and !self.opening)) abi.file_none else call.file,
                .fd = call.fd,
                .offset = call.offset,
                .address = @floatFromInt(address),
                .length = @floatFromInt(call.length),
                .slab = if (call.in_slab) @floatFromInt(@intFromPtr(memory.slabOf(call.slot))) else 0,
                .argument = if (call.kind == .probe and self.opening) 1 else call.iovec_count,
                .mode = @intFromEnum(disk.kind),
            };
        }

        fn cancelSome(self: *Self) void {
            const random = self.kernel.random();
            for (0..random.intRangeAtMost(u32, 1, 4)) |_| {
                const call = &self.oracle.calls[random.uintLessThan(usize, oracle_file.slots_max)];
                if (call.state == .native and call.due == null) self.cancel(call);
                if (call.state == .free and call.generation > 0) self.cancelSettled(call, call.generation -% 1);
                if (call.state == .lost) self.cancelSettled(call, call.generation);
            }
        }

        fn cancel(self: *Self, call: *Call) void {
            self.engine.kernel.calls = 0;
            trace("cancel slot {d}", .{call.slot});
            self.oracle.entering();
            self.oracle.tally.stats.cancel_requests += 1;
            if (!self.engine.cancel(call.slot, call.generation)) fail("slot {d} is unknown", .{call.slot});
            self.oracle.cancelled(call);
            self.cancelled = true;
        }

        /// JavaScript's abort may cross the completion.
        fn cancelSettled(self: *Self, call: *const Call, generation: u32) void {
            self.oracle.tally.stats.cancel_requests += 1;
            if (self.engine.cancel(call.slot, generation)) fail("slot {d} has settled", .{call.slot});
        }

        /// Does what JavaScript would do next, or lets time pass until there is something.
        fn wait(self: *Self) void {
            const kernel = self.kernel;
            if (self.queued > 0 and self.room() > 0) return self.flush();
            const timer_due = if (self.timer_ns) |at| at <= kernel.now_ns else false;
            if (kernel.rung or self.cancelled or timer_due or self.world.control.more == 1) {
                return if (self.queued > 0) self.flush() else self.drain();
            }
            if (self.will_poll) {
                // A turn of the event loop.
                kernel.advance(kernel.now_ns + 1000);
                return self.poll();
            }
            if (self.oracle.outstanding == 0) return;
            Rig.idle();
            if (kernel.rung) return;
            if (kernel.now_ns > self.last_call_ns + patience_ns) fail("no end in sight", .{});
            var next = kernel.nextEventNs();
            // What never ends may hold all room: a user's timeout cancels it.
            if (next == null and kernel.random().uintLessThan(u32, 8) == 0) {
                if (self.cancelStuck()) return;
            }
            if (self.timer_ns) |at| next = @min(next orelse at, at);
            if (next) |at| return kernel.advance(@max(at, kernel.now_ns));
            if (!self.cancelStuck()) {
                fail("nothing will ever wake JavaScript for {d} operations", .{self.oracle.outstanding});
            }
        }

        /// Requests that would never end by themselves: cancels their calls.
        fn cancelStuck(self: *Self) bool {
            var any = false;
            for (self.kernel.requests) |*request| {
                if (request.state != .running or request.due_ns != std.math.maxInt(u64)) continue;
                const index: u32 = @truncate(request.ask.user);
                const operation = self.engine.kernel.running[index] orelse continue;
                const call = &self.oracle.calls[operation.slot];
                if (call.cancel_requested or call.state != .native) continue;
                self.cancel(call);
                any = true;
            }
            return any;
        }

        // The end ------------------------------------------------------------------------------

        fn shutDown(self: *Self) void {
            self.engine.kernel.calls = 0;
            if (@hasDecl(Rig, "speak")) {
                if (self.kernel.random().boolean()) self.shutDownUnresponsive() else Rig.speak();
            }
            if (self.kernel.random().boolean() and self.holdForEver(true)) {
                const begun_ns = self.kernel.now_ns;
                if (self.engine.shutdown(shutdown_ms)) fail("shutdown did not see what the kernel holds", .{});
                if (self.kernel.now_ns < begun_ns + shutdown_ms * std.time.ns_per_ms) fail("shutdown gave up early", .{});
                _ = self.holdForEver(false);
                self.engine.kernel.calls = 0;
            }
            const begun_ns = self.kernel.now_ns;
            if (!self.engine.shutdown(shutdown_ms)) fail("shutdown gave up", .{});
            if (self.kernel.now_ns > begun_ns + 3 * shutdown_ms * std.time.ns_per_ms) {
                fail("shutdown took {d} ms", .{(self.kernel.now_ns - begun_ns) / std.time.ns_per_ms});
            }
            for (&self.oracle.calls) |*call| {
                if (call.state != .free) self.oracle.forget(call);
            }
            self.oracle.afterCall();
        }

        /// A kernel that says nothing keeps what it has.
        fn shutDownUnresponsive(self: *Self) void {
            const begun_ns = self.kernel.now_ns;
            Rig.fallSilent();
            const keeps_any = Rig.keepsAny();
            if (self.engine.shutdown(shutdown_ms) and keeps_any) {
                fail("shutdown did not see what an unresponsive kernel holds", .{});
            }
            if (self.kernel.now_ns > begun_ns + 3 * shutdown_ms * std.time.ns_per_ms) fail("shutdown waits for an unresponsive kernel", .{});
            Rig.speak();
            self.engine.kernel.calls = 0;
        }

        /// What never ends by itself cannot be cancelled either, for a while.
        fn holdForEver(self: *Self, hold: bool) bool {
            var any = false;
            for (self.kernel.requests) |*request| {
                if (request.state != .running or request.due_ns != std.math.maxInt(u64)) continue;
                request.cancellable = !hold;
                if (!hold) request.due_ns = self.kernel.now_ns;
                any = true;
            }
            return any;
        }

        fn tearDown(self: *Self) void {
            if (self.isLost()) self.orphan();
            self.checkEmpty();
            Rig.stop(&self.engine.kernel.inner);
            self.world.memory.registered = @splat(false);
            self.oracle.memory.checkReferences(self.oracle);
            self.engine.pool.inner.deinit();
            if (self.kernel.running_count != 0) fail("the kernel still works for nobody", .{});
            if (self.plan.shutdown_at != null) return;
            self.oracle.tally.checkHistogram(&self.world.control);
            for (self.oracle.models[0..self.plan.files]) |*model| model.checkMedium();
            if (self.kernel.random().boolean()) return;
            for (self.oracle.models[0..self.plan.files], self.world.disks[0..self.plan.files]) |*model, *disk| {
                if (model.gone) continue;
                self.kernel.crash(disk);
                model.checkSurvivor();
            }
        }

        /// A lost ring keeps what the kernel has, for ever. Here that ends, so that the next seed has the memory.
        fn orphan(self: *Self) void {
            if (self.engine.shutdown(shutdown_ms)) fail("shutdown frees what the kernel of a lost ring has", .{});
            self.oracle.memory.checkReferences(self.oracle);
            for (self.kernel.requests) |*request| {
                if (request.state == .running) request.due_ns = @min(request.due_ns, self.kernel.now_ns);
            }
            self.kernel.advance(self.kernel.now_ns);
            for (self.engine.memory.operations) |*operation| {
                if (operation.phase != .done) continue;
                const call = &self.oracle.calls[operation.slot];
                if (call.state != .lost) fail("slot {d} is kept", .{operation.slot});
                self.oracle.models[call.file].settled(self.oracle, call, .outcome_unknown);
                self.oracle.forget(call);
                operation.releaseSlabs();
                operation.reset();
                self.engine.free.push(operation);
            }
            self.engine.kernel.count = 0;
        }

        fn checkEmpty(self: *Self) void {
            const engine = &self.engine;
            if (engine.kernel_count != 0 or engine.pool_count != 0) fail("the window leaks operations", .{});
            if (engine.kernel_bytes != 0) fail("the window leaks bytes", .{});
            if (engine.kernel.count != 0) fail("the lane keeps operations", .{});
            if (engine.fifo.count != 0 or engine.pool_fifo.count != 0) fail("a queue is not empty", .{});
            if (engine.operation_count != 0) fail("operations leak", .{});
            if (engine.free.count != self.plan.operations) fail("free operations leak", .{});
            for (engine.memory.operations) |*operation| {
                if (operation.phase != .free) fail("operation {d} is not free", .{operation.index});
            }
            for (engine.memory.files[0..engine.files_ready]) |*file| {
                if (file.writes_open != 0) fail("writes of a file leak", .{});
                if (file.held.count != 0) fail("a sync is held for ever", .{});
            }
        }

        fn checkStats(self: *Self) void {
            const tally = &self.oracle.tally;
            const kernel = &self.engine.kernel;
            const pool = &self.engine.pool;
            tally.stats.stale_events = kernel.stale_events;
            tally.stats.system_calls = kernel.system_calls + pool.system_calls;
            tally.stats.submit_calls = kernel.submit_calls;
            tally.stats.wakes = kernel.wakes() + pool.wakes;
            tally.check(&self.world.control, self.oracle.inLanes());
            if (!Rig.reports_stale and tally.stats.stale_events > 0) fail("an event of nobody's", .{});
            if (tally.stats.in_kernel_peak > 2 * self.plan.queue_depth) fail("stats: peak", .{});
        }
    };
}
