//! Compiled by `zig build check-targets` for macOS: compares our declarations with the C headers
//! that Zig bundles. They lack sys/disk.h, so the DKIOC* requests are checked only by their
//! encoding.

const std = @import("std");
const assert = std.debug.assert;
const h = @import("headers");
const system = @import("core").darwin;

comptime {
    for (.{
        "F_PREALLOCATE", "F_NOCACHE",     "F_FULLFSYNC",   "F_BARRIERFSYNC",
        "F_PUNCHHOLE",   "F_ALLOCATEALL", "F_PEOFPOSMODE", "SEEK_HOLE",
        "SEEK_DATA",
    }) |name| {
        if (@field(system, name) != @field(h, name)) @compileError(name ++ " differs from the header");
    }
    assert(@sizeOf(system.Store) == @sizeOf(h.struct_fstore));
    assert(@offsetOf(system.Store, "offset") == @offsetOf(h.struct_fstore, "fst_offset"));
    assert(@offsetOf(system.Store, "allocated") == @offsetOf(h.struct_fstore, "fst_bytesalloc"));
    assert(@sizeOf(system.Hole) == @sizeOf(h.struct_fpunchhole));
    assert(@offsetOf(system.Hole, "offset") == @offsetOf(h.struct_fpunchhole, "fp_offset"));
    request(system.DKIOCSYNCHRONIZE, write, 22, @sizeOf(system.Synchronize));
    request(system.DKIOCGETBLOCKSIZE, read, 24, 4);
    request(system.DKIOCGETBLOCKCOUNT, read, 25, 8);
    request(system.DKIOCISWRITABLE, read, 29, 4);
    request(system.DKIOCUNMAP, write, 31, @sizeOf(system.Unmap));
    request(system.DKIOCGETMAXBYTECOUNTREAD, read, 70, 8);
    request(system.DKIOCGETPHYSICALBLOCKSIZE, read, 77, 4);
    request(system.DKIOCISSOLIDSTATE, read, 79, 4);
}

const read: u32 = 0x40000000;
const write: u32 = 0x80000000;

/// sys/ioccom.h: direction, size, group 'd', number.
fn request(value: u32, direction: u32, number: u32, size: u32) void {
    assert(value == direction | size << 16 | 'd' << 8 | number);
}
