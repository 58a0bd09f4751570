//! Cases of `aio_cases.zig` about transfers, syncs and disks, and a random one against an oracle.

const std = @import("std");
const abi = @import("core").abi;
const case = @import("aio_case.zig");
const os = @import("core").os;
const rig_file = @import("aio_rig.zig");
const Iovec = @import("core").iovec.Iovec;
const Error = case.Error;
const Limit = case.Limit;
const at = case.at;
const sameBytes = case.sameBytes;
const setVector = case.setVector;
const writeAll = case.writeAll;

pub fn TransferCases(comptime Context: type) type {
    return struct {
        const Rig = rig_file.Rig(Context);
        const Os = Context.Os;

        pub const list = [_]case.Case(Context){
            .{ .name = "read, write, read back", .run = single },
            .{ .name = "short and empty reads at the end of the file", .run = endOfFile },
            .{ .name = "vectors, with empty buffers among them", .run = vectors },
            .{ .name = "a vector longer than one piece", .run = longVector },
            .{ .name = "64 operations of one flush are one lio_listio", .run = oneList },
            .{ .name = "two files in one list", .run = twoFiles },
            .{ .name = "a bad descriptor in a list fails alone", .run = badDescriptor },
            .{ .name = "fsync covers the writes before it", .run = sync },
            .{ .name = "a descriptor that appends says so", .run = appending },
            .{ .name = "holes that begin or end within a page", .run = holes },
            .{ .name = "what cannot fit is not reserved", .run = tooLarge },
            .{ .name = "raw disk: aligned, long, vectors", .run = disk },
            .{ .name = "N random operations against an oracle", .run = oracle },
        };

        fn single(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            const fd = try context.openFile("single", 0);
            defer _ = Os.close(fd);
            try writeAll(&rig, fd, "abcdefgh");
            var buffer: [4]u8 = undefined;
            const slot = try rig.one(.{ .kind = .read, .fd = fd, .address = at(&buffer), .length = 4, .offset = 2 });
            try rig.expect(slot, 4);
            try sameBytes(context, "cdef", &buffer);
            try rig.close();
        }

        /// Some of these never return from the kernel of FreeBSD 15, in a tmpfs.
        fn holes(context: *Context) Error!void {
            const size = 20_000;
            const fd = try context.openFile("holes", 0);
            defer _ = Os.close(fd);
            var expected: [size]u8 = undefined;
            var buffer: [size]u8 = undefined;
            for ([_][2]u64{
                .{ 0, 100 },       .{ 4096, 100 },      .{ 16_384, 3616 }, .{ 0, 5000 },
                .{ 100, 4096 },    .{ 4096, 8192 },     .{ 19_999, 1 },    .{ 4000, 200 },
                .{ 8192, 11_808 }, .{ 4096, 4096 + 1 }, .{ 0, size },
            }) |range| {
                var rig: Rig = undefined;
                try rig.init(context, 16, 64);
                @memset(&expected, 'x');
                try writeAll(&rig, fd, &expected);
                @memset(expected[range[0]..][0..range[1]], 0);
                const hole = try rig.one(.{ .kind = .discard, .fd = fd, .offset = range[0], .length = range[1] });
                try rig.expect(hole, 0);
                const read = try rig.one(.{ .kind = .read, .fd = fd, .address = at(&buffer), .length = size });
                try rig.expect(read, size);
                try sameBytes(context, &expected, &buffer);
                try rig.close();
            }
        }

        /// On FreeBSD, reserving writes zeroes until the disk is full.
        fn tooLarge(context: *Context) Error!void {
            if (!Context.kernel_rules) return context.skip("fallocate reserves without writing here");
            const fd = try context.openFile("reserved", 1000);
            defer _ = Os.close(fd);
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            try rig.expectErrno(try rig.one(.{ .kind = .allocate, .fd = fd, .offset = 0, .length = 1 << 62 }), .NOSPC);
            try rig.expect(try rig.one(.{ .kind = .allocate, .fd = fd, .offset = 500, .length = 8192 }), 0);
            var info: abi.FileInfo = undefined;
            try context.equal("stat", 0, Os.fileInfo(fd, &info));
            try context.equal("length", 500 + 8192, @intFromFloat(info.size));
            try rig.close();
        }

        fn endOfFile(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            const fd = try context.openFile("end", 0);
            defer _ = Os.close(fd);
            try writeAll(&rig, fd, "0123456789");
            var buffer: [64]u8 = undefined;
            const short = rig.add(.{ .kind = .read, .fd = fd, .address = at(&buffer), .length = 64, .offset = 7 });
            const beyond = rig.add(.{ .kind = .read, .fd = fd, .address = at(buffer[32..]), .length = 8, .offset = 100 });
            const empty = rig.add(.{ .kind = .read, .fd = fd, .address = at(&buffer), .length = 0, .offset = 0 });
            try rig.run();
            try rig.expect(short, 3);
            try rig.expect(beyond, 0);
            try rig.expect(empty, 0);
            try sameBytes(context, "789", buffer[0..3]);
            try rig.close();
        }

        fn vectors(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            const fd = try context.openFile("vectors", 0);
            defer _ = Os.close(fd);
            const text = "abcdefghijklmnopqrstuvwxyz";
            var out: [4 + 4]Iovec = undefined;
            setVector(out[0..4], &.{ text[0..0], text[0..4], text[4..4], text[4..26] });
            const write = try rig.one(.{ .kind = .writev, .fd = fd, .address = @intFromPtr(&out), .iovecs = 4, .length = 26 });
            try rig.expect(write, 26);
            var buffer: [12]u8 = undefined;
            var in: [3 + 3]Iovec = undefined;
            setVector(in[0..3], &.{ buffer[0..4], buffer[4..4], buffer[4..12] });
            const read = try rig.one(.{ .kind = .readv, .fd = fd, .address = @intFromPtr(&in), .iovecs = 3, .length = 12, .offset = 2 });
            try rig.expect(read, 12);
            try sameBytes(context, "cdefghijklmn", &buffer);
            try rig.close();
        }

        fn longVector(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            const fd = try context.openFile("longvector", 0);
            defer _ = Os.close(fd);
            const piece = abi.piece_bytes_max;
            const memory = os.mapMemory(4 * piece) orelse return context.fail("no memory", 0, 0);
            defer os.unmapMemory(memory);
            for (memory[0 .. 2 * piece], 0..) |*byte, index| byte.* = @truncate(index *% 31 >> 3);
            var iovecs: [3 + 3]Iovec = undefined;
            setVector(iovecs[0..3], &.{ memory[0..1000], memory[1000 .. piece + 1001], memory[piece + 1001 .. 2 * piece] });
            const write = try rig.one(.{ .kind = .writev, .fd = fd, .address = @intFromPtr(&iovecs), .iovecs = 3, .length = 2 * piece });
            try rig.expect(write, 2 * piece);
            const copy = memory[2 * piece ..];
            setVector(iovecs[0..3], &.{ copy[0 .. piece + 7], copy[piece + 7 .. piece + 8], copy[piece + 8 ..] });
            const read = try rig.one(.{ .kind = .readv, .fd = fd, .address = @intFromPtr(&iovecs), .iovecs = 3, .length = 2 * piece });
            try rig.expect(read, 2 * piece);
            try sameBytes(context, memory[0 .. 2 * piece], copy);
            try rig.close();
        }

        fn oneList(context: *Context) Error!void {
            if (Context.faults) return context.skip("exact only without accidents");
            for ([_]Limit{ .process, .system }) |which| {
                const places = context.limit(which, null) orelse continue;
                if (places < 64) return context.skip("vfs.aio has less than 64 places");
            }
            var rig: Rig = undefined;
            try rig.init(context, 64, 64);
            const fd = try context.openFile("onelist", 64 * 512);
            defer _ = Os.close(fd);
            var buffer: [64][512]u8 = undefined;
            for (&buffer, 0..) |*part, index| {
                _ = rig.add(.{ .kind = .read, .fd = fd, .address = at(part), .length = 512, .offset = index * 512 });
            }
            rig.flush();
            try context.equal("lio_listio calls", 1, @intCast(rig.stats().submit_calls));
            try rig.run();
            try context.equal("lio_listio calls at the end", 1, @intCast(rig.stats().submit_calls));
            for (0..64) |slot| try rig.expect(@intCast(slot), 512);
            try rig.close();
        }

        fn twoFiles(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            const a = try context.openFile("twofiles-a", 0);
            defer _ = Os.close(a);
            const b = try context.openFile("twofiles-b", 0);
            defer _ = Os.close(b);
            try writeAll(&rig, a, "first file");
            var buffer: [10]u8 = undefined;
            const text = "second";
            const read = rig.add(.{ .kind = .read, .fd = a, .address = at(&buffer), .length = 10 });
            const write = rig.add(.{ .kind = .write, .fd = b, .address = at(text), .length = text.len });
            try rig.run();
            try rig.expect(read, 10);
            try rig.expect(write, text.len);
            try sameBytes(context, "first file", &buffer);
            try rig.close();
        }

        fn badDescriptor(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            const fd = try context.openFile("badfd", 8192);
            defer _ = Os.close(fd);
            var buffer: [5][64]u8 = undefined;
            var slots: [5]u32 = undefined;
            for (&buffer, &slots, 0..) |*part, *slot, index| {
                slot.* = rig.add(.{ .kind = .read, .fd = if (index % 2 == 1) 9999 else fd, .address = at(part), .length = 64 });
            }
            try rig.run();
            for (slots, 0..) |slot, index| {
                if (index % 2 == 1) try rig.expectErrno(slot, .BADF) else try rig.expect(slot, 64);
            }
            try rig.close();
        }

        fn sync(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            const fd = try context.openFile("sync", 0);
            defer _ = Os.close(fd);
            const text = "to the medium";
            for (0..8) |index| {
                _ = rig.add(.{ .kind = .write, .fd = fd, .file = 1, .address = at(text), .length = text.len, .offset = index * 100 });
            }
            const all = rig.add(.{ .kind = .sync_all, .fd = fd, .file = 1 });
            const data = rig.add(.{ .kind = .sync_data, .fd = fd, .file = 1 });
            try rig.run();
            try rig.expect(all, 0);
            try rig.expect(data, 0);
            try context.equal("syncs", 2, @intCast(rig.stats().syncs));
            try rig.close();
        }

        /// write, aio_write and pwrite ignore the offset there: whoever hands one over is told.
        fn appending(context: *Context) Error!void {
            const fd = try context.openAppending("appending") orelse return context.skip("no descriptors with O_APPEND");
            defer _ = Os.close(fd);
            var info: abi.FileInfo = undefined;
            try context.equal("asked about", 0, Os.fileInfo(fd, &info));
            try context.equal("appends", 1, info.append);
            const other = try context.openReadOnly("appending");
            defer _ = Os.close(other);
            try context.equal("asked about", 0, Os.fileInfo(other, &info));
            try context.equal("appends", 0, info.append);
        }

        fn disk(context: *Context) Error!void {
            const fd = try context.disk() orelse return context.skip("no raw disk given");
            defer _ = Os.close(fd);
            var info: abi.FileInfo = undefined;
            try context.equal("asked about", 0, Os.fileInfo(fd, &info));
            try context.equal("kind", @intFromEnum(abi.FileKind.disk), info.kind);
            const alignment = info.offset_alignment;
            const bytes = 3 << 20;
            const memory = os.mapMemory(2 * bytes + 4096) orelse return context.fail("no memory", 0, 0);
            defer os.unmapMemory(memory);
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            for (memory[0..bytes], 0..) |*byte, index| byte.* = @truncate(index *% 131 >> 7);
            const write = try rig.one(.{ .kind = .write, .fd = fd, .file = 3, .alignment = alignment, .address = at(memory), .length = bytes, .offset = alignment });
            try rig.expect(write, bytes);
            // Above maxphys, and from memory that starts within a page.
            const copy = memory[bytes + 100 ..][0..bytes];
            const read = try rig.one(.{ .kind = .read, .fd = fd, .file = 3, .alignment = alignment, .address = at(copy), .length = bytes, .offset = alignment });
            try rig.expect(read, bytes);
            try sameBytes(context, memory[0..bytes], copy);
            @memset(copy, 0);
            var iovecs: [3 + 3]Iovec = undefined;
            setVector(iovecs[0..3], &.{ copy[0..4096], copy[4096 .. 1 << 20], copy[1 << 20 ..] });
            const readv = try rig.one(.{ .kind = .readv, .fd = fd, .file = 3, .alignment = alignment, .address = @intFromPtr(&iovecs), .iovecs = 3, .length = bytes, .offset = alignment });
            try rig.expect(readv, bytes);
            try sameBytes(context, memory[0..bytes], copy);
            // All of it through AIO, in pieces that fit. (Accidents may send one to the pool.)
            if (!Context.faults) try context.equal("fallbacks", 0, @intCast(rig.stats().fallbacks));
            // What no request to this disk can be fails as it does with pread.
            const odd = try rig.one(.{ .kind = .read, .fd = fd, .file = 4, .address = at(copy), .length = 100 });
            try rig.expectErrno(odd, .INVAL);
            try rig.close();
        }

        // The oracle ---------------------------------------------------------------------------

        const extents = 48;
        const extent_bytes = 8192;

        /// What one extent's operation in flight is about.
        const Flight = struct {
            slot: ?u32 = null,
            kind: abi.Kind = .read,
            offset: u32 = 0,
            length: u32 = 0,
            iovecs: [4 + 4]Iovec = undefined,
        };

        const Oracle = struct {
            /// What the file holds.
            model: [extents * extent_bytes]u8,
            /// What operations in flight read into or write from, at the same place.
            memory: [extents * extent_bytes]u8,
            flights: [extents]Flight,
        };

        /// One operation an extent at a time, so that the file's content is always known.
        fn oracle(context: *Context) Error!void {
            const mapped = os.mapMemory(@sizeOf(Oracle)) orelse return context.fail("no memory", 0, 0);
            defer os.unmapMemory(mapped);
            const state: *Oracle = @ptrCast(@alignCast(mapped.ptr));
            state.flights = @splat(.{});
            var rig: Rig = undefined;
            try rig.init(context, 64, 4096);
            const fd = try context.openFile("oracle", state.model.len);
            defer _ = Os.close(fd);
            var prng: std.Random.DefaultPrng = .init(context.seed);
            var started: u64 = 0;
            var checked: u64 = 0;
            while (checked < context.count) {
                for (&state.flights, 0..) |*flight, extent| {
                    if (flight.slot != null or started == context.count) continue;
                    if (prng.random().int(u8) < 64) continue;
                    start(&rig, state, flight, extent, fd, prng.random());
                    started += 1;
                }
                if (rig.pending > 0) rig.flush() else rig.step();
                for (&state.flights, 0..) |*flight, extent| {
                    const slot = flight.slot orelse continue;
                    if (!rig.isSettled(slot)) continue;
                    try check(&rig, state, flight, extent, slot);
                    flight.slot = null;
                    checked += 1;
                }
            }
            try rig.close();
        }

        fn start(rig: *Rig, state: *Oracle, flight: *Flight, extent: usize, fd: i32, random: std.Random) void {
            const kinds = [_]abi.Kind{ .read, .read, .write, .write, .readv, .writev, .sync_data };
            flight.kind = kinds[random.uintLessThan(usize, kinds.len)];
            flight.offset = random.uintLessThan(u32, extent_bytes);
            flight.length = random.uintAtMost(u32, extent_bytes - flight.offset);
            const place = extent * extent_bytes + flight.offset;
            const range = state.memory[place..][0..flight.length];
            var ask: rig_file.Ask = .{
                .kind = flight.kind,
                .fd = fd,
                .offset = place,
                .address = at(range),
                .length = range.len,
                .file = 5,
            };
            switch (flight.kind) {
                .read, .readv => @memset(range, 0xee),
                .write, .writev => random.bytes(range),
                else => {
                    ask.length = 0;
                    ask.offset = 0;
                },
            }
            if (flight.kind == .readv or flight.kind == .writev) {
                const a = random.uintAtMost(usize, range.len);
                const b = a + random.uintAtMost(usize, range.len - a);
                setVector(flight.iovecs[0..4], &.{ range[0..a], range[a..a], range[a..b], range[b..] });
                ask.address = @intFromPtr(&flight.iovecs);
                ask.iovecs = 4;
            }
            flight.slot = rig.add(ask);
        }

        fn check(rig: *Rig, state: *Oracle, flight: *const Flight, extent: usize, slot: u32) Error!void {
            const place = extent * extent_bytes + flight.offset;
            const range = state.memory[place..][0..flight.length];
            const truth = state.model[place..][0..flight.length];
            switch (flight.kind) {
                .read, .readv => {
                    try rig.expect(slot, range.len);
                    try sameBytes(rig.context, truth, range);
                },
                .write, .writev => {
                    try rig.expect(slot, range.len);
                    @memcpy(truth, range);
                },
                else => try rig.expect(slot, 0),
            }
        }
    };
}
