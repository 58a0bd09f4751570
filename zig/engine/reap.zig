//! Reaping: takes results from the lanes to the completion table. Also detects a kernel that no
//! longer reports completions.

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

        /// Reaps; returns how many submissions have ended.
        pub fn reap(engine: *Engine) u32 {
            var count: u32 = 0;
            if (engine.kernelOwes()) {
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

        fn reapOne(engine: *Engine, event: lane.Reaped) void {
            const index: u32 = @truncate(event.token);
            assert(index < engine.memory.operations.len);
            const operation = &engine.memory.operations[index];
            const current = operation.phase == .in_kernel and operation.route == .kernel and
                (operation.token() == event.token or plant.is(.accept_stale));
            if (!current) {
                engine.stats().stale_events += 1;
                return;
            }
            queue.leaveKernel(engine, operation);
            settle.ended(engine, operation, event.result);
        }

        /// Declares the ring lost when its kernel has refused for too long to report completions,
        /// so that no promise hangs. Returns how many operations that settled.
        pub fn loseUnresponsive(engine: *Engine) u32 {
            if (!@hasDecl(Kernel, "unresponsiveErrno")) return 0;
            const errno = engine.kernel.unresponsiveErrno() orelse 0;
            if (errno == 0 or !engine.kernelOwes()) {
                engine.unresponsive_since_ns = 0;
                return 0;
            }
            if (engine.unresponsive_since_ns == 0) engine.unresponsive_since_ns = engine.now_ns;
            if (engine.now_ns - engine.unresponsive_since_ns < limits.unresponsive_ns_max) return 0;
            return if (plant.is(.lost_never)) 0 else lose(engine, errno);
        }

        /// Loses the ring. Operations in the kernel stay there with their memory. Waiting ones
        /// are settled instead of submitted from now on. Those on a thread end with their own
        /// result.
        fn lose(engine: *Engine, errno: i32) u32 {
            engine.memory.control.lost_errno = errno;
            const count = engine.kernel_count;
            for (engine.memory.operations) |*operation| {
                if (operation.phase != .in_kernel or operation.route != .kernel) continue;
                queue.leaveKernel(engine, operation);
                settle.leaveToKernel(engine, operation, errno);
            }
            assert(engine.kernel_count == 0);
            return count;
        }
    };
}
