//! After an operation has ended in a lane: submits its rest again, or fills its row.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const limits = @import("limits.zig");
const os = @import("../os/os.zig");
const Operation = @import("operation.zig").Operation;
const plant = @import("plant.zig");
const E = os.E;

pub fn Settlement(comptime Engine: type) type {
    return struct {
        const Kernel = @FieldType(Engine, "kernel");
        const queue = @import("queue.zig").Queue(Engine);

        /// The kernel lane refused the operation. The pool can do what that lane cannot do at
        /// all.
        pub fn refused(engine: *Engine, operation: *Operation, errno: i32) void {
            operation.assertPhase(.queued);
            const unsure = engine.kernel.capability(operation.kind) != .yes;
            if (unsure and errno == @intFromEnum(E.OPNOTSUPP)) {
                if (operation.cancel_requested) return settle(engine, operation, .canceled, 0);
                if (operation.file != abi.file_none) {
                    const file = &engine.memory.files[operation.file];
                    if (operation.isSync()) {
                        file.syncs_refused = true;
                    } else {
                        file.transfers_refused = true;
                    }
                }
                engine.stats().fallbacks += 1;
                operation.route = .pool;
                return queue.requeue(engine, operation);
            }
            settle(engine, operation, .failed, errno);
        }

        /// One submission has ended with `result`: bytes, or a negative errno.
        pub fn ended(engine: *Engine, operation: *Operation, result: isize) void {
            operation.assertPhase(.queued);
            if (result < 0) return fail(engine, operation, result);
            if (!operation.isTransfer()) return settle(engine, operation, .ok, 0);
            const bytes: u64 = @intCast(result);
            assert(bytes <= operation.piece.bytes);
            if (operation.isRead()) endedRead(engine, operation, bytes) else endedWrite(engine, operation, bytes);
        }

        fn endedRead(engine: *Engine, operation: *Operation, bytes: u64) void {
            operation.advance(bytes);
            const end_of_file = bytes == 0 or bytes % operation.alignment != 0 or
                (plant.is(.trust_short_read) and bytes < operation.piece.bytes);
            // A direct read that ends within a sector has reached the end of the file; a further
            // read from there would be misaligned.
            if (operation.transferred == operation.length or end_of_file) {
                return settle(engine, operation, .ok, 0);
            }
            resubmit(engine, operation);
        }

        fn endedWrite(engine: *Engine, operation: *Operation, bytes: u64) void {
            const all = operation.length - operation.transferred == bytes;
            // A direct write may stop within a sector (a full disk): go back to its start.
            const kept = if (all) bytes else bytes - bytes % operation.alignment;
            operation.advance(kept);
            if (operation.transferred == operation.length) return settle(engine, operation, .ok, 0);
            if (kept == 0) {
                if (operation.stalled) return settle(engine, operation, .no_progress, 0);
                operation.stalled = true;
            } else {
                operation.stalled = false;
            }
            resubmit(engine, operation);
        }

        fn resubmit(engine: *Engine, operation: *Operation) void {
            if (operation.cancel_requested) return settle(engine, operation, .canceled, 0);
            if (plant.is(.lose_continuation)) return settle(engine, operation, .ok, 0);
            engine.stats().continuations += 1;
            operation.attempts = 0;
            // At the end of the queue: a long transfer takes turns with others.
            queue.requeue(engine, operation);
        }

        fn fail(engine: *Engine, operation: *Operation, result: isize) void {
            const errno: i32 = @intCast(-result);
            switch (@as(E, @enumFromInt(@as(u16, @intCast(errno))))) {
                .CANCELED => if (operation.cancel_requested) {
                    return settle(engine, operation, .canceled, 0);
                },
                .INTR => {
                    if (plant.is(.report_eintr)) return settle(engine, operation, .failed, errno);
                    if (operation.cancel_requested) return settle(engine, operation, .canceled, 0);
                    engine.stats().resubmissions += 1;
                    return queue.requeueFront(engine, operation);
                },
                .AGAIN => {
                    if (operation.cancel_requested) return settle(engine, operation, .canceled, 0);
                    engine.stats().resubmissions += 1;
                    operation.attempts +|= 1;
                    if (operation.attempts >= limits.attempts_max and operation.route == .kernel) {
                        // With O_NONBLOCK on the descriptor io_uring answers this for ever; pread
                        // ignores the flag for files.
                        engine.stats().fallbacks += 1;
                        operation.route = .pool;
                    }
                    engine.refused_room = true;
                    return queue.requeueFront(engine, operation);
                },
                .OPNOTSUPP => if (operation.route == .kernel) return refused(engine, operation, errno),
                else => {},
            }
            settle(engine, operation, .failed, errno);
        }

        /// Settles an operation: releases its memory, unblocks the syncs behind it, fills its
        /// row.
        pub fn settle(engine: *Engine, operation: *Operation, status: abi.Status, errno: i32) void {
            operation.assertPhase(.queued);
            assert(operation.place == .nowhere);
            operation.status = status;
            operation.errno = errno;
            operation.phase = .done;
            operation.assertPhase(.done);
            // A refused submission was never counted and holds nothing.
            if (status != .invalid) {
                // The descriptor is closed after close(2), whatever it returns.
                const closed = operation.kind == .close and status == .failed;
                if (status == .ok or closed) noteDescriptor(engine, operation);
                operation.releaseSlabs();
                if (operation.changesMedium()) releaseHeld(engine, operation);
            }
            engine.completions.add(operation, engine.now_ns);
            engine.operation_count += engine.completions.plantSecond();
            operation.reset();
            engine.free.push(operation);
        }

        /// The ring is lost and the kernel has this operation: its memory and its record are
        /// never used again.
        pub fn leaveToKernel(engine: *Engine, operation: *Operation, errno: i32) void {
            operation.assertPhase(.queued);
            operation.status = .outcome_unknown;
            operation.errno = errno;
            operation.phase = .done;
            operation.assertPhase(.done);
            if (plant.is(.lost_memory)) operation.releaseSlabs();
            if (operation.changesMedium()) releaseHeld(engine, operation);
            engine.completions.add(operation, engine.now_ns);
        }

        /// Records which descriptors the ring owns, for a thread that ends with files open.
        fn noteDescriptor(engine: *Engine, operation: *const Operation) void {
            if (operation.file == abi.file_none) return;
            const file = &engine.memory.files[operation.file];
            switch (operation.kind) {
                // Keep the rest of the record: operations called too early may still count on it.
                .open => {
                    const info: *const abi.FileInfo = @ptrFromInt(operation.address);
                    file.owned_fd = info.fd;
                },
                .probe => file.owned_fd = if (operation.argument == 1) operation.fd else -1,
                .close => file.owned_fd = -1,
                else => return,
            }
            // A descriptor of the caller may be closed and its number reused without notice.
            if (@hasDecl(Kernel, "fileOpened") and file.owned_fd >= 0) {
                engine.kernel.fileOpened(operation.file, file.owned_fd);
            }
        }

        /// A write has ended: syncs called after it wait for one less.
        fn releaseHeld(engine: *Engine, write: *const Operation) void {
            if (write.file == abi.file_none) return;
            const file = &engine.memory.files[write.file];
            assert(file.writes_open > 0);
            file.writes_open -= 1;
            if (file.held.count == 0) return;
            var held = file.held;
            file.held = .{};
            while (held.pop()) |sync| {
                if (sync.order > write.order or plant.is(.miscount_sync)) sync.covers -= 1;
                if (sync.covers > 0) {
                    file.held.push(sync);
                } else {
                    sync.place = .nowhere;
                    queue.enqueue(engine, sync);
                }
            }
        }

        /// The ring ends: settles waiting operations instead of submitting them. Returns how
        /// many.
        pub fn dropQueued(engine: *Engine) u32 {
            const before = engine.completions.count;
            inline for (.{ &engine.fifo, &engine.pool_fifo }) |list| {
                while (list.pop()) |operation| {
                    operation.place = .nowhere;
                    settle(engine, operation, .canceled, 0);
                }
            }
            return engine.completions.count - before;
        }
    };
}
