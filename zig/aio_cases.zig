//! What the POSIX AIO backend does, and what it relies on the kernel to do, as cases that run over
//! any system that has the interface of `backend/posix_aio.zig`: glibc and its faults in `zig build
//! test`, FreeBSD in `zig build freebsd-test`, the simulated kernel.
//!
//! A `Context` is that system and what the machine offers:
//!   Os, Pool                         types; Pool is `pool.Pool(Os)`, or one that runs jobs inline
//!   kernel_rules: bool               FreeBSD's semantics without accidents, not libc's
//!   faults: bool                     accidents are injected: counts of calls mean nothing
//!   pause(wake: Os.Wake, ms: u32)    lets time pass, at most until the wake descriptor is readable,
//!                                    and empties it
//!   openFile(name, size) !i32        a new file of `size` zero bytes, open for both
//!   openReadOnly(name) !i32          the same file again
//!   openAppending(name) !?i32        a new file, open with O_APPEND, or null
//!   openNull() !?i32                 /dev/null, or null
//!   openPipe() !?[2]i32              a pipe
//!   openSilent() !?[2]i32            [0]: a descriptor AIO takes and whose reads never end
//!   disk() !?i32                     a raw disk that may be overwritten, at least 4 MiB
//!   limit(which: Limit, value: ?u32) ?u32   sets one, or reads it; null: not to be had here
//!   count: u64, seed: u64            of the random case
//!   fail(text, expected, actual) error{Failed}, skip(text) error{Skipped}, equal(text, e, a) !void

const std = @import("std");
const abi = @import("abi.zig");
const aio = @import("os/aio.zig");
const os = @import("os.zig");
const rig_file = @import("aio_rig.zig");
const Iovec = @import("operation.zig").Iovec;
const KernelCases = @import("aio_kernel_cases.zig").KernelCases;
const E = os.E;
const negative = os.negative;

pub const Limit = enum {
    /// `vfs.aio.max_aio_queue_per_proc`.
    process,
    /// `vfs.aio.max_aio_queue`.
    system,
};

pub const Error = error{ Failed, Skipped, OutOfMemory };

pub fn Case(comptime Context: type) type {
    return struct { name: []const u8, run: *const fn (*Context) Error!void };
}

pub fn Cases(comptime Context: type) type {
    return struct {
        const Rig = rig_file.Rig(Context);
        const Os = Context.Os;
        const Block = Os.Aio.Block;

        /// What the backend relies on where FreeBSD's rules are to hold, then what it does with them.
        pub const list = (if (Context.kernel_rules) KernelCases(Context).list else [_]Case(Context){}) ++ [_]Case(Context){
            .{ .name = "read, write, read back", .run = single },
            .{ .name = "short and empty reads at the end of the file", .run = endOfFile },
            .{ .name = "vectors, with empty buffers among them", .run = vectors },
            .{ .name = "a vector longer than one piece", .run = longVector },
            .{ .name = "64 operations of one flush are one lio_listio", .run = oneList },
            .{ .name = "a ring that may be lost is looked for", .run = scan },
            .{ .name = "two files in one list", .run = twoFiles },
            .{ .name = "a bad descriptor in a list fails alone", .run = badDescriptor },
            .{ .name = "4 x the queue limit in flight", .run = manyInFlight },
            .{ .name = "process limit of 4: partial acceptance", .run = processLimit },
            .{ .name = "system limit of 4: partial acceptance", .run = systemLimit },
            .{ .name = "no room and nothing of ours running: retried on a timer", .run = noRoom },
            .{ .name = "cancel: exactly one completion", .run = cancel },
            .{ .name = "cancel of some: the others end", .run = cancelSome },
            .{ .name = "cancel of a read that never ends", .run = cancelSilent },
            .{ .name = "fsync covers the writes before it", .run = sync },
            .{ .name = "/dev/null by way of the pool, tried once", .run = null_device },
            .{ .name = "a refusal is forgotten when the file's record is reused", .run = recordReused },
            .{ .name = "a pipe fails with ESPIPE", .run = pipe },
            .{ .name = "a descriptor that appends says so", .run = appending },
            .{ .name = "raw disk: aligned, long, vectors", .run = disk },
            .{ .name = "raw disk: sync by way of the pool, transfers stay", .run = diskSync },
            .{ .name = "descriptor closed in flight", .run = closedDescriptor },
            .{ .name = "ring closed in flight", .run = closedRing },
            .{ .name = "ring closed with a read that never ends", .run = closedSilent },
            .{ .name = "wake-ups: one for each time we wait", .run = wakes },
            .{ .name = "N random operations against an oracle", .run = oracle },
        };

        fn closeBoth(pair: [2]i32) void {
            _ = Os.close(pair[0]);
            if (pair[1] >= 0) _ = Os.close(pair[1]);
        }

        fn at(buffer: []const u8) u64 {
            return @intFromPtr(buffer.ptr);
        }

        fn writeAll(rig: *Rig, fd: i32, text: []const u8) Error!void {
            const slot = try rig.one(.{ .kind = .write, .fd = fd, .address = at(text), .length = text.len });
            try rig.expect(slot, text.len);
        }

        fn sameBytes(context: *Context, expected: []const u8, actual: []const u8) Error!void {
            for (expected, actual, 0..) |e, a, index| {
                if (e != a) return context.fail("first wrong byte at", 0, @intCast(index));
            }
        }

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

        /// Behind the iovecs lie as many slab headers: none.
        fn setVector(iovecs: []Iovec, buffers: []const []const u8) void {
            for (iovecs, buffers) |*iovec, buffer| iovec.* = .{ .base = @intFromPtr(buffer.ptr), .len = buffer.len };
            const behind: [*]u64 = @ptrCast(iovecs.ptr + iovecs.len);
            @memset(behind[0..iovecs.len], 0);
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

        fn scan(context: *Context) Error!void {
            const scan_ms = Os.Aio.scan_ms;
            if (scan_ms == 0) return context.skip("no notification is ever lost here");
            if (Context.faults) return context.skip("exact only without accidents");
            var rig: Rig = undefined;
            try rig.init(context, 16, 512);
            const fd = try context.openFile("single", 1 << 16);
            defer _ = Os.close(fd);
            var buffer: [16][4096]u8 = undefined;
            // Most often they still run as the flush returns.
            var looks: u32 = 0;
            for (0..32) |_| {
                for (&buffer) |*part| _ = rig.add(.{ .kind = .read, .fd = fd, .address = at(part), .length = 4096 });
                rig.flush();
                const control = rig.engine.memory.control;
                const right: u32 = if (control.in_kernel > 0) scan_ms else 0;
                try context.equal("looks again after ms", right, control.retry_ms);
                looks += @intFromBool(right > 0);
                try rig.run();
            }
            if (looks == 0) return context.fail("flushes that left something running", 1, 0);
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

        fn manyInFlight(context: *Context) Error!void {
            const limit = context.limit(.process, null) orelse 256;
            const count = 4 * limit;
            if (count > abi.queue_depth_max) return context.skip("the limit is larger than any queue of ours");
            var rig: Rig = undefined;
            try rig.init(context, count, count);
            const fd = try context.openFile("many", 0);
            defer _ = Os.close(fd);
            try fill(&rig, fd, count);
            try rig.close();
        }

        /// Writes `count` blocks of 4 KiB at once, each with its number in it, and checks them.
        fn fill(rig: *Rig, fd: i32, count: u32) Error!void {
            const context = rig.context;
            const memory = os.mapMemory(@as(u64, count) * 4096) orelse return context.fail("no memory", 0, 0);
            defer os.unmapMemory(memory);
            const words: []u64 = @alignCast(std.mem.bytesAsSlice(u64, memory));
            inline for (.{ abi.Kind.write, abi.Kind.read }) |kind| {
                for (words, 0..) |*word, index| word.* = if (kind == .write) index *% 0x9e3779b97f4a7c15 else 0;
                var done: u32 = 0;
                while (done < count) {
                    const some = @min(count - done, rig.room());
                    for (done..done + some) |index| {
                        _ = rig.add(.{ .kind = kind, .fd = fd, .address = at(memory[index * 4096 ..]), .length = 4096, .offset = index * 4096 });
                    }
                    done += some;
                    try rig.run();
                }
                for (rig.results[0..@min(count, rig.results.len)], 0..) |_, slot| try rig.expect(@intCast(slot), 4096);
            }
            for (words, 0..) |word, index| {
                if (word != index *% 0x9e3779b97f4a7c15) return context.fail("wrong data in block", 0, @intCast(index / 512));
            }
        }

        fn processLimit(context: *Context) Error!void {
            try limited(context, .process);
        }

        fn systemLimit(context: *Context) Error!void {
            try limited(context, .system);
        }

        /// The limit falls after the lane has read it, so that lists are too long at first.
        fn limited(context: *Context, which: Limit) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 64, 256);
            const before = context.limit(which, 4) orelse {
                try rig.close();
                return context.skip("vfs.aio has no limits here that can be set");
            };
            defer _ = context.limit(which, before);
            const fd = try context.openFile("limited", 0);
            defer _ = Os.close(fd);
            try fill(&rig, fd, 256);
            if (rig.stats().resubmissions == 0) return context.fail("nothing was ever refused", 1, 0);
            try rig.close();
        }

        fn noRoom(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            // Room for nobody: as if another process held it all.
            const before = context.limit(.system, 0) orelse {
                try rig.close();
                return context.skip("vfs.aio has no limits here that can be set");
            };
            errdefer _ = context.limit(.system, before);
            const fd = try context.openFile("noroom", 8192);
            defer _ = Os.close(fd);
            var buffer: [3][64]u8 = undefined;
            for (&buffer) |*part| _ = rig.add(.{ .kind = .read, .fd = fd, .address = at(part), .length = 64 });
            rig.flush();
            for (0..10) |_| {
                const control = rig.engine.memory.control;
                if (control.retry_ms == 0) return context.fail("no retry is asked for", 1, 0);
                try context.equal("in the kernel", 0, control.in_kernel);
                rig.step();
            }
            try context.equal("settled", 0, rig.settled);
            _ = context.limit(.system, before);
            try rig.run();
            for (0..3) |slot| try rig.expect(@intCast(slot), 64);
            try rig.close();
        }

        /// Whatever the kernel makes of it, each settles once.
        fn cancel(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 64, 64);
            const fd = try context.openFile("cancel", 4 << 20);
            defer _ = Os.close(fd);
            const memory = os.mapMemory(4 << 20) orelse return context.fail("no memory", 0, 0);
            defer os.unmapMemory(memory);
            for (0..64) |index| {
                _ = rig.add(.{ .kind = .read, .fd = fd, .address = at(memory[index << 16 ..]), .length = 1 << 16, .offset = index << 16 });
            }
            rig.flush();
            for (0..64) |slot| _ = rig.engine.cancel(@intCast(slot), 1);
            try rig.run();
            try context.equal("settled", 64, rig.settled);
            for (rig.results) |result| {
                switch (@as(abi.Status, @enumFromInt(result.status))) {
                    .ok => try context.equal("bytes", 1 << 16, @intFromFloat(result.transferred)),
                    .canceled => {},
                    else => return context.fail("neither done nor cancelled", 0, result.status),
                }
            }
            try rig.close();
        }

        /// What stands behind a cancelled one in some queue must not be lost with it.
        fn cancelSome(context: *Context) Error!void {
            const fd = try context.openFile("cancel", 4 << 20);
            defer _ = Os.close(fd);
            const memory = os.mapMemory(4 << 20) orelse return context.fail("no memory", 0, 0);
            defer os.unmapMemory(memory);
            for (0..20) |_| {
                var rig: Rig = undefined;
                try rig.init(context, 64, 64);
                for (0..64) |index| {
                    _ = rig.add(.{ .kind = .read, .fd = fd, .address = at(memory[index << 16 ..]), .length = 1 << 16, .offset = index << 16 });
                }
                rig.flush();
                for (0..32) |index| _ = rig.engine.cancel(@intCast(2 * index), 1);
                try rig.run();
                try context.equal("settled", 64, rig.settled);
                for (0..32) |index| try rig.expect(@intCast(2 * index + 1), 1 << 16);
                try rig.close();
            }
        }

        fn cancelSilent(context: *Context) Error!void {
            const pair = try context.openSilent() orelse return context.skip("no descriptor whose reads never end");
            defer closeBoth(pair);
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            var buffer: [64]u8 = undefined;
            const slot = rig.add(.{ .kind = .read, .fd = pair[0], .address = at(&buffer), .length = 64 });
            rig.flush();
            try context.equal("running", 1, rig.engine.memory.control.in_kernel);
            if (!rig.engine.cancel(slot, 1)) return context.fail("not found", 1, 0);
            try rig.run();
            try context.equal("status", @intFromEnum(abi.Status.canceled), rig.results[slot].status);
            try context.equal("settled", 1, rig.settled);
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

        fn null_device(context: *Context) Error!void {
            const fd = try context.openNull() orelse return context.skip("no /dev/null");
            defer _ = Os.close(fd);
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            var buffer: [64]u8 = undefined;
            for (0..3) |_| {
                const read = try rig.one(.{ .kind = .read, .fd = fd, .file = 2, .address = at(&buffer), .length = 64 });
                try rig.expect(read, 0);
                const write = try rig.one(.{ .kind = .write, .fd = fd, .file = 2, .address = at(&buffer), .length = 64 });
                try rig.expect(write, 64);
            }
            if (Context.kernel_rules) try context.equal("fallbacks", 1, @intCast(rig.stats().fallbacks));
            try rig.close();
        }

        fn recordReused(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            const fd = try context.openFile("reused", 64);
            defer _ = Os.close(fd);
            const file = &rig.engine.memory.files[2];
            file.transfers_refused = true;
            file.syncs_refused = true;
            var info: abi.FileInfo = undefined;
            const probe = try rig.one(.{ .kind = .probe, .fd = fd, .file = 2, .address = @intFromPtr(&info) });
            try rig.expect(probe, 0);
            var buffer: [64]u8 = undefined;
            const lists = rig.stats().submit_calls;
            const read = try rig.one(.{ .kind = .read, .fd = fd, .file = 2, .address = at(&buffer), .length = 64 });
            try rig.expect(read, 64);
            if (rig.stats().submit_calls == lists) return context.fail("the pool served it", 1, 0);
            const before_sync = rig.stats().submit_calls;
            try rig.expect(try rig.one(.{ .kind = .sync_all, .fd = fd, .file = 2 }), 0);
            if (rig.engine.kernel.limits.syncs and rig.stats().submit_calls == before_sync) {
                return context.fail("the pool served the sync", 1, 0);
            }
            try rig.close();
        }

        fn pipe(context: *Context) Error!void {
            const pair = try context.openPipe() orelse return context.skip("no pipe");
            defer closeBoth(pair);
            var info: abi.FileInfo = undefined;
            try context.equal("asked about", negative(.SPIPE), Os.fileInfo(pair[0], &info));
            // glibc's thread would call read instead and wait for ever (aio_misc.c).
            if (!Context.kernel_rules) return;
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            var buffer: [64]u8 = undefined;
            const slot = try rig.one(.{ .kind = .read, .fd = pair[0], .address = at(&buffer), .length = 64 });
            try rig.expectErrno(slot, .SPIPE);
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

        fn diskSync(context: *Context) Error!void {
            const fd = try context.disk() orelse return context.skip("no raw disk given");
            defer _ = Os.close(fd);
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
            var buffer: [4096]u8 align(4096) = @splat(0x5a);
            const ask: rig_file.Ask = .{ .kind = .write, .fd = fd, .file = 3, .alignment = 512, .address = at(&buffer), .length = 4096 };
            for (0..3) |_| {
                try rig.expect(try rig.one(ask), 4096);
                try rig.expect(try rig.one(.{ .kind = .sync_all, .fd = fd, .file = 3 }), 0);
            }
            if (Context.kernel_rules) {
                try context.equal("fallbacks", 1, @intCast(rig.stats().fallbacks));
                try context.equal("transfers refused", 0, @intFromBool(rig.engine.memory.files[3].transfers_refused));
            }
            try rig.close();
        }

        fn closedDescriptor(context: *Context) Error!void {
            if (Context.faults) return context.skip("exact only without accidents");
            if (!Context.kernel_rules) return context.skip("only a kernel's AIO keeps what runs on a closed descriptor");
            var rig: Rig = undefined;
            try rig.init(context, 64, 64);
            const fd = try context.openFile("closedfd", 64 * 4096);
            var buffer: [64][4096]u8 = undefined;
            for (&buffer, 0..) |*part, index| {
                _ = rig.add(.{ .kind = .read, .fd = fd, .address = at(part), .length = 4096, .offset = index * 4096 });
            }
            rig.flush();
            _ = Os.close(fd);
            try rig.run();
            // The kernel holds the file of what it has accepted.
            for (0..64) |slot| try rig.expect(@intCast(slot), 4096);
            try rig.close();
        }

        fn closedRing(context: *Context) Error!void {
            const fd = try context.openFile("closedring", 4 << 20);
            defer _ = Os.close(fd);
            const memory = os.mapMemory(4 << 20) orelse return context.fail("no memory", 0, 0);
            defer os.unmapMemory(memory);
            for (0..20) |_| {
                var rig: Rig = undefined;
                try rig.init(context, 64, 64);
                for (0..64) |index| {
                    const kind: abi.Kind = if (index % 2 == 0) .read else .write;
                    _ = rig.add(.{ .kind = kind, .fd = fd, .address = at(memory[index << 16 ..]), .length = 1 << 16, .offset = index << 16 });
                }
                rig.flush();
                try rig.close();
            }
        }

        fn closedSilent(context: *Context) Error!void {
            const pair = try context.openSilent() orelse return context.skip("no descriptor whose reads never end");
            defer closeBoth(pair);
            var rig: Rig = undefined;
            try rig.init(context, 16, 16);
            var buffer: [16][64]u8 = undefined;
            for (&buffer) |*part| _ = rig.add(.{ .kind = .read, .fd = pair[0], .address = at(part), .length = 64 });
            rig.flush();
            try rig.close();
        }

        /// The thread that rings comes back once for each time JavaScript has drained and waits.
        fn wakes(context: *Context) Error!void {
            if (Context.faults) return context.skip("exact only without accidents");
            var rig: Rig = undefined;
            try rig.init(context, 16, 256);
            const fd = try context.openFile("wakes", 8192);
            defer _ = Os.close(fd);
            var buffer: [8][64]u8 = undefined;
            const rounds = 100;
            for (0..rounds) |_| {
                for (&buffer) |*part| _ = rig.add(.{ .kind = .read, .fd = fd, .address = at(part), .length = 64 });
                try rig.run();
            }
            // One each time we have armed at most; libc's threads are not so strict.
            const armed = rig.stats().flushes + rig.stats().drains + 1;
            if (Context.kernel_rules and rig.stats().wakes > armed) {
                return context.fail("too many rings", @intCast(armed), @intCast(rig.stats().wakes));
            }
            if (@hasDecl(Os.Aio, "turns")) {
                const before = rig.engine.kernel.aio.turns();
                _ = rig.add(.{ .kind = .read, .fd = fd, .address = at(&buffer[0]), .length = 64 });
                rig.flush();
                // Not drained: one turn of the waiter, and maybe one while the flush was quiet.
                for (0..20) |_| context.pause(rig.wake, 10);
                const turns = rig.engine.kernel.aio.turns() - before;
                if (turns > 2) return context.fail("the waiter spins", 1, @intCast(turns));
                try rig.run();
            }
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
