//! The queues: chooses the lane of each operation, and what goes to the kernel next within the
//! window.

const abi = @import("../abi.zig");
const Operation = @import("operation.zig").Operation;
const plant = @import("plant.zig");
const List = @import("list.zig").List(Operation);

pub fn Queue(comptime Engine: type) type {
    return struct {
        /// Chooses the lane and appends the operation to its queue.
        pub fn enqueue(engine: *Engine, operation: *Operation) void {
            operation.assertPhase(.queued);
            operation.route = switch (engine.kernel.capability(operation.kind)) {
                .yes => .kernel,
                .no => .pool,
                .maybe => if (refusedBefore(engine, operation)) .pool else .kernel,
            };
            operation.place = .fifo;
            queueOf(engine, operation).push(operation);
        }

        pub fn queueOf(engine: *Engine, operation: *const Operation) *List {
            return switch (operation.route) {
                .kernel => &engine.fifo,
                .pool => &engine.pool_fifo,
            };
        }

        fn refusedBefore(engine: *Engine, operation: *const Operation) bool {
            if (operation.file == abi.file_none) return false;
            const file = &engine.memory.files[operation.file];
            return if (operation.isSync()) file.syncs_refused else file.transfers_refused;
        }

        /// Takes the longest run from the head of the queue that fits the window and the share of
        /// this call.
        pub fn takeRun(engine: *Engine) []*Operation {
            var room = @min(engine.limits.queue_depth -| engine.kernel_count, engine.memory.run.len);
            if (Engine.shares_room) room = @min(room, engine.room.free(engine.kernel_count, engine.now_ns));
            var count: usize = 0;
            while (count < room) {
                const operation = engine.fifo.peek() orelse break;
                operation.assertPhase(.queued);
                if (operation.isTransfer()) operation.preparePiece();
                const bytes = operation.piece.bytes;
                if (engine.kernel_bytes + bytes > engine.limits.window_bytes) break;
                if (engine.call_bytes == 0) break;
                engine.call_bytes -|= bytes;
                _ = engine.fifo.pop();
                operation.place = .nowhere;
                operation.phase = .in_kernel;
                operation.incarnation +%= 1;
                engine.kernel_count += 1;
                engine.kernel_bytes += bytes;
                engine.memory.run[count] = operation;
                count += 1;
            }
            return engine.memory.run[0..count];
        }

        pub fn leaveKernel(engine: *Engine, operation: *Operation) void {
            operation.assertPhase(.in_kernel);
            engine.kernel_count -= 1;
            if (!plant.is(.leak_window)) engine.kernel_bytes -= operation.piece.bytes;
            operation.phase = .queued;
        }

        /// Gives the pool what waits for the kernel; returns how many operations.
        pub fn handOver(engine: *Engine) u32 {
            const count = engine.fifo.count;
            while (engine.fifo.pop()) |operation| {
                engine.stats().fallbacks += 1;
                operation.route = .pool;
                engine.pool_fifo.push(operation);
            }
            return count;
        }

        pub fn requeueFront(engine: *Engine, operation: *Operation) void {
            operation.assertPhase(.queued);
            operation.place = .fifo;
            queueOf(engine, operation).pushFront(operation);
        }

        pub fn requeue(engine: *Engine, operation: *Operation) void {
            operation.assertPhase(.queued);
            operation.place = .fifo;
            queueOf(engine, operation).push(operation);
        }
    };
}
