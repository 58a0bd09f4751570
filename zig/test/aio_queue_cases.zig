//! Cases of `aio_cases.zig` about queueing: room, refusals, cancellation, closing and wake-ups.

const std = @import("std");
const abi = @import("core").abi;
const case = @import("aio_case.zig");
const os = @import("core").os;
const rig_file = @import("aio_rig.zig");
const negative = os.negative;
const Error = case.Error;
const Limit = case.Limit;
const at = case.at;

pub fn QueueCases(comptime Context: type) type {
    return struct {
        const Rig = rig_file.Rig(Context);
        const Os = Context.Os;

        pub const list = [_]case.Case(Context){
            .{ .name = "a ring that may be lost is looked for", .run = scan },
            .{ .name = "4 x the queue limit in flight", .run = manyInFlight },
            .{ .name = "a small read takes its turn among huge ones", .run = fairness },
            .{ .name = "process limit of 4: partial acceptance", .run = processLimit },
            .{ .name = "system limit of 4: partial acceptance", .run = systemLimit },
            .{ .name = "system limit of 8: asked again when something has ended", .run = fewPlaces },
            .{ .name = "no room for anybody: threads, and the kernel again later", .run = noRoom },
            .{ .name = "cancel: exactly one completion", .run = cancel },
            .{ .name = "cancel of some: the others end", .run = cancelSome },
            .{ .name = "cancel of a read that never ends", .run = cancelSilent },
            .{ .name = "/dev/null by way of the pool, tried once", .run = null_device },
            .{ .name = "a refusal is forgotten when the file's record is reused", .run = recordReused },
            .{ .name = "a pipe fails with ESPIPE", .run = pipe },
            .{ .name = "raw disk: sync by way of the pool, transfers stay", .run = diskSync },
            .{ .name = "descriptor closed in flight", .run = closedDescriptor },
            .{ .name = "ring closed in flight", .run = closedRing },
            .{ .name = "ring closed with a read that never ends", .run = closedSilent },
            .{ .name = "wake-ups: one for each time we wait", .run = wakes },
        };

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

        /// Counted in bytes that the huge reads move meanwhile: time is the kernel's.
        fn fairness(context: *Context) Error!void {
            if (Context.faults) return context.skip("exact only without accidents");
            const huge_count = 32;
            const huge_bytes = 2 * abi.window_bytes_default;
            const memory = os.mapMemory(huge_bytes) orelse return context.fail("no memory", 0, 0);
            defer os.unmapMemory(memory);
            var rig: Rig = undefined;
            try rig.init(context, 64, 512);
            const fd = try context.openFile("huge", huge_bytes);
            defer _ = Os.close(fd);
            const ask: rig_file.Ask = .{ .kind = .read, .fd = fd, .address = at(memory), .length = huge_bytes };
            for (0..huge_count) |_| _ = rig.add(ask);
            rig.flush();
            var buffer: [4096]u8 = undefined;
            for (0..8) |_| {
                const before = moved(&rig);
                const small = rig.add(.{ .kind = .read, .fd = fd, .address = at(&buffer), .length = buffer.len });
                rig.flush();
                while (!rig.isSettled(small)) rig.step();
                try rig.expect(small, buffer.len);
                // A piece of each that stood before it, and what is in the kernel at once.
                const most = huge_count * abi.piece_bytes_max + abi.window_bytes_default;
                const bytes = moved(&rig) - before;
                if (bytes > most) return context.fail("bytes moved before a small read", most, @intCast(bytes));
            }
            try rig.run();
            try rig.close();
        }

        /// Bytes of all reads, those that have not ended included.
        fn moved(rig: *const Rig) u64 {
            var bytes = rig.engine.memory.control.stats.bytes_read;
            for (rig.engine.memory.operations) |*operation| {
                if (operation.phase != .free) bytes += operation.transferred;
            }
            return bytes;
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

        /// Asks when something has ended, not at every call: that was some nine times for each operation.
        fn fewPlaces(context: *Context) Error!void {
            const places = 8;
            const count = 6400;
            var rig: Rig = undefined;
            try rig.init(context, 64, count);
            const before = context.limit(.system, places) orelse {
                try rig.close();
                return context.skip("vfs.aio has no limits here that can be set");
            };
            defer _ = context.limit(.system, before);
            const fd = try context.openFile("places", 8192);
            defer _ = Os.close(fd);
            var buffer: [128][64]u8 = undefined;
            var added: u32 = 0;
            while (rig.settled < count) {
                while (added < count and rig.room() > 0 and added - rig.settled < buffer.len) : (added += 1) {
                    _ = rig.add(.{ .kind = .read, .fd = fd, .address = at(&buffer[added % buffer.len]), .length = 64 });
                }
                if (rig.pending > 0) rig.flush() else rig.step();
            }
            const refused = rig.stats().resubmissions;
            if (refused == 0) return context.fail("nothing was ever refused", 1, 0);
            // The first list, and one question each 20 ms.
            if (!Context.faults and refused > count / 10) return context.fail("resubmissions", count / 10, @intCast(refused));
            if (rig.stats().fallbacks > 0 and !Context.faults) return context.fail("the pool served some", 0, @intCast(rig.stats().fallbacks));
            try rig.close();
        }

        /// As if other processes held all places, for good.
        fn noRoom(context: *Context) Error!void {
            var rig: Rig = undefined;
            try rig.init(context, 16, 64);
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
            var questions: u32 = 0;
            while (rig.engine.memory.control.in_kernel == 0 and rig.settled == 0) : (questions += 1) {
                if (questions == 16) return context.fail("still no threads", 16, questions);
                if (rig.engine.memory.control.retry_ms == 0) return context.fail("no retry is asked for", 1, 0);
                rig.step();
            }
            try rig.run();
            for (0..3) |slot| try rig.expect(@intCast(slot), 64);
            if (!Context.faults) try context.equal("served by threads", 3, @intCast(rig.stats().fallbacks));
            // Nobody waits again.
            const again = try rig.one(.{ .kind = .read, .fd = fd, .address = at(&buffer[0]), .length = 64 });
            try rig.expect(again, 64);
            _ = context.limit(.system, before);
            const fallbacks = rig.stats().fallbacks;
            // It is asked again a while later.
            var tries: u32 = 0;
            while (rig.stats().fallbacks > fallbacks + tries or tries == 0) : (tries += 1) {
                if (tries == 200) return context.fail("the kernel is not asked again", 0, tries);
                for (0..2) |_| context.pause(rig.wake, 10);
                try rig.expect(try rig.one(.{ .kind = .read, .fd = fd, .address = at(&buffer[0]), .length = 64 }), 64);
            }
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
            defer case.closeBoth(Os, pair);
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
            defer case.closeBoth(Os, pair);
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
            defer case.closeBoth(Os, pair);
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
    };
}
