//! Latency histogram: buckets are linear within each power of two, so at most 12.5 % wide. No
//! allocation; a few instructions for each value. The layout is `abi.histogram_*`; JavaScript
//! reads the counts from shared memory.

const std = @import("std");
const abi = @import("../abi.zig");

pub const Class = enum(u32) { read = 0, write = 1, sync = 2, other = 3 };

const steps_log2 = abi.histogram_steps_log2;
const steps = 1 << steps_log2;

pub fn bucket(ns: u64) u32 {
    if (ns < steps) return @intCast(ns);
    const exponent: u32 = 63 - @clz(ns);
    const within: u32 = @intCast((ns >> @intCast(exponent - steps_log2)) & (steps - 1));
    return @min((exponent - steps_log2 + 1) * steps + within, abi.histogram_buckets - 1);
}

pub fn record(counts: []u32, class: Class, ns: u64) void {
    const index = @intFromEnum(class) * abi.histogram_buckets + bucket(ns);
    counts[index] +|= 1;
}

test "buckets grow with the value, without gaps" {
    var previous: u32 = 0;
    var ns: u64 = 0;
    while (ns < 100_000) : (ns += 1) {
        const index = bucket(ns);
        try std.testing.expect(index == previous or index == previous + 1);
        previous = index;
    }
    try std.testing.expectEqual(@as(u32, abi.histogram_buckets - 1), bucket(std.math.maxInt(u64)));
}
