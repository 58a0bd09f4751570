//! Compiled by `zig build check-targets` for FreeBSD: compares our declarations with the C
//! headers that Zig bundles.

const std = @import("std");
const assert = std.debug.assert;
const h = @import("headers");
const aio = @import("core").freebsd_aio;
const system = @import("core").freebsd;

comptime {
    assert(@sizeOf(aio.Aiocb) == 160);
    same(aio.Aiocb, h.struct_aiocb, .{
        .{ "fildes", "aio_fildes" },
        .{ "offset", "aio_offset" },
        .{ "buf", "aio_buf" },
        .{ "nbytes", "aio_nbytes" },
        .{ "lio_opcode", "aio_lio_opcode" },
        .{ "reqprio", "aio_reqprio" },
        .{ "status", "_aiocb_private" },
        .{ "sigevent", "aio_sigevent" },
    });
    assert(@sizeOf(aio.Sigevent) == 80);
    same(aio.Sigevent, h.struct_sigevent, .{
        .{ "notify", "sigev_notify" },
        .{ "kqueue", "sigev_signo" },
        .{ "value", "sigev_value" },
        .{ "kevent_flags", "_sigev_un" },
    });
    assert(@sizeOf(aio.Kevent) == 64);
    same(aio.Kevent, h.struct_kevent, .{
        .{ "ident", "ident" },
        .{ "filter", "filter" },
        .{ "flags", "flags" },
        .{ "fflags", "fflags" },
        .{ "data", "data" },
        .{ "udata", "udata" },
        .{ "ext", "ext" },
    });
    for (.{
        "LIO_WRITE",   "LIO_READ",     "LIO_WRITEV",  "LIO_READV", "LIO_NOWAIT",   "AIO_CANCELED",
        "EVFILT_READ", "EVFILT_AIO",   "EVFILT_USER", "EV_ADD",    "EV_ENABLE",    "EV_ONESHOT",
        "EV_DISPATCH", "NOTE_TRIGGER", "O_SYNC",      "O_DSYNC",   "SIGEV_KEVENT",
    }) |name| {
        if (@field(aio, name) != @field(h, name)) @compileError(name ++ " differs from the header");
    }
    same(system.Attribute, h.struct_diocgattr_arg, .{ .{ "name", "name" }, .{ "len", "len" }, .{ "value", "value" } });
    same(system.SpaceRange, h.struct_spacectl_range, .{ .{ "offset", "r_offset" }, .{ "len", "r_len" } });
    same(system.StatVfs, h.struct_statvfs, .{
        .{ "bfree", "f_bfree" },
        .{ "blocks", "f_blocks" },
        .{ "frsize", "f_frsize" },
    });
    for (.{
        "DIOCGSECTORSIZE", "DIOCGMEDIASIZE",    "DIOCGFLUSH", "DIOCGDELETE",         "DIOCGIDENT",
        "DIOCGSTRIPESIZE", "DIOCGSTRIPEOFFSET", "DIOCGATTR",  "POSIX_FADV_DONTNEED", "SPACECTL_DEALLOC",
        "FIOSEEKDATA",     "FIOSEEKHOLE",
    }) |name| {
        if (@field(system, name) != @field(h, "check_" ++ name)) @compileError(name ++ " differs from the header");
    }
}

/// Pairs of field names: ours and the header's.
fn same(comptime Ours: type, comptime Theirs: type, comptime pairs: anytype) void {
    assert(@sizeOf(Ours) == @sizeOf(Theirs));
    assert(@alignOf(Ours) == @alignOf(Theirs));
    for (pairs) |pair| {
        if (@offsetOf(Ours, pair[0]) != @offsetOf(Theirs, pair[1])) {
            @compileError(@typeName(Ours) ++ "." ++ pair[0] ++ " is elsewhere in the header");
        }
    }
}
