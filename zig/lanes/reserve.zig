//! Reserves space of a file where the kernel does so by writing zeroes (UFS and tmpfs of FreeBSD):
//! that cannot be interrupted, and may fill the disk before it fails. So a range that cannot fit is
//! refused before anything is written, and a file that was made longer gets its former length when
//! it fails all the same.
//!
//! `system` has `space(fd)`, `allocate(fd, offset, length)` and `cut(fd, size)`.

const std = @import("std");
const os = @import("../os/os.zig");
const plant = @import("../engine/plant.zig");
const Answer = @import("../os/space.zig").Answer;

/// 0 or a negative errno.
pub fn allocate(system: anytype, fd: i32, offset: u64, length: u64) isize {
    const before = switch (system.space(fd)) {
        .space => |space| space,
        .refused => |errno| return errno,
    };
    // Some of it may lie in the range already.
    if (length -| before.reserved > before.free) return os.negative(.NOSPC);
    const result = again(system, fd, offset, length);
    if (result >= 0 or plant.is(.keep_reserved)) return result;
    switch (system.space(fd)) {
        // Longer than this call can have made it: another's.
        .space => |now| if (now.size > before.size and now.size <= offset + length) {
            _ = system.cut(fd, before.size);
        },
        .refused => {},
    }
    return result;
}

fn again(system: anytype, fd: i32, offset: u64, length: u64) isize {
    while (true) {
        const result = system.allocate(fd, offset, length);
        if (result != os.negative(.INTR)) return result;
    }
}

const Full = struct {
    size: u64 = 1000,
    reserved: u64 = 0,
    free: u64,
    /// What others make of it meanwhile.
    others: u64 = 0,
    calls: u32 = 0,

    fn space(file: *Full, _: i32) Answer {
        return .{ .space = .{ .size = file.size, .reserved = file.reserved, .free = file.free } };
    }

    fn allocate(file: *Full, _: i32, offset: u64, length: u64) isize {
        file.calls += 1;
        if (file.calls == 1) return os.negative(.INTR);
        file.size = @max(file.size, offset + length / 2, file.others);
        return os.negative(.NOSPC);
    }

    fn cut(file: *Full, _: i32, size: u64) isize {
        file.size = size;
        return 0;
    }
};

test "what cannot fit is refused at once, and what failed gives back its length" {
    const expectEqual = std.testing.expectEqual;
    var full: Full = .{ .free = 4096 };
    try expectEqual(os.negative(.NOSPC), allocate(&full, 3, 0, 4097));
    try expectEqual(@as(u32, 0), full.calls);
    full.reserved = 1;
    try expectEqual(os.negative(.NOSPC), allocate(&full, 3, 500, 4097));
    try expectEqual(@as(u32, 2), full.calls);
    try expectEqual(@as(u64, 1000), full.size);
    full.others = 8192;
    try expectEqual(os.negative(.NOSPC), allocate(&full, 3, 500, 4096));
    try expectEqual(@as(u64, 8192), full.size);
}
