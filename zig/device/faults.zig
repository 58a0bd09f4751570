//! Injected faults. `Rules` are a user's plan for one device (`bun-aio/testing`). `Weather` are
//! rates out of 256 for the fake kernel, drawn from the seed (the fuzzer).

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");

pub const E = std.posix.E;

/// Rates are out of 256.
pub const Weather = struct {
    /// A transfer is short.
    short: u8 = 0,
    /// A write reports success and transfers nothing.
    idle_write: u8 = 0,
    /// A completion reports EINTR or EAGAIN.
    interrupted: u8 = 0,
    again: u8 = 0,
    /// A transfer fails with EIO, a write with ENOSPC, anything with another errno.
    io_error: u8 = 0,
    /// A submission, or a part of it, is refused for lack of room.
    refuse: u8 = 0,
    /// A submission fails for good.
    refuse_hard: u8 = 0,
    /// A sandbox forbids every call from now on, for a while or for ever.
    unresponsive: u8 = 0,
    /// A thread of the pool cannot be started.
    refuse_thread: u8 = 0,
    /// The request completes within the system call that submits it.
    immediate: u8 = 0,
    /// The request never completes unless it is cancelled.
    stuck: u8 = 0,
    /// A cancel request comes too late, or is impossible.
    uncancellable: u8 = 0,
    /// The kernel reports a submission a second time, later.
    stale: u8 = 0,
    /// Other processes take and release all room of the system.
    others: u8 = 0,
    /// The data of a read is not in the page cache.
    uncached: u8 = 0,
    latency_ns_max: u64 = 1_000_000,
};

pub const Operation = abi.FaultOperation;

/// One rule of a fault plan. Counts matching requests from 1.
pub const Rule = struct {
    operation: Operation = .any,
    /// The range that it matches; the whole device if the length is 0.
    offset: u64 = 0,
    length: u64 = 0,
    /// Which matching requests it affects: the nth, every nth, a share in 1/65536; all if all are
    /// 0.
    nth: u32 = 0,
    every: u32 = 0,
    probability: u32 = 0,
    /// Affects at most so many requests; 0: no limit.
    times: u32 = 0,

    errno: i32 = 0,
    /// Bytes transferred by a short request; needs `is_short`.
    short: u64 = 0,
    is_short: bool = false,
    /// A write stops and fails after this many bytes have reached the medium.
    torn: u64 = 0,
    is_torn: bool = false,
    latency_ns: u64 = 0,
    unplug: bool = false,
    crash: bool = false,
    /// A request does not end while the rule is there.
    hang: bool = false,

    matched: u32 = 0,
    fired: u32 = 0,
    active: bool = false,

    fn matches(rule: *const Rule, operation: Operation, offset: u64, length: u64) bool {
        if (!rule.active) return false;
        if (rule.operation != .any and rule.operation != operation) return false;
        if (rule.length == 0) return true;
        // A sync has no range: it matches only rules without one.
        if (operation == .sync) return false;
        return offset < rule.offset +| rule.length and rule.offset < offset +| @max(length, 1);
    }
};

/// The combined effect of all rules on one request.
pub const Verdict = struct {
    errno: i32 = 0,
    limit: u64 = std.math.maxInt(u64),
    torn: ?u64 = null,
    latency_ns: u64 = 0,
    unplug: bool = false,
    crash: bool = false,
    /// The rules that hold it up: bit n for the rule at place n.
    held_by: u64 = 0,
};

pub const rules_max = abi.fault_rules_max;

pub const Rules = struct {
    rules: [rules_max]Rule = @splat(.{}),

    /// Returns the handle for `remove`, or null if the plan is full.
    pub fn add(rules: *Rules, rule: Rule) ?u32 {
        for (&rules.rules, 0..) |*place, index| {
            if (place.active) continue;
            place.* = rule;
            place.active = true;
            place.matched = 0;
            place.fired = 0;
            return @intCast(index);
        }
        return null;
    }

    pub fn remove(rules: *Rules, handle: u32) void {
        assert(handle < rules_max);
        rules.rules[handle].active = false;
    }

    /// Counts the request and returns what happens to it.
    pub fn consult(rules: *Rules, random: std.Random, operation: Operation, offset: u64, length: u64) Verdict {
        var verdict: Verdict = .{};
        for (&rules.rules, 0..) |*rule, place| {
            if (!rule.matches(operation, offset, length)) continue;
            rule.matched +|= 1;
            if (rule.nth != 0 and rule.matched != rule.nth) continue;
            if (rule.every != 0 and rule.matched % rule.every != 0) continue;
            if (rule.probability != 0 and random.uintLessThan(u32, 65536) >= rule.probability) continue;
            if (rule.times != 0 and rule.fired >= rule.times) continue;
            rule.fired +|= 1;
            if (rule.errno != 0 and verdict.errno == 0) verdict.errno = rule.errno;
            if (rule.is_short) verdict.limit = @min(verdict.limit, rule.short);
            if (rule.is_torn) verdict.torn = @min(verdict.torn orelse rule.torn, rule.torn);
            verdict.latency_ns = @max(verdict.latency_ns, rule.latency_ns);
            verdict.unplug = verdict.unplug or rule.unplug;
            verdict.crash = verdict.crash or rule.crash;
            if (rule.hang) verdict.held_by |= @as(u64, 1) << @intCast(place);
        }
        return verdict;
    }
};

test "rules count from 1, stop after their times and see only their range" {
    var prng = std.Random.DefaultPrng.init(1);
    const random = prng.random();
    var rules: Rules = .{};
    const third = rules.add(.{ .operation = .write, .nth = 3, .errno = 5 }).?;
    _ = rules.add(.{ .operation = .read, .offset = 4096, .length = 512, .times = 1, .errno = 6 });
    for (1..5) |n| {
        const verdict = rules.consult(random, .write, 0, 512);
        try std.testing.expectEqual(@as(i32, if (n == 3) 5 else 0), verdict.errno);
    }
    rules.remove(third);
    try std.testing.expectEqual(@as(i32, 0), rules.consult(random, .read, 0, 4096).errno);
    try std.testing.expectEqual(@as(i32, 6), rules.consult(random, .read, 4600, 1).errno);
    try std.testing.expectEqual(@as(i32, 0), rules.consult(random, .read, 4600, 1).errno);
}
