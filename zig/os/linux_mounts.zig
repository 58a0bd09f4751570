//! Taking file systems off.

const std = @import("std");
const linux = std.os.linux;
const negative = @import("errno.zig").negative;
const signed = @import("errno.zig").signed;

/// linux/fs.h
const UMOUNT_NOFOLLOW = 8;

/// umount2(2) without MNT_DETACH and MNT_FORCE: EBUSY while anything uses it. ESTALE if mount `id`
/// is not what the path leads to, which statx(2) tells since Linux 5.8.
pub fn unmount(path: [*:0]const u8, id: u32) isize {
    var stat: linux.Statx = undefined;
    const how = linux.AT.SYMLINK_NOFOLLOW | linux.AT.NO_AUTOMOUNT;
    const found = signed(linux.statx(linux.AT.FDCWD, path, how, .{ .MNT_ID = true }, &stat));
    if (found < 0) return found;
    if (stat.mask.MNT_ID and stat.mnt_id != id) return negative(.STALE);
    return signed(linux.umount2(path, UMOUNT_NOFOLLOW));
}
