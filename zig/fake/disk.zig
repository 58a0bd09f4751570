//! What a descriptor of the fake kernel names: a device, or a file that grows. What it holds, and what a crash leaves
//! of it, is the drive's business (`device/drive.zig`).

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const Drive = @import("../device/drive.zig").Drive;
const faults = @import("../device/faults.zig");

pub const Disk = struct {
    drive: Drive,
    /// Bytes in use: a device's capacity, a regular file's length.
    size: u64,
    /// A file grows as far as its drive goes, then ENOSPC; devices do not.
    grows: bool,
    unplugged: bool = false,
    rules: faults.Rules = .{},
    /// Where descriptors want whole sectors; 1 where nothing is required.
    alignment: u32 = 1,
    memory_alignment: u32 = 1,
    kind: abi.FileKind = .disk,
    /// POSIX AIO says EOPNOTSUPP (/dev/null, raw disks above maxphys, ...).
    refuses_aio: bool = false,
    /// Reads at once are not to be had (tmpfs, overlayfs), and whether that was said since it was opened.
    refuses_now: bool = false,
    refused_now: bool = false,
    /// Whether it says that it is a tmpfs.
    is_tmpfs: bool = false,
    /// It does not say whether its pages are in memory; asked once, nobody may ask again.
    refuses_cached: bool = false,
    refused_cached: bool = false,
    /// Holes are made of whole pages; parts of one hang (tmpfs of FreeBSD).
    frees_pages: bool = false,
    /// Reserving writes zeroes, and leaves some when it fails.
    reserves_by_writing: bool = false,
    nature: enum {
        medium,
        /// /dev/null: nothing to read, and it swallows what is written.
        sink,
        /// No positions: ESPIPE.
        pipe,
    } = .medium,

    /// Bytes that can be read at `offset`.
    pub fn readable(disk: *const Disk, offset: u64, bytes: u64) u64 {
        return @min(bytes, disk.size -| offset);
    }

    /// Bytes that can be written at `offset`.
    pub fn writable(disk: *const Disk, offset: u64, bytes: u64) u64 {
        const end = if (disk.grows) disk.drive.size else disk.size;
        return @min(bytes, end -| offset);
    }

    pub fn write(disk: *Disk, offset: u64, data: []const u8) void {
        assert(disk.writable(offset, data.len) == data.len);
        if (data.len == 0) return;
        disk.drive.write(offset, data);
        disk.size = @max(disk.size, offset + data.len);
    }

    pub fn truncate(disk: *Disk, size: u64) void {
        assert(disk.grows);
        if (size < disk.size) disk.drive.zero(size, disk.size - size);
        disk.size = size;
    }
};
