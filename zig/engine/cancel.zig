//! Cancellation of one operation, and of all at teardown.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const Operation = @import("operation.zig").Operation;
const plant = @import("plant.zig");

pub fn Cancellation(comptime Engine: type) type {
    return struct {
        const queue = @import("queue.zig").Queue(Engine);
        const settle = @import("settle.zig").Settlement(Engine);
        const reap = @import("reap.zig").Reaping(Engine);

        pub fn cancel(engine: *Engine, operation: *Operation) void {
            switch (operation.phase) {
                .free, .done => unreachable, // these have settled: callers pass over them
                .queued => {
                    const list = switch (operation.place) {
                        .held => &engine.memory.files[operation.file].held,
                        .closing => &engine.closing,
                        .fifo => queue.queueOf(engine, operation),
                        .nowhere => unreachable,
                    };
                    const found = list.remove(operation);
                    assert(found);
                    operation.place = .nowhere;
                    operation.covers = 0;
                    settle.settle(engine, operation, .canceled, 0);
                },
                .in_kernel => {
                    if (operation.cancel_requested) return;
                    operation.cancel_requested = true;
                    if (plant.is(.drop_cancel)) return;
                    switch (operation.route) {
                        .kernel => switch (engine.kernel.cancel(operation)) {
                            .removed => {
                                queue.leaveKernel(engine, operation);
                                settle.settle(engine, operation, .canceled, 0);
                            },
                            .requested => {},
                        },
                        .pool => switch (engine.pool.cancel(operation)) {
                            .removed => {
                                engine.pool_count -= 1;
                                operation.phase = .queued;
                                settle.settle(engine, operation, .canceled, 0);
                            },
                            .requested => {},
                        },
                    }
                },
            }
        }

        /// Cancels everything and waits until the kernel has let go, at most `timeout_ms`.
        /// Returns false if it has not, or the ring is lost: then no memory may be freed.
        pub fn shutdown(engine: *Engine, timeout_ms: u32) bool {
            if (engine.isLost() and !plant.is(.lost_shutdown)) return false;
            engine.kernel.disarm();
            for (engine.memory.operations) |*operation| {
                if (!operation.isUnsettled()) continue;
                cancel(engine, operation);
                _ = engine.takeRows();
            }
            if (engine.kernel_count > 0) engine.kernel.cancelAll(timeout_ms);
            const deadline = engine.pool.nowNs() + @as(u64, timeout_ms) * std.time.ns_per_ms;
            while (engine.kernel_count + engine.pool_count > 0) {
                const reaped = reap.reap(engine);
                _ = settle.dropQueued(engine);
                _ = engine.takeRows();
                if (reaped > 0) continue;
                if (engine.pool.nowNs() >= deadline) return false;
                engine.pool.pause();
            }
            _ = settle.dropQueued(engine);
            _ = engine.takeRows();
            return true;
        }

        /// For teardown without waiting: a descriptor that a system call may be using must not be
        /// closed. Its number could be given to another file, which a thread about to make its
        /// call, or glibc's queue behind a running request, would then use.
        pub fn forgetBusyDescriptors(engine: *Engine) void {
            for (engine.memory.operations) |*operation| {
                if (operation.phase != .in_kernel or operation.file == abi.file_none) continue;
                engine.memory.files[operation.file].owned_fd = -1;
            }
        }
    };
}
