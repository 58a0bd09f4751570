//! Memory from the system, zeroed, in whole pages.

const builtin = @import("builtin");
const std = @import("std");
const page_align = std.heap.page_size_min;
const is_linux = builtin.os.tag == .linux;

/// ThreadSanitizer must see memory mapped and unmapped, or it takes new memory for old: under it libc makes
/// these calls on Linux, too.
const raw = is_linux and !(builtin.sanitize_thread and builtin.link_libc);
const system = if (raw) std.os.linux else std.c;

/// Null when the system has no memory.
pub fn mapMemory(bytes: u64) ?[]align(page_align) u8 {
    var how: system.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true };
    if (is_linux) how.NORESERVE = true;
    const result = system.mmap(null, bytes, .{ .READ = true, .WRITE = true }, how, -1, 0);
    if (if (raw) system.errno(result) != .SUCCESS else result == system.MAP_FAILED) return null;
    const address = if (raw) result else @intFromPtr(result);
    return @as([*]align(page_align) u8, @ptrFromInt(address))[0..bytes];
}

pub fn unmapMemory(memory: []align(page_align) u8) void {
    const result = system.munmap(memory.ptr, memory.len);
    std.debug.assert(result == 0);
}
