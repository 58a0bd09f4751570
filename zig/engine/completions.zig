//! The completion table: one row for each settled operation, and the statistics of it. JavaScript
//! takes the rows after each call.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const Histogram = @import("histogram.zig");
const Operation = @import("operation.zig").Operation;
const plant = @import("plant.zig");

pub const Completions = struct {
    rows: []abi.Completion,
    control: *abi.Control,
    /// Filled rows.
    count: u32 = 0,

    /// `now_ns`: when the operation ended.
    pub fn add(completions: *Completions, operation: *const Operation, now_ns: u64) void {
        assert(operation.phase == .done);
        completions.countSettled(operation, now_ns);
        completions.rows[completions.count] = .{
            .slot = operation.slot,
            .generation = operation.generation,
            .status = @intFromEnum(operation.status),
            .errno = operation.errno,
            .transferred = @floatFromInt(operation.transferred),
            .detail = @floatFromInt(operation.detail),
        };
        completions.count += 1;
    }

    /// Hands the filled rows to JavaScript and returns their number. The next row is the first
    /// again.
    pub fn take(completions: *Completions) u32 {
        defer completions.count = 0;
        return completions.count;
    }

    /// A read that has no row, because the call that made it returns its bytes.
    pub fn countRead(completions: *Completions, operation: *const Operation, now_ns: u64) void {
        const s = &completions.control.stats;
        s.completions += 1;
        s.inline_completions += 1;
        s.reads += 1;
        s.bytes_read += operation.length;
        Histogram.record(&completions.control.histogram, .read, now_ns -| operation.submitted_ns);
    }

    fn countSettled(completions: *Completions, operation: *const Operation, now_ns: u64) void {
        const s = &completions.control.stats;
        s.completions += 1;
        const class: Histogram.Class = switch (operation.kind) {
            .read, .readv => class: {
                s.reads += 1;
                s.bytes_read += operation.transferred;
                break :class .read;
            },
            .write, .writev => class: {
                s.writes += 1;
                s.bytes_written += operation.transferred;
                break :class .write;
            },
            .sync_all, .sync_data => class: {
                s.syncs += 1;
                break :class .sync;
            },
            else => class: {
                s.others += 1;
                break :class .other;
            },
        };
        switch (operation.status) {
            .ok => {},
            .canceled => s.canceled += 1,
            .failed, .invalid, .no_progress, .outcome_unknown => s.failures += 1,
        }
        Histogram.record(&completions.control.histogram, class, now_ns -| operation.submitted_ns);
    }

    /// Plants a bug for the fuzzer. Returns the rows added.
    pub fn plantSecond(completions: *Completions) u32 {
        if (!plant.is(.settle_twice) or completions.count == completions.rows.len) return 0;
        completions.rows[completions.count] = completions.rows[completions.count - 1];
        completions.count += 1;
        return 1;
    }
};
