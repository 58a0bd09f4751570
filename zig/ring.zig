//! A ring: the memory shared with JavaScript, one engine, and its wake descriptor. Chooses the
//! backend, and decides when memory is freed.
//!
//! References: one for JavaScript, dropped by the finaliser of the shared memory, and one for
//! each thread of the pool. The last one frees the ring. If the kernel does not let go in time at
//! teardown, or the ring was lost, the ring is orphaned: its memory is leaked on purpose.

const builtin = @import("builtin");
const std = @import("std");
const assert = std.debug.assert;
const abi = @import("abi.zig");
const engine_file = @import("engine/engine.zig");
const Memory = @import("engine/memory.zig").Memory;
const options = @import("build_options");
const os = @import("os/os.zig");
const Pool = @import("lanes/thread_pool.zig").Pool;
const Slab = @import("engine/slab.zig").Slab;
const Refusal = @import("os/refusal.zig").Refusal;
const SimulatedDevice = @import("device/simulated_device.zig").SimulatedDevice;
const NullLane = @import("lanes/null_lane.zig").NullLane;

const page_align = std.heap.page_size_min;

/// The system; with `-Dfaults=true` the system with injected faults (tests only).
const Os = if (options.faults) @import("os/fault.zig").FaultOs(os.native) else os.native;

const ThreadsEngine = engine_file.Engine(NullLane, Pool(Os));
const IoUringLane = @import("lanes/io_uring.zig").IoUring(Os);
const IoUringEngine = engine_file.Engine(IoUringLane, Pool(Os));

const SimulatedEngine = engine_file.Engine(SimulatedDevice, Pool(Os));

const PosixAioLane = @import("lanes/posix_aio.zig").PosixAio(Os);
const PosixAioEngine = engine_file.Engine(PosixAioLane, Pool(Os));

const AnyEngine = switch (builtin.os.tag) {
    .linux => union(enum) {
        io_uring: IoUringEngine,
        posix_aio: PosixAioEngine,
        threads: ThreadsEngine,
        simulated: SimulatedEngine,
    },
    .freebsd => union(enum) {
        posix_aio: PosixAioEngine,
        threads: ThreadsEngine,
        simulated: SimulatedEngine,
    },
    else => union(enum) { threads: ThreadsEngine, simulated: SimulatedEngine },
};

/// Number of pool threads. Beside a kernel lane they serve rare operations; without one
/// they are all the concurrency there is.
const threads_beside_kernel = 4;
const threads_alone = 16;

/// Backends in the order in which `auto` tries them. On Linux `posix_aio` must be named: there it
/// is a thread pool of libc, slower than ours.
const candidates: []const abi.Backend = switch (builtin.os.tag) {
    .linux => &.{ .io_uring, .threads },
    .freebsd => &.{ .posix_aio, .threads },
    else => &.{.threads},
};

pub const Ring = struct {
    references: std.atomic.Value(u32),
    /// Private memory: this struct, operations, files, scratch space.
    private: []align(page_align) u8,
    /// Memory that JavaScript sees: control block, tables, bounce memory.
    shared: []align(page_align) u8,
    owner_thread: usize,
    wake: Os.Wake,
    engine: AnyEngine,
    /// Calls are refused, and descriptors are closed.
    closed: bool,
    /// The kernel may still write: nothing is ever freed.
    orphaned: std.atomic.Value(bool),

    pub fn open(wanted: abi.RingOptions, info: *abi.RingInfo) ?*Ring {
        info.* = std.mem.zeroes(abi.RingInfo);
        const backend = std.enums.fromInt(abi.Backend, wanted.backend) orelse {
            return fail(info, .automatic, .of(.INVAL, .none));
        };
        if (wanted.queue_depth == 0 or wanted.queue_depth > abi.queue_depth_max) {
            return fail(info, backend, .of(.INVAL, .none));
        }
        const ring = allocate(wanted.queue_depth, info) orelse {
            return fail(info, backend, .of(.NOMEM, .mmap));
        };
        switch (Os.Wake.open()) {
            .wake => |wake| ring.wake = wake,
            .errno => |errno| {
                ring.free();
                return fail(info, backend, .{ .errno = errno, .step = .eventfd });
            },
        }
        if (options.faults) Os.configure(wanted);
        const tried: []const abi.Backend = if (backend == .automatic) candidates else &.{backend};
        for (tried) |candidate| {
            const refusal = ring.start(candidate, wanted) orelse {
                ring.describe(info, candidate);
                return ring;
            };
            _ = fail(info, candidate, refusal);
            if (!mayFallBack(refusal)) break;
        }
        ring.wake.close();
        ring.free();
        return null;
    }

    /// Refusals by a sandbox, an old kernel or a memory limit; anything else is an error.
    fn mayFallBack(refusal: Refusal) bool {
        return switch (@as(os.E, @enumFromInt(@as(u16, @intCast(refusal.errno))))) {
            .NOSYS, .PERM, .ACCES, .NOMEM, .INVAL, .OPNOTSUPP => true,
            else => false,
        };
    }

    fn fail(info: *abi.RingInfo, backend: abi.Backend, refusal: Refusal) ?*Ring {
        info.refused_backend = @intFromEnum(backend);
        info.refused_errno = refusal.errno;
        info.refused_step = @intFromEnum(refusal.step);
        return null;
    }

    const Layout = struct {
        sizes: Memory.Sizes,
        private_bytes: u64,
        submissions: u64,
        completions: u64,
        bounce: u64,
        shared_bytes: u64,

        fn of(queue_depth: u32) Layout {
            const operations = queue_depth + abi.operations_ready;
            const sizes: Memory.Sizes = .{ .operations = operations, .queue_depth = queue_depth, .files = abi.files_max };
            const submissions = std.mem.alignForward(u64, @sizeOf(abi.Control), 64);
            const completions = submissions + operations * @sizeOf(abi.Submission);
            const tables_end = completions + operations * @sizeOf(abi.Completion);
            const bounce = std.mem.alignForward(u64, tables_end, abi.bounce_block_bytes_max);
            return .{
                .sizes = sizes,
                .private_bytes = @sizeOf(Ring) + Memory.bytes(sizes),
                .submissions = submissions,
                .completions = completions,
                .bounce = bounce,
                .shared_bytes = bounce + abi.bounce_bytes + abi.bounce_reserve_bytes,
            };
        }
    };

    fn allocate(queue_depth: u32, info: *abi.RingInfo) ?*Ring {
        const layout: Layout = .of(queue_depth);
        const private = os.mapMemory(layout.private_bytes) orelse return null;
        const shared = os.mapMemory(layout.shared_bytes) orelse {
            os.unmapMemory(private);
            return null;
        };
        const ring: *Ring = @ptrCast(@alignCast(private.ptr));
        ring.* = .{
            .references = .init(1),
            .private = private,
            .shared = shared,
            .owner_thread = os.pthread.self(),
            .wake = undefined,
            .engine = undefined,
            .closed = false,
            .orphaned = .init(false),
        };
        info.memory = @floatFromInt(@intFromPtr(shared.ptr));
        info.memory_bytes = @floatFromInt(shared.len);
        info.bounce_address = @floatFromInt(@intFromPtr(shared.ptr) + layout.bounce);
        info.submissions_offset = @intCast(layout.submissions);
        info.completions_offset = @intCast(layout.completions);
        info.bounce_offset = @intCast(layout.bounce);
        info.operations_max = layout.sizes.operations;
        info.queue_depth = queue_depth;
        info.ring = @floatFromInt(@intFromPtr(ring));
        return ring;
    }

    fn engineMemory(ring: *Ring, layout: Layout) Memory {
        var fixed: std.heap.FixedBufferAllocator = .init(ring.private[@sizeOf(Ring)..]);
        const count = layout.sizes.operations;
        const shared = ring.shared.ptr;
        const submissions: [*]abi.Submission = @ptrCast(@alignCast(shared + layout.submissions));
        const completions: [*]abi.Completion = @ptrCast(@alignCast(shared + layout.completions));
        return Memory.allocate(fixed.allocator(), .{
            .control = @ptrCast(shared),
            .submissions = submissions[0..count],
            .completions = completions[0..count],
        }, layout.sizes) catch unreachable; // Layout.of has counted
    }

    fn start(ring: *Ring, backend: abi.Backend, wanted: abi.RingOptions) ?Refusal {
        switch (backend) {
            .automatic => {},
            inline else => |named| if (@hasField(AnyEngine, @tagName(named))) {
                ring.engine = @unionInit(AnyEngine, @tagName(named), undefined);
                const engine = &@field(ring.engine, @tagName(named));
                const layout: Layout = .of(wanted.queue_depth);
                const refused: ?Refusal = switch (named) {
                    .automatic => comptime unreachable,
                    .threads => engine.kernel.init(),
                    .io_uring => engine.kernel.init(wanted.queue_depth, ring.wake),
                    .posix_aio => engine.kernel.init(layout.sizes.operations, ring.wake),
                    .simulated => engine.kernel.init(wanted),
                };
                if (refused) |refusal| return refusal;
                const threads = if (named == .threads) threads_alone else threads_beside_kernel;
                ring.startEngine(engine, layout, wanted, threads);
                return null;
            },
        }
        return .of(.OPNOTSUPP, .lookup);
    }

    fn startEngine(ring: *Ring, engine: anytype, layout: Layout, wanted: abi.RingOptions, threads: u32) void {
        engine.pool.init(ring.wake, threads, ring, releaseOpaque, retainOpaque);
        engine.init(ring.engineMemory(layout), .{
            .queue_depth = wanted.queue_depth,
            .window_bytes = @max(wanted.window_bytes, abi.piece_bytes_max),
            // A backend chosen by name does every operation itself.
            .pool_reads_now = wanted.backend == @intFromEnum(abi.Backend.automatic),
        });
    }

    fn describe(ring: *Ring, info: *abi.RingInfo, backend: abi.Backend) void {
        info.backend = @intFromEnum(backend);
        info.wake_fd = ring.wake.readFd();
        info.features = switch (ring.engine) {
            inline else => |*engine| engine.kernel.features(),
        };
    }

    /// Calls a function of the engine, whichever it is.
    pub fn call(
        ring: *Ring,
        comptime function: std.meta.DeclEnum(ThreadsEngine),
        arguments: anytype,
    ) @typeInfo(@TypeOf(@field(ThreadsEngine, @tagName(function)))).@"fn".return_type.? {
        switch (ring.engine) {
            inline else => |*engine| {
                const Engine = @TypeOf(engine.*);
                return @call(.auto, @field(Engine, @tagName(function)), .{engine} ++ arguments);
            },
        }
    }

    /// Changed ranges of an overlay device, as offset and length.
    pub fn deviceChanges(ring: *const Ring, from: u64, out: [][2]f64) u32 {
        return switch (ring.engine) {
            .simulated => |*engine| engine.kernel.changes(from, out),
            else => 0,
        };
    }

    /// Ends hangs of a simulated device.
    pub fn deviceLift(ring: *Ring, place: u32, added: u32) void {
        switch (ring.engine) {
            .simulated => |*engine| engine.kernel.lift(place, added),
            else => {},
        }
    }

    pub fn operationCount(ring: *Ring) u32 {
        return switch (ring.engine) {
            inline else => |*engine| engine.operation_count,
        };
    }

    /// Closes the kernel side. Operations still running (at teardown without `Ring.close`) are
    /// cancelled and awaited for `abi.teardown_ms_max`.
    pub fn close(ring: *Ring) void {
        if (ring.closed) return;
        ring.closed = true;
        switch (ring.engine) {
            inline else => |*engine| {
                const clean = ring.onOwnerThread() and engine.shutdown(abi.teardown_ms_max);
                if (!clean) {
                    ring.orphaned.store(true, .release);
                    _ = engine.pool.stop();
                    engine.forgetBusyDescriptors();
                    return;
                }
                engine.kernel.deinit();
                // Idle threads exit; each drops its reference.
                _ = engine.pool.stop();
                ring.wake.close();
            },
        }
    }

    fn onOwnerThread(ring: *const Ring) bool {
        return ring.owner_thread == os.pthread.self();
    }

    /// Drops JavaScript's reference, when its shared memory was collected. Files that were never
    /// closed (by a terminated worker) are closed here.
    pub fn finalize(ring: *Ring) void {
        ring.close();
        switch (ring.engine) {
            inline else => |*engine| for (engine.memory.files[0..engine.files_ready]) |*file| file.closeOwned(),
        }
        ring.release();
    }

    /// Closes the descriptor that it owns of this file.
    pub fn disown(ring: *Ring, file: u32) void {
        switch (ring.engine) {
            inline else => |*engine| if (file < engine.files_ready) engine.memory.files[file].closeOwned(),
        }
    }

    /// Leaves the descriptor of this file to its owner. Nothing of it is in flight.
    pub fn forget(ring: *Ring, file: u32) void {
        switch (ring.engine) {
            inline else => |*engine| {
                engine.memory.files[file].owned_fd = -1;
                // A lane that keeps it open would use it for the next file of this index.
                if (!ring.closed and @hasDecl(@TypeOf(engine.kernel), "fileCloses")) {
                    engine.kernel.fileCloses(file);
                }
            },
        }
    }

    /// Registers the memory of a slab with the kernel, if the lane can.
    pub fn registerSlab(ring: *Ring, slab: *Slab, chunk_bytes: u32) bool {
        switch (ring.engine) {
            inline else => |*engine| {
                if (!@hasDecl(@TypeOf(engine.kernel), "registerSlab")) return false;
                return engine.kernel.registerSlab(slab, chunk_bytes);
            },
        }
    }

    /// The slab at the address may be freed already.
    pub fn unregisterSlab(ring: *Ring, address: u64) void {
        switch (ring.engine) {
            inline else => |*engine| {
                if (@hasDecl(@TypeOf(engine.kernel), "registerSlab")) engine.kernel.unregisterSlab(address);
            },
        }
    }

    fn retainOpaque(opaque_ring: *anyopaque) void {
        const ring: *Ring = @ptrCast(@alignCast(opaque_ring));
        _ = ring.references.fetchAdd(1, .monotonic);
    }

    fn releaseOpaque(opaque_ring: *anyopaque) void {
        const ring: *Ring = @ptrCast(@alignCast(opaque_ring));
        ring.release();
    }

    fn release(ring: *Ring) void {
        const before = ring.references.fetchSub(1, .acq_rel);
        assert(before > 0);
        if (before > 1) return;
        assert(ring.closed);
        if (ring.orphaned.load(.acquire)) return;
        switch (ring.engine) {
            inline else => |*engine| engine.pool.deinit(),
        }
        ring.free();
    }

    fn free(ring: *Ring) void {
        const private = ring.private;
        const shared = ring.shared;
        os.unmapMemory(shared);
        os.unmapMemory(private);
    }
};
