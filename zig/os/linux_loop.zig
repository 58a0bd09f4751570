//! Loop devices (linux/loop.h).

const std = @import("std");
const linux = std.os.linux;
const abi = @import("../abi.zig");
const BLKROSET = @import("linux_disk.zig").BLKROSET;
const negative = @import("errno.zig").negative;
const signed = @import("errno.zig").signed;

const LOOP_GET_STATUS64 = 0x4c05;
const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LO_FLAGS_AUTOCLEAR = 4;
const LO_FLAGS_PARTSCAN = 8;

/// struct loop_info64
const LoopInfo = extern struct {
    device: u64 = 0,
    inode: u64 = 0,
    rdevice: u64 = 0,
    offset: u64 = 0,
    size_limit: u64 = 0,
    number: u32 = 0,
    encrypt_type: u32 = 0,
    encrypt_key_size: u32 = 0,
    flags: u32 = 0,
    file_name: [64]u8 = @splat(0),
    crypt_name: [64]u8 = @splat(0),
    encrypt_key: [32]u8 = @splat(0),
    init: [2]u64 = @splat(0),
};

/// struct loop_config (Linux 5.8)
const LoopConfig = extern struct {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [8]u64 = @splat(0),
};

comptime {
    std.debug.assert(@sizeOf(LoopInfo) == 232);
    std.debug.assert(@sizeOf(LoopConfig) == 304);
}

/// Attempts to get a free loop device that other processes may take first.
const attempts_max = 64;

/// Shows the file `fd` as a loop device. It detaches itself when its last descriptor is closed
/// (LO_FLAGS_AUTOCLEAR), be it by the end of the process.
pub fn attachImage(fd: i32, sector_size: u32, info: *abi.ImageInfo) isize {
    const opened = open("/dev/loop-control", .{ .ACCMODE = .RDWR });
    if (opened < 0) return opened;
    const control: i32 = @intCast(opened);
    defer _ = linux.close(control);
    var attempt: u32 = 0;
    while (true) {
        const number = signed(linux.ioctl(control, LOOP_CTL_GET_FREE, 0));
        if (number < 0) return number;
        const result = attachTo(@intCast(number), fd, sector_size, info);
        // Somebody else was given the same number and was faster.
        attempt += 1;
        if (result == negative(.BUSY) and attempt < attempts_max) continue;
        return result;
    }
}

fn attachTo(number: u32, fd: i32, sector_size: u32, info: *abi.ImageInfo) isize {
    const opened = openLoop(number, .{ .ACCMODE = .RDWR });
    if (opened < 0) return opened;
    const loop: i32 = @intCast(opened);
    const config: LoopConfig = .{
        // What is no descriptor is the kernel's to refuse.
        .fd = @bitCast(fd),
        .block_size = sector_size,
        .info = .{ .flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN },
    };
    const result = signed(linux.ioctl(loop, LOOP_CONFIGURE, @intFromPtr(&config)));
    if (result < 0) {
        _ = linux.close(loop);
        return result;
    }
    // What the last user of this number set with it outlives its image.
    const read_only: u32 = 0;
    _ = linux.ioctl(loop, BLKROSET, @intFromPtr(&read_only));
    info.* = .{ .fd = loop, .number = number };
    return 0;
}

/// Asks the driver what stands behind /dev/loopN: ENXIO if nothing does. It asks the file system in turn
/// (loop_get_status() in drivers/block/loop.c), so that the numbers are those of fstat(2).
pub fn loopStatus(number: u32, status: *abi.LoopStatus) isize {
    const opened = openLoop(number, .{ .ACCMODE = .RDONLY, .NONBLOCK = true });
    if (opened < 0) return opened;
    const loop: i32 = @intCast(opened);
    defer _ = linux.close(loop);
    var info: LoopInfo = .{};
    const result = signed(linux.ioctl(loop, LOOP_GET_STATUS64, @intFromPtr(&info)));
    if (result < 0) return result;
    // Another device may have that name here.
    if (info.number != number) return negative(.NODEV);
    status.* = .{
        .device = info.device,
        .inode = info.inode,
        .rdevice = info.rdevice,
        .offset = info.offset,
    };
    return 0;
}

fn openLoop(number: u32, how: linux.O) isize {
    var path: [32]u8 = undefined;
    return open(std.fmt.bufPrintZ(&path, "/dev/loop{d}", .{number}) catch unreachable, how); // 19 bytes
}

fn open(path: [*:0]const u8, how: linux.O) isize {
    var all = how;
    all.CLOEXEC = true;
    return signed(linux.openat(linux.AT.FDCWD, path, all, 0));
}
