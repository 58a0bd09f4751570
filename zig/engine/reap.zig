//! From the lanes to the table; and what to do with a kernel that does not say how things ended.

const std = @import("std");
const assert = std.debug.assert;
const lane = @import("lane.zig");
const limits = @import("limits.zig");
const Operation = @import("operation.zig").Operation;
const plant = @import("plant.zig");

pub fn Reaping(comptime Engine: type) type {
    return struct {
        const Kernel = @FieldType(Engine, "kernel");
        const queue = @import("queue.zig").Queue(Engine);
        const settle = @import("settle.zig").Settlement(Engine);

        /// Returns how many submissions have ended.
        pub fn reap(engine: *Engine) u32 {
            var count: u32 = 0;
            if (engine.kernel_count > 0 or mayAskAboutAbandoned(engine)) {
                const reaped = engine.kernel.reap(engine.memory.reaped);
                if (reaped > 0) engine.now_ns = engine.pool.nowNs();
                for (engine.memory.reaped[0..reaped]) |event| reapOne(engine, event);
                count += @intCast(reaped);
            }
            if (engine.pool_count > 0) {
                var finished = engine.pool.reap();
                if (finished.count > 0) engine.now_ns = engine.pool.nowNs();
                while (finished.pop()) |operation| {
                    operation.assertPhase(.in_kernel);
                    engine.pool_count -= 1;
                    operation.phase = .queued;
                    settle.ended(engine, operation, operation.result);
                    count += 1;
                }
            }
            return count;
        }

        /// A kernel that refuses every call is not asked in each of ours.
        fn mayAskAboutAbandoned(engine: *Engine) bool {
            if (engine.abandoned_count == 0) return false;
            if (!isMute(engine)) return true;
            if (engine.now_ns - engine.abandoned_asked_ns < limits.retry_ms_busy * std.time.ns_per_ms) return false;
            engine.abandoned_asked_ns = engine.now_ns;
            return true;
        }

        fn reapOne(engine: *Engine, event: lane.Reaped) void {
            const index: u32 = @truncate(event.token);
            assert(index < engine.memory.operations.len);
            const operation = &engine.memory.operations[index];
            if (operation.phase == .abandoned and operation.token() == event.token) {
                return takeBack(engine, operation);
            }
            const current = operation.phase == .in_kernel and operation.route == .kernel and
                (operation.token() == event.token or plant.is(.accept_stale));
            if (!current) {
                engine.stats().stale_events += 1;
                return;
            }
            queue.leaveKernel(engine, operation);
            settle.ended(engine, operation, event.result);
        }

        /// A kernel that keeps to itself what it has done, for too long: no promise may hang for that. What waits
        /// for room behind it goes to the pool, the rest is settled without its word. Returns how many moved.
        pub fn abandonMute(engine: *Engine) u32 {
            if (!@hasDecl(Kernel, "muteErrno")) return 0;
            const errno = engine.kernel.muteErrno() orelse {
                engine.mute_since_ns = 0;
                return 0;
            };
            const rerouted = reroute(engine);
            if (engine.kernel_count == 0) {
                engine.mute_since_ns = 0;
                return rerouted;
            }
            if (engine.mute_since_ns == 0) engine.mute_since_ns = engine.now_ns;
            const mute_ns = engine.now_ns - engine.mute_since_ns;
            if (mute_ns < limits.mute_ns_max or plant.is(.abandon_never)) return rerouted;
            const count = engine.kernel_count + rerouted;
            for (engine.memory.operations) |*operation| {
                if (operation.phase == .in_kernel and operation.route == .kernel) abandon(engine, operation, errno);
            }
            assert(engine.kernel_count == 0);
            return count;
        }

        /// The lane takes nothing any more: its queue goes where it says.
        fn reroute(engine: *Engine) u32 {
            if (plant.is(.abandon_waiting)) return 0;
            var waiting = engine.fifo;
            engine.fifo = .{};
            const count = waiting.count;
            while (waiting.pop()) |operation| {
                operation.place = .nowhere;
                queue.enqueue(engine, operation);
            }
            return count - engine.fifo.count;
        }

        /// Its row says that nobody knows; its memory and its place in the table stay the kernel's.
        fn abandon(engine: *Engine, operation: *Operation, errno: i32) void {
            queue.leaveKernel(engine, operation);
            operation.phase = .abandoned;
            operation.status = .abandoned;
            operation.errno = errno;
            operation.assertPhase(.abandoned);
            engine.abandoned_count += 1;
            if (plant.is(.abandon_memory)) operation.releaseSlabs();
            if (operation.changesMedium()) settle.releaseHeld(engine, operation);
            engine.completions.add(operation, engine.now_ns);
        }

        /// The kernel has let go of what was abandoned. Nobody waits to hear how it ended.
        fn takeBack(engine: *Engine, operation: *Operation) void {
            operation.assertPhase(.abandoned);
            engine.abandoned_count -= 1;
            operation.releaseSlabs();
            operation.phase = .done;
            operation.reset();
            engine.free.push(operation);
        }

        pub fn isMute(engine: *const Engine) bool {
            return @hasDecl(Kernel, "muteErrno") and engine.kernel.muteErrno() != null;
        }
    };
}
