//! Submission: from a row of the table to the queue, and from the queue to the lanes.

const abi = @import("../abi.zig");
const Operation = @import("operation.zig").Operation;
const plant = @import("plant.zig");
const read_now = @import("read_now.zig");
const submission_file = @import("submission.zig");

pub fn Submission(comptime Engine: type) type {
    return struct {
        const Kernel = @FieldType(Engine, "kernel");
        const queue = @import("queue.zig").Queue(Engine);
        const settle = @import("settle.zig").Settlement(Engine);

        pub fn accept(engine: *Engine, submission: *const abi.Submission) void {
            const operation = engine.free.pop() orelse unreachable; // JavaScript counts them
            operation.assertPhase(.free);
            engine.operation_count += 1;
            operation.slot = submission.slot;
            operation.generation = submission.generation;
            operation.submitted_ns = engine.now_ns;
            operation.phase = .queued;
            if (!submission_file.read(operation, submission)) return settle.settle(engine, operation, .invalid, 0);
            engine.memory.fresh[engine.fresh_count] = operation;
            engine.fresh_count += 1;
            engine.order += 1;
            operation.order = engine.order;
            if (operation.file != abi.file_none) {
                engine.readyFile(operation.file);
                const file = &engine.memory.files[operation.file];
                if (@hasDecl(Kernel, "fileCloses") and operation.kind == .close) {
                    engine.kernel.fileCloses(operation.file);
                    if (engine.kernel.holdsFile(operation.file, 0) and !plant.is(.close_early)) {
                        operation.place = .closing;
                        engine.closing.push(operation);
                        return;
                    }
                }
                if (operation.kind == .open or operation.kind == .probe) file.forgetRefusals();
                if (operation.changesMedium()) file.writes_open += 1;
                if (operation.isSync() and file.writes_open > 0 and !plant.is(.sync_overtakes)) {
                    operation.covers = file.writes_open;
                    operation.place = .held;
                    file.held.push(operation);
                    return;
                }
            }
            queue.enqueue(engine, operation);
        }

        /// Retains the memory of accepted operations that outlast this call.
        pub fn retainFresh(engine: *Engine) void {
            for (engine.memory.fresh[0..engine.fresh_count]) |operation| {
                if (plant.is(.forget_slab)) continue;
                if (operation.phase != .free) operation.retainSlabs();
            }
            engine.fresh_count = 0;
        }

        /// Submits; returns how many operations a lane has accepted or failed, or a lost ring has
        /// settled.
        pub fn submit(engine: *Engine) u32 {
            if (engine.isLost() and !plant.is(.lost_goes_on)) return settle.dropQueued(engine);
            return submitToPool(engine) + submitToKernel(engine);
        }

        /// Closes the files that the kernel has let go of. Returns how many.
        pub fn closeFree(engine: *Engine) u32 {
            if (!@hasDecl(Kernel, "holdsFile")) return 0;
            var waiting = engine.closing;
            engine.closing = .{};
            const before = waiting.count;
            while (waiting.pop()) |operation| {
                const waited_ns = engine.now_ns - operation.submitted_ns;
                if (!engine.isLost() and engine.kernel.holdsFile(operation.file, waited_ns)) {
                    engine.closing.push(operation);
                } else {
                    operation.place = .nowhere;
                    queue.enqueue(engine, operation);
                }
            }
            return before - engine.closing.count;
        }

        fn submitToKernel(engine: *Engine) u32 {
            if (engine.refused_room) return 0;
            if (engine.fifo.count == 1) {
                const operation = engine.fifo.peek().?;
                if (readNow(engine, &engine.kernel, operation, read_now.bytes_max, &engine.call_bytes)) |result| {
                    if (!plant.is(.read_now_keep)) _ = engine.fifo.pop();
                    endedNow(engine, operation, result);
                    return 1;
                }
            }
            const run = queue.takeRun(engine);
            const moved = if (run.len > 0) submitRun(engine, run) else 0;
            const isGone = Engine.shares_room and engine.room.isGone(engine.now_ns);
            return if (isGone) moved + queue.handOver(engine) else moved;
        }

        fn submitRun(engine: *Engine, run: []*Operation) u32 {
            const verdicts = engine.memory.verdicts[0..run.len];
            engine.kernel.submit(run, verdicts);
            var moved: u32 = 0;
            var refused: u32 = 0;
            for (run, verdicts) |operation, verdict| switch (verdict) {
                .accepted => {
                    moved += 1;
                    engine.unresponsive_since_ns = 0;
                },
                .not_now => refused += 1,
                .failed => |errno| {
                    moved += 1;
                    queue.leaveKernel(engine, operation);
                    settle.refused(engine, operation, errno);
                },
            };
            // Backwards, so that operations put back at the head keep their order.
            var index = run.len;
            while (index > 0) {
                index -= 1;
                if (verdicts[index] != .not_now) continue;
                if (!Engine.shares_room) engine.refused_room = true;
                engine.stats().resubmissions += 1;
                queue.leaveKernel(engine, run[index]);
                if (plant.is(.lose_eagain)) continue;
                if (plant.is(.lose_order)) queue.requeue(engine, run[index]) else queue.requeueFront(engine, run[index]);
            }
            if (!Engine.shares_room) return moved;
            if (moved > 0) engine.room.accepted(engine.kernel_count);
            if (refused > 0) engine.room.refused(engine.kernel_count, engine.now_ns);
            return moved;
        }

        /// Makes a read that needs no device at once, if the lane can and the share of this call
        /// allows.
        fn readNow(engine: *Engine, by: anytype, operation: *Operation, most: u64, share: *u64) ?isize {
            if (!@hasDecl(@typeInfo(@TypeOf(by)).pointer.child, "readNow")) return null;
            if (!operation.cached or operation.file == abi.file_none) return null;
            if (share.* == 0 or engine.missed_now) return null;
            const file = &engine.memory.files[operation.file];
            const way = file.read_now.way() orelse return null;
            operation.assertPhase(.queued);
            operation.preparePiece();
            const bytes = operation.piece.bytes;
            if (bytes == 0 or bytes > most) return null;
            const outcome = by.readNow(operation, way);
            file.read_now.learn(outcome);
            switch (outcome) {
                .ended => |result| {
                    share.* -|= bytes;
                    return result;
                },
                .missed => engine.missed_now = true,
                .look_first, .refused => {},
            }
            return null;
        }

        /// The result of a read that has not been submitted; null if it must be.
        pub fn readAtOnce(engine: *Engine, operation: *Operation) ?isize {
            engine.readyFile(operation.file);
            engine.missed_now = false;
            const most = read_now.call_bytes_max;
            var share: u64 = most;
            if (readNow(engine, &engine.kernel, operation, most, &share)) |result| return result;
            return if (engine.limits.pool_reads_now) readNow(engine, &engine.pool, operation, most, &share) else null;
        }

        fn endedNow(engine: *Engine, operation: *Operation, result: isize) void {
            engine.now_ns = engine.pool.nowNs();
            operation.place = .nowhere;
            settle.ended(engine, operation, result);
        }

        fn submitToPool(engine: *Engine) u32 {
            if (engine.pool_fifo.count == 0) return 0;
            const room = @min(engine.limits.queue_depth -| engine.pool_count, engine.memory.run.len);
            var count: u32 = 0;
            var done: u32 = 0;
            while (count < room) {
                const operation = engine.pool_fifo.pop() orelse break;
                if (engine.limits.pool_reads_now) {
                    if (readNow(engine, &engine.pool, operation, read_now.bytes_max, &engine.now_bytes)) |result| {
                        endedNow(engine, operation, result);
                        done += 1;
                        continue;
                    }
                }
                operation.assertPhase(.queued);
                if (operation.isTransfer()) operation.preparePiece();
                operation.place = .nowhere;
                operation.phase = .in_kernel;
                operation.incarnation +%= 1;
                engine.memory.run[count] = operation;
                count += 1;
            }
            const run = engine.memory.run[0..count];
            if (run.len == 0) return done;
            if (engine.pool.submit(run)) {
                engine.pool_count += count;
                return done + count;
            }
            engine.refused_room = true;
            engine.stats().resubmissions += count;
            var index = run.len;
            while (index > 0) {
                index -= 1;
                run[index].phase = .queued;
                queue.requeueFront(engine, run[index]);
            }
            return done;
        }
    };
}
