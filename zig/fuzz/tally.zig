//! The expected statistics and clock, counted by the oracle from what passes through the lanes
//! and the table. Every member of `abi.Stats` is compared after every call.

const std = @import("std");
const abi = @import("core").abi;
const fail = @import("report.zig").fail;
const Histogram = @import("core").histogram;

pub const Tally = struct {
    stats: abi.Stats = .{},
    histogram: @FieldType(abi.Control, "histogram") = @splat(0),
    /// When the engine had to look at the clock last: as it was entered, and as something ended.
    now_ns: u64 = 0,

    /// A row of the completion table, `latency_ns` after it was handed over.
    pub fn row(tally: *Tally, kind: abi.Kind, status: abi.Status, bytes: u64, latency_ns: u64) void {
        const s = &tally.stats;
        s.completions += 1;
        const class: Histogram.Class = switch (kind) {
            .read, .readv => .read,
            .write, .writev => .write,
            .sync_all, .sync_data => .sync,
            else => .other,
        };
        switch (class) {
            .read => {
                s.reads += 1;
                s.bytes_read += bytes;
            },
            .write => {
                s.writes += 1;
                s.bytes_written += bytes;
            },
            .sync => s.syncs += 1,
            .other => s.others += 1,
        }
        switch (status) {
            .ok => {},
            .canceled => s.canceled += 1,
            else => s.failures += 1,
        }
        Histogram.record(&tally.histogram, class, latency_ns);
    }

    /// At the end of a call; `in_lanes` operations are in the kernel or with the pool.
    pub fn check(tally: *Tally, control: *const abi.Control, in_lanes: u32) void {
        if (control.in_kernel != in_lanes) fail("{d} in the kernel instead of {d}", .{ control.in_kernel, in_lanes });
        tally.stats.in_kernel_peak = @max(tally.stats.in_kernel_peak, in_lanes);
        inline for (@typeInfo(abi.Stats).@"struct".fields) |field| {
            const said = @field(control.stats, field.name);
            const counted = @field(tally.stats, field.name);
            if (said != counted) fail("stats: {s} is {d} instead of {d}", .{ field.name, said, counted });
        }
        const now_ms = @as(f64, @floatFromInt(tally.now_ns)) / std.time.ns_per_ms;
        if (control.now_ms != now_ms) fail("the clock says {d} ms instead of {d}", .{ control.now_ms, now_ms });
    }

    pub fn checkHistogram(tally: *const Tally, control: *const abi.Control) void {
        if (!std.mem.eql(u32, &tally.histogram, &control.histogram)) fail("the histogram of latencies is wrong", .{});
    }
};
