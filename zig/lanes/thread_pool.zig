//! The pool lane: a few threads that make blocking system calls. It does what a kernel lane
//! lacks, and everything in the backend `threads`.
//!
//! The hand-over is one mutex, one condition and two lists. The owner (JavaScript) thread appends
//! to `waiting` and takes `finished` as a whole; threads move operations from one to the other.
//! An operation belongs to the pool from `submit` until it is taken from `finished`.
//!
//! Waking a thread costs as much as a cached read. So `submit` wakes one thread, and a woken
//! thread wakes the next one if more operations wait: a few threads do short calls, and long ones
//! soon have all threads. While an operation waits and a thread is idle, a thread is waking up.

const std = @import("std");
const assert = std.debug.assert;
const os = @import("../os/os.zig");
const lane = @import("../engine/lane.zig");
const Operation = @import("../engine/operation.zig").Operation;
const perform = @import("perform.zig").perform;
const read_now = @import("../engine/read_now.zig");
const List = @import("../engine/list.zig").List(Operation);

pub fn Pool(comptime Os: type) type {
    return struct {
        const Self = @This();

        mutex: os.pthread.Mutex,
        work: os.pthread.Condition,
        waiting: List = .{},
        finished: List = .{},
        /// Threads that exist, and how many of them are blocked in `work.wait`.
        threads: u32 = 0,
        idle: u32 = 0,
        threads_max: u32,
        /// Operations that threads are working on.
        running: u32 = 0,
        stopping: bool = false,
        /// The engine is about to reap: threads need not ring.
        quiet: bool = false,
        wake: Os.Wake,
        /// Counted by threads, under the mutex.
        calls_made: u64 = 0,
        rings_made: u64 = 0,
        calls_of_owner: u64 = 0,
        /// Copies for the owner, which reads them without the mutex.
        system_calls: u64 = 0,
        wakes: u64 = 0,
        /// Keeps the memory of ring and pool alive; called by each thread on its way out.
        owner: *anyopaque,
        release: *const fn (*anyopaque) void,
        /// Called for each thread started.
        retain: *const fn (*anyopaque) void,

        pub fn init(
            pool: *Self,
            wake: Os.Wake,
            threads_max: u32,
            owner: *anyopaque,
            release: *const fn (*anyopaque) void,
            retain: *const fn (*anyopaque) void,
        ) void {
            assert(threads_max > 0);
            pool.* = .{
                .mutex = undefined,
                .work = undefined,
                .threads_max = threads_max,
                .wake = wake,
                .owner = owner,
                .release = release,
                .retain = retain,
            };
            pool.mutex.init();
            pool.work.init();
        }

        /// Call only when no thread is left.
        pub fn deinit(pool: *Self) void {
            assert(pool.threads == 0);
            pool.work.deinit();
            pool.mutex.deinit();
        }

        /// Takes the whole run. Returns false if there is no thread and none can be started: the
        /// caller must try again later.
        pub fn submit(pool: *Self, operations: []const *Operation) bool {
            const taken = pool.take(operations);
            if (taken) pool.work.signal();
            return taken;
        }

        fn take(pool: *Self, operations: []const *Operation) bool {
            pool.mutex.lock();
            defer pool.mutex.unlock();
            assert(!pool.stopping);
            var wanted = @min(pool.waiting.count + operations.len, pool.threads_max);
            wanted -|= pool.idle;
            while (wanted > 0 and pool.threads < pool.threads_max) : (wanted -= 1) {
                pool.retain(pool.owner);
                if (!os.pthread.spawn(run, pool)) {
                    pool.release(pool.owner);
                    break;
                }
                pool.threads += 1;
            }
            if (pool.threads == 0) return false;
            for (operations) |operation| {
                operation.assertPhase(.in_kernel);
                pool.waiting.push(operation);
            }
            return true;
        }

        /// Reads at once, without a thread.
        pub fn readNow(pool: *Self, operation: *const Operation, way: read_now.Way) read_now.Outcome {
            const before = pool.calls_of_owner;
            const outcome = read_now.readNow(Os, operation, way, &pool.calls_of_owner);
            pool.system_calls += pool.calls_of_owner - before;
            return outcome;
        }

        /// Returns everything that is finished.
        pub fn reap(pool: *Self) List {
            pool.mutex.lock();
            defer pool.mutex.unlock();
            const taken = pool.finished;
            pool.finished = .{};
            pool.system_calls = pool.calls_made + pool.calls_of_owner;
            pool.wakes = pool.rings_made;
            return taken;
        }

        /// Turns ringing on again; returns false if something finished meanwhile.
        pub fn arm(pool: *Self) bool {
            pool.mutex.lock();
            defer pool.mutex.unlock();
            pool.quiet = false;
            return pool.finished.count == 0;
        }

        pub fn disarm(pool: *Self) void {
            pool.mutex.lock();
            defer pool.mutex.unlock();
            pool.quiet = true;
        }

        /// Removes an operation that waits. A thread inside a system call cannot be interrupted.
        pub fn cancel(pool: *Self, operation: *Operation) lane.Cancellation {
            pool.mutex.lock();
            defer pool.mutex.unlock();
            return if (pool.waiting.remove(operation)) .removed else .requested;
        }

        /// Threads take no more operations, and idle ones exit. Returns the waiting operations.
        pub fn stop(pool: *Self) List {
            pool.mutex.lock();
            defer pool.mutex.unlock();
            pool.stopping = true;
            pool.work.broadcast();
            const taken = pool.waiting;
            pool.waiting = .{};
            return taken;
        }

        /// Gives threads time to finish; teardown only.
        pub fn pause(_: *Self) void {
            Os.sleepMs(1);
        }

        /// The engine's clock: CLOCK_MONOTONIC, or a virtual one in simulation.
        pub fn nowNs(_: *Self) u64 {
            return os.monotonicNs();
        }

        fn run(argument: ?*anyopaque) callconv(.c) ?*anyopaque {
            const pool: *Self = @ptrCast(@alignCast(argument.?));
            // Read what `release` needs first: it may free the pool.
            const owner = pool.owner;
            const release = pool.release;
            pool.serve();
            release(owner);
            return null;
        }

        fn serve(pool: *Self) void {
            pool.mutex.lock();
            defer pool.mutex.unlock();
            var was_woken = true;
            while (true) {
                const operation = pool.waiting.pop() orelse {
                    if (pool.stopping) break;
                    pool.idle += 1;
                    pool.work.wait(&pool.mutex);
                    pool.idle -= 1;
                    was_woken = true;
                    continue;
                };
                pool.running += 1;
                const wake_next = was_woken and pool.waiting.count > 0 and pool.idle > 0;
                was_woken = false;
                pool.mutex.unlock();
                if (wake_next) pool.work.signal();
                operation.result = perform(Os, operation);
                pool.mutex.lock();
                pool.running -= 1;
                pool.calls_made += 1;
                const was_empty = pool.finished.count == 0;
                pool.finished.push(operation);
                // Only the first one rings: the owner takes everything that is there.
                if (was_empty and !pool.quiet and !pool.stopping) {
                    pool.rings_made += 1;
                    pool.wake.ring();
                }
            }
            pool.threads -= 1;
        }
    };
}
