//! What the kernel announces of devices (lib/kobject_uevent.c).

const std = @import("std");
const linux = std.os.linux;
const signed = @import("errno.zig").signed;

/// The group of the kernel's own messages; udev sends its own to group 2.
const kernel_group = 1;
/// Room for what is announced while nobody reads, in bytes: some thousand messages.
const room_bytes: c_int = 4 << 20;

/// A socket that does not block, with one message of the kernel in each datagram (netlink(7),
/// NETLINK_KOBJECT_UEVENT). ENOBUFS from it: messages were lost. Or a negative errno.
pub fn watchDevices() isize {
    const kind = linux.SOCK.DGRAM | linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK;
    const opened = signed(linux.socket(linux.AF.NETLINK, kind, linux.NETLINK.KOBJECT_UEVENT));
    if (opened < 0) return opened;
    const fd: i32 = @intCast(opened);
    // Above net.core.rmem_max only with CAP_NET_ADMIN; with less room, messages are lost sooner.
    const room = std.mem.asBytes(&room_bytes);
    if (signed(linux.setsockopt(fd, linux.SOL.SOCKET, linux.SO.RCVBUFFORCE, room, room.len)) < 0)
        _ = linux.setsockopt(fd, linux.SOL.SOCKET, linux.SO.RCVBUF, room, room.len);
    const address: linux.sockaddr.nl = .{ .pid = 0, .groups = kernel_group };
    const bound = signed(linux.bind(fd, @ptrCast(&address), @sizeOf(linux.sockaddr.nl)));
    if (bound >= 0) return fd;
    _ = linux.close(fd);
    return bound;
}
