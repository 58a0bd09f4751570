//! Limits of the engine that its parts and the fuzzer share.

const std = @import("std");
const abi = @import("../abi.zig");
const options = @import("build_options");

/// Bytes that one call transfers at most through inline completions, so that no call keeps the
/// JavaScript thread for much longer than a millisecond.
pub const call_bytes_max = if (options.small_limits) 64 * 1024 else 4 * 1024 * 1024;
/// Times that the kernel may answer EAGAIN to an accepted request before the pool gets it.
pub const attempts_max = 16;
/// How long the kernel may refuse to report completions before the ring is lost.
pub const unresponsive_ns_max: u64 = @as(u64, abi.unresponsive_ms_max) * std.time.ns_per_ms;
/// Pauses before the kernel is asked again for room, in ms.
pub const retry_ms_idle = 1;
pub const retry_ms_busy = 20;
