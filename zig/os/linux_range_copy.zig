//! Copies of ranges inside the kernel, on Linux.

const std = @import("std");
const linux = std.os.linux;
const CopyMethod = @import("../abi.zig").CopyMethod;
const RangeCopy = @import("range_copy.zig").RangeCopy;
const signed = @import("errno.zig").signed;

// linux/fs.h: _IOW(0x94, 13, struct file_clone_range)
const FICLONERANGE = 0x4020940d;

const CloneRange = extern struct {
    source_fd: i64,
    source_offset: u64,
    /// 0 would mean "to the end".
    length: u64,
    offset: u64,
};

comptime {
    std.debug.assert(@sizeOf(CloneRange) == 32);
}

/// Bytes, or a negative errno. ioctl_ficlonerange(2): EOPNOTSUPP or ENOTTY where the file system has
/// no reflinks, EINVAL for ranges that are not whole blocks, EXDEV between file systems.
pub fn copyRange(method: CopyMethod, copy: RangeCopy) isize {
    switch (method) {
        .reflink => {
            const range: CloneRange = .{
                .source_fd = copy.source_fd,
                .source_offset = copy.source_offset,
                .length = copy.length,
                .offset = copy.offset,
            };
            const result = signed(linux.ioctl(copy.fd, FICLONERANGE, @intFromPtr(&range)));
            return if (result < 0) result else @intCast(copy.length);
        },
        .copy_file_range => {
            var from: i64 = @intCast(copy.source_offset);
            var to: i64 = @intCast(copy.offset);
            return signed(linux.copy_file_range(copy.source_fd, &from, copy.fd, &to, copy.length, 0));
        },
    }
}
