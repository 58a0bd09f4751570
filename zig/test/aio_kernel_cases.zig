//! Assumptions of the POSIX AIO backend about FreeBSD's kernel, tested without the backend: the
//! first of `aio_cases.zig`.

const aio = @import("core").aio;
const os = @import("core").os;
const case = @import("aio_case.zig");
const E = os.E;
const negative = os.negative;
const Error = case.Error;

pub fn KernelCases(comptime Context: type) type {
    return struct {
        const Os = Context.Os;
        const Block = Os.Aio.Block;

        pub const list = [_]case.Case(Context){
            of("kernel: one event a block, with its token", event),
            of("kernel: a second aio_return is refused", returnTwice),
            of("kernel: aio_return while running is refused", returnRunning),
            of("kernel: aio_return before kevent discards the event", discard),
            of("kernel: a bad entry is EIO, its siblings run", badEntry),
            of("kernel: an entry refused early has no errno of its own, or EINVAL", early),
            of("kernel: aio_cancel of what has ended changes nothing", cancelLate),
            of("kernel: a list above the limit is EINVAL, nothing attempted", longList),
            of("kernel: an empty list is 0", emptyList),
            of("kernel: a full process is EAGAIN, a return frees a place", full),
            of("kernel: a partly accepted list is EAGAIN", partial),
            of("kernel: a bad entry hides EAGAIN behind EIO", mixed),
            of("kernel: /dev/null and pipes are EOPNOTSUPP", unsupported),
            of("kernel: a write to a read-only descriptor is EBADF", readOnly),
            of("kernel: fsync works on a read-only descriptor", fsync),
            of("kernel: a cancelled read ends with ECANCELED and an event", cancel),
            of("kernel: raw disk: sectors work, the rest is EOPNOTSUPP", disk),
            of("kernel: the waiter is silent until it is armed again", waiter),
        };

        /// A case over control blocks of its own.
        fn of(
            comptime name: []const u8,
            comptime body: fn (*Context, *Bare) Error!void,
        ) case.Case(Context) {
            return .{ .name = name, .run = struct {
                fn run(context: *Context) Error!void {
                    var bare: Bare = undefined;
                    try bare.init(context);
                    defer bare.deinit();
                    return body(context, &bare);
                }
            }.run };
        }

        /// Control blocks without a lane.
        const Bare = struct {
            context: *Context,
            aio: Os.Aio,
            wake: Os.Wake,
            pointers: [16]*Block,
            buffers: [16][4096]u8 align(4096),

            fn init(bare: *Bare, context: *Context) Error!void {
                bare.context = context;
                bare.wake = switch (Os.Wake.open()) {
                    .wake => |wake| wake,
                    .errno => |errno| return context.fail("wake descriptor", 0, errno),
                };
                if (bare.aio.open(bare.pointers.len, bare.wake)) |refusal| {
                    return context.fail("AIO does not start", 0, refusal.errno);
                }
                for (&bare.pointers, 0..) |*pointer, index| pointer.* = bare.aio.block(@intCast(index));
            }

            fn deinit(bare: *Bare) void {
                bare.aio.close();
                bare.wake.close();
            }

            fn prepare(bare: *Bare, index: u32, fd: i32, opcode: aio.Opcode) void {
                bare.prepareAt(index, fd, opcode, 0, 4096, 0);
            }

            fn prepareAt(bare: *Bare, index: u32, fd: i32, opcode: aio.Opcode, shift: u64, length: u64, offset: u64) void {
                bare.aio.prepare(bare.pointers[index], .{
                    .opcode = opcode,
                    .fd = fd,
                    .address = @intFromPtr(&bare.buffers[index]) + shift,
                    .length = length,
                    .offset = offset,
                    .token = tokenOf(index),
                });
            }

            fn tokenOf(index: u32) u64 {
                return @as(u64, 7) << 32 | index;
            }

            fn submit(bare: *Bare, from: u32, to: u32) isize {
                return bare.aio.submitList(bare.pointers[from..to]);
            }

            fn status(bare: *Bare, index: u32) i32 {
                return bare.aio.status(bare.pointers[index]);
            }

            fn finish(bare: *Bare, index: u32) isize {
                return bare.aio.finish(bare.pointers[index]);
            }

            /// Without taking events.
            fn awaitEnd(bare: *Bare, index: u32) Error!void {
                var waited_ms: u32 = 0;
                while (bare.status(index) == @intFromEnum(E.INPROGRESS)) : (waited_ms += 1) {
                    if (waited_ms == 5000) return bare.context.fail("an operation hangs", 0, index);
                    bare.context.pause(bare.wake, 1);
                }
            }

            fn takeOne(bare: *Bare) Error!?u64 {
                var waited_ms: u32 = 0;
                while (waited_ms < 50) : (waited_ms += 1) {
                    if (bare.takeNow()) |token| return token;
                    bare.context.pause(bare.wake, 1);
                }
                return null;
            }

            fn takeNow(bare: *Bare) ?u64 {
                var token: [1]u64 = undefined;
                return if (bare.aio.take(&bare.pointers, &token) == 1) token[0] else null;
            }
        };

        fn event(context: *Context, bare: *Bare) Error!void {
            const fd = try context.openFile("event", 8192);
            defer _ = Os.close(fd);
            bare.prepare(3, fd, .read);
            try context.equal("lio_listio", 0, bare.submit(3, 4));
            const token = try bare.takeOne() orelse return context.fail("no event", 1, 0);
            try context.equal("token", @intCast(Bare.tokenOf(3)), @intCast(token));
            if (bare.takeNow() != null) return context.fail("a second event before aio_return", 0, 1);
            try context.equal("aio_error", 0, bare.status(3));
            try context.equal("aio_return", 4096, bare.finish(3));
            if (bare.takeNow() != null) return context.fail("a second event", 0, 1);
        }

        fn returnTwice(context: *Context, bare: *Bare) Error!void {
            const fd = try context.openFile("twice", 8192);
            defer _ = Os.close(fd);
            bare.prepare(0, fd, .read);
            try context.equal("lio_listio", 0, bare.submit(0, 1));
            try bare.awaitEnd(0);
            try context.equal("aio_return", 4096, bare.finish(0));
            try context.equal("second aio_return", negative(.INVAL), bare.finish(0));
        }

        fn returnRunning(context: *Context, bare: *Bare) Error!void {
            const pair = try context.openSilent() orelse return context.skip("no descriptor whose reads never end");
            defer closeBoth(pair);
            bare.prepare(0, pair[0], .read);
            try context.equal("lio_listio", 0, bare.submit(0, 1));
            try context.equal("aio_error", @intFromEnum(E.INPROGRESS), bare.status(0));
            try context.equal("aio_return", negative(.INVAL), bare.finish(0));
            _ = bare.aio.cancel(pair[0], bare.pointers[0]);
            try bare.awaitEnd(0);
            try context.equal("aio_return at the end", negative(.CANCELED), bare.finish(0));
        }

        fn discard(context: *Context, bare: *Bare) Error!void {
            const fd = try context.openFile("discard", 8192);
            defer _ = Os.close(fd);
            bare.prepare(0, fd, .read);
            try context.equal("lio_listio", 0, bare.submit(0, 1));
            try bare.awaitEnd(0);
            try context.equal("aio_return", 4096, bare.finish(0));
            if (try bare.takeOne() != null) return context.fail("the event came", 0, 1);
        }

        fn badEntry(context: *Context, bare: *Bare) Error!void {
            const fd = try context.openFile("bad", 8192);
            defer _ = Os.close(fd);
            bare.prepare(0, fd, .read);
            bare.prepare(1, 9999, .read);
            bare.prepare(2, fd, .read);
            try context.equal("lio_listio", negative(.IO), bare.submit(0, 3));
            try context.equal("aio_error", @intFromEnum(E.BADF), bare.status(1));
            try context.equal("aio_return", negative(.INVAL), bare.finish(1));
            for ([_]u32{ 0, 2 }) |index| {
                try bare.awaitEnd(index);
                try context.equal("sibling", 4096, bare.finish(index));
            }
            if (try bare.takeOne() != null) return context.fail("an event for the bad one", 0, 1);
        }

        /// Before 14 aio_error of such an entry is 0; aio_return is EINVAL everywhere.
        fn early(context: *Context, bare: *Bare) Error!void {
            const fd = try context.openFile("early", 8192);
            defer _ = Os.close(fd);
            bare.prepare(0, fd, .read);
            bare.prepareAt(1, fd, .read, 0, 1 << 63, 0);
            bare.prepare(2, fd, .read);
            try context.equal("lio_listio", negative(.IO), bare.submit(0, 3));
            const errno = bare.status(1);
            if (errno != 0) try context.equal("aio_error", @intFromEnum(E.INVAL), errno);
            try context.equal("aio_return", negative(.INVAL), bare.finish(1));
            for ([_]u32{ 0, 2 }) |index| {
                try bare.awaitEnd(index);
                try context.equal("sibling", 4096, bare.finish(index));
            }
        }

        fn cancelLate(context: *Context, bare: *Bare) Error!void {
            const fd = try context.openFile("cancellate", 8192);
            defer _ = Os.close(fd);
            bare.prepare(0, fd, .read);
            try context.equal("lio_listio", 0, bare.submit(0, 1));
            try bare.awaitEnd(0);
            try context.equal("aio_cancel", @intFromEnum(aio.Cancel.runs_on), @intFromEnum(bare.aio.cancel(fd, bare.pointers[0])));
            if (try bare.takeOne() == null) return context.fail("its event is gone", 1, 0);
            try context.equal("aio_return", 4096, bare.finish(0));
        }

        fn longList(context: *Context, bare: *Bare) Error!void {
            const before = context.limit(.process, 4) orelse return context.skip("vfs.aio has no limits here that can be set");
            defer _ = context.limit(.process, before);
            const fd = try context.openFile("long", 8192);
            defer _ = Os.close(fd);
            for (0..5) |index| bare.prepare(@intCast(index), fd, .read);
            try context.equal("limit", 4, bare.aio.limits().list_max);
            try context.equal("lio_listio", negative(.INVAL), bare.submit(0, 5));
            for (0..5) |index| {
                try context.equal("aio_return", negative(.INVAL), bare.finish(@intCast(index)));
            }
            if (try bare.takeOne() != null) return context.fail("an event", 0, 1);
        }

        fn emptyList(context: *Context, bare: *Bare) Error!void {
            try context.equal("lio_listio", 0, bare.submit(0, 0));
            if (try bare.takeOne() != null) return context.fail("an event", 0, 1);
        }

        fn full(context: *Context, bare: *Bare) Error!void {
            const before = context.limit(.process, 4) orelse return context.skip("vfs.aio has no limits here that can be set");
            defer _ = context.limit(.process, before);
            const fd = try context.openFile("full", 8192);
            defer _ = Os.close(fd);
            for (0..6) |index| bare.prepare(@intCast(index), fd, .read);
            try context.equal("lio_listio of 4", 0, bare.submit(0, 4));
            for (0..4) |index| try bare.awaitEnd(@intCast(index));
            // Finished ones hold their places until they are returned.
            try context.equal("a fifth", negative(.AGAIN), bare.submit(4, 5));
            try context.equal("its aio_error", @intFromEnum(E.AGAIN), bare.status(4));
            try context.equal("its aio_return", negative(.INVAL), bare.finish(4));
            try context.equal("aio_fsync", negative(.AGAIN), bare.aio.submitSync(bare.pointers[5], false));
            try context.equal("aio_return", 4096, bare.finish(0));
            bare.prepare(4, fd, .read);
            try context.equal("a fifth again", 0, bare.submit(4, 5));
            for (1..5) |index| {
                try bare.awaitEnd(@intCast(index));
                try context.equal("aio_return", 4096, bare.finish(@intCast(index)));
            }
        }

        fn partial(context: *Context, bare: *Bare) Error!void {
            const before = context.limit(.process, 4) orelse return context.skip("vfs.aio has no limits here that can be set");
            defer _ = context.limit(.process, before);
            const fd = try context.openFile("partial", 8192);
            defer _ = Os.close(fd);
            for (0..6) |index| bare.prepare(@intCast(index), fd, .read);
            try context.equal("lio_listio of 2", 0, bare.submit(0, 2));
            try context.equal("lio_listio of 4", negative(.AGAIN), bare.submit(2, 6));
            for (4..6) |index| try context.equal("refused", @intFromEnum(E.AGAIN), bare.status(@intCast(index)));
            for (0..4) |index| {
                try bare.awaitEnd(@intCast(index));
                try context.equal("aio_return", 4096, bare.finish(@intCast(index)));
            }
        }

        fn mixed(context: *Context, bare: *Bare) Error!void {
            const before = context.limit(.process, 3) orelse return context.skip("vfs.aio has no limits here that can be set");
            defer _ = context.limit(.process, before);
            const fd = try context.openFile("mixed", 8192);
            defer _ = Os.close(fd);
            bare.prepare(0, fd, .read);
            bare.prepare(1, fd, .read);
            try context.equal("lio_listio of 2", 0, bare.submit(0, 2));
            bare.prepare(2, 9999, .read);
            bare.prepare(3, fd, .read);
            bare.prepare(4, fd, .read);
            try context.equal("lio_listio of 3", negative(.IO), bare.submit(2, 5));
            try context.equal("bad", @intFromEnum(E.BADF), bare.status(2));
            try context.equal("no room", @intFromEnum(E.AGAIN), bare.status(4));
            for ([_]u32{ 0, 1, 3 }) |index| {
                try bare.awaitEnd(index);
                try context.equal("aio_return", 4096, bare.finish(index));
            }
        }

        fn unsupported(context: *Context, bare: *Bare) Error!void {
            const null_fd = try context.openNull() orelse return context.skip("no /dev/null");
            defer _ = Os.close(null_fd);
            const pair = try context.openPipe() orelse return context.skip("no pipe");
            defer closeBoth(pair);
            for ([_]i32{ null_fd, pair[0] }, 0..) |fd, index| {
                bare.prepare(@intCast(index), fd, .read);
                try context.equal("lio_listio", negative(.IO), bare.submit(@intCast(index), @intCast(index + 1)));
                try context.equal("aio_error", @intFromEnum(E.OPNOTSUPP), bare.status(@intCast(index)));
            }
        }

        fn readOnly(context: *Context, bare: *Bare) Error!void {
            _ = Os.close(try context.openFile("readonly", 8192));
            const fd = try context.openReadOnly("readonly");
            defer _ = Os.close(fd);
            bare.prepare(0, fd, .write);
            try context.equal("lio_listio", negative(.IO), bare.submit(0, 1));
            try context.equal("aio_error", @intFromEnum(E.BADF), bare.status(0));
        }

        fn fsync(context: *Context, bare: *Bare) Error!void {
            _ = Os.close(try context.openFile("fsync", 8192));
            const fd = try context.openReadOnly("fsync");
            defer _ = Os.close(fd);
            const data_sync = bare.aio.limits().data_sync;
            for ([_]bool{ false, true }, 0..) |data_only, index| {
                bare.prepare(@intCast(index), fd, .read);
                const result = bare.aio.submitSync(bare.pointers[index], data_only);
                if (data_only and !data_sync) {
                    try context.equal("aio_fsync(O_DSYNC)", negative(.INVAL), result);
                    continue;
                }
                try context.equal("aio_fsync", 0, result);
                const token = try bare.takeOne() orelse return context.fail("no event", 1, 0);
                try context.equal("token", @intCast(Bare.tokenOf(@intCast(index))), @intCast(token));
                try context.equal("aio_return", 0, bare.finish(@intCast(index)));
            }
        }

        fn cancel(context: *Context, bare: *Bare) Error!void {
            const pair = try context.openSilent() orelse return context.skip("no descriptor whose reads never end");
            defer closeBoth(pair);
            bare.prepare(0, pair[0], .read);
            try context.equal("lio_listio", 0, bare.submit(0, 1));
            try context.equal("aio_cancel", @intFromEnum(aio.Cancel.canceled), @intFromEnum(bare.aio.cancel(pair[0], bare.pointers[0])));
            const token = try bare.takeOne() orelse return context.fail("no event", 1, 0);
            try context.equal("token", @intCast(Bare.tokenOf(0)), @intCast(token));
            try context.equal("aio_error", @intFromEnum(E.CANCELED), bare.status(0));
            try context.equal("aio_return", negative(.CANCELED), bare.finish(0));
        }

        fn disk(context: *Context, bare: *Bare) Error!void {
            const fd = try context.disk() orelse return context.skip("no raw disk given");
            defer _ = Os.close(fd);
            bare.prepareAt(0, fd, .read, 0, 4096, 0);
            bare.prepareAt(1, fd, .read, 100, 2048, 0);
            try context.equal("sectors, also to unaligned memory", 0, bare.submit(0, 2));
            try bare.awaitEnd(0);
            try bare.awaitEnd(1);
            try context.equal("aio_return", 4096, bare.finish(0));
            try context.equal("aio_return", 2048, bare.finish(1));
            bare.prepareAt(2, fd, .read, 0, 100, 0);
            try context.equal("100 bytes", negative(.IO), bare.submit(2, 3));
            try context.equal("aio_error", @intFromEnum(E.OPNOTSUPP), bare.status(2));
            const long = bare.aio.limits().disk_bytes_max + 4096;
            const memory = os.mapMemory(long) orelse return context.fail("no memory", 0, 0);
            defer os.unmapMemory(memory);
            bare.aio.prepare(bare.pointers[3], .{
                .opcode = .read,
                .fd = fd,
                .address = @intFromPtr(memory.ptr),
                .length = long,
                .offset = 0,
                .token = 3,
            });
            try context.equal("more than maxphys", negative(.IO), bare.submit(3, 4));
            try context.equal("aio_error", @intFromEnum(E.OPNOTSUPP), bare.status(3));
            bare.prepare(4, fd, .read);
            try context.equal("aio_fsync", negative(.OPNOTSUPP), bare.aio.submitSync(bare.pointers[4], false));
            bare.prepareAt(5, fd, .read, 0, 4096, 100);
            try context.equal("misaligned offset: accepted", 0, bare.submit(5, 6));
            try bare.awaitEnd(5);
            try context.equal("and ends", negative(.INVAL), bare.finish(5));
        }

        /// The first end rings once; others stay silent until the thread has drained and armed.
        fn waiter(context: *Context, bare: *Bare) Error!void {
            const fd = try context.openFile("waiter", 8192);
            defer _ = Os.close(fd);
            // What has ended keeps its place.
            const places = @min(8, context.limit(.process, null) orelse 8, context.limit(.system, null) orelse 8);
            for (0..places) |index| {
                bare.prepare(@intCast(index), fd, .read);
                try context.equal("lio_listio", 0, bare.submit(@intCast(index), @intCast(index + 1)));
                try bare.awaitEnd(@intCast(index));
                bare.context.pause(bare.wake, 20);
            }
            try context.equal("rings before draining", 1, @intCast(bare.aio.wakes()));
            // Armed again with events pending: it fires at once.
            if (bare.aio.arm(&bare.pointers)) {
                bare.context.pause(bare.wake, 200);
                try context.equal("rings after arming", 2, @intCast(bare.aio.wakes()));
            }
            for (0..places) |index| try context.equal("aio_return", 4096, bare.finish(@intCast(index)));
        }

        fn closeBoth(pair: [2]i32) void {
            _ = Os.close(pair[0]);
            if (pair[1] >= 0) _ = Os.close(pair[1]);
        }
    };
}
