//! The real system with injected faults, for tests (`zig build -Dfaults=true`): transfers that
//! are really short, because the length is cut before the real call; EAGAIN, EBUSY and EINTR at
//! submission; reordered completions. The caller only sees what a kernel may do.
//!
//! Seed and rates are global to the process; the ring opened last sets them.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("../abi.zig");
const aio = @import("aio.zig");
const E = std.posix.E;
const Iovec = @import("iovec.zig").Iovec;
const negative = @import("errno.zig").negative;
const Refusal = @import("refusal.zig").Refusal;

pub fn FaultOs(comptime Real: type) type {
    return struct {
        /// Has what is not here.
        pub const Beneath = Real;
        pub const Wake = Real.Wake;
        pub const open = Real.open;
        pub const whyRefused = Real.whyRefused;
        pub const close = Real.close;
        pub const fileInfo = Real.fileInfo;
        pub const sleepMs = Real.sleepMs;

        var state: std.atomic.Value(u64) = .init(1);
        var rates: abi.RingOptions = std.mem.zeroes(abi.RingOptions);

        pub fn configure(options: abi.RingOptions) void {
            rates = options;
            state.store(@as(u64, options.fault_seed) | 1 << 32, .monotonic);
        }

        /// splitmix64: one atomic step, so that pool threads may call it too.
        fn random() u64 {
            var z = state.fetchAdd(0x9e3779b97f4a7c15, .monotonic) +% 0x9e3779b97f4a7c15;
            z = (z ^ (z >> 30)) *% 0xbf58476d1ce4e5b9;
            z = (z ^ (z >> 27)) *% 0x94d049bb133111eb;
            return z ^ (z >> 31);
        }

        fn happens(rate: u32) bool {
            return random() & 0xffff < rate;
        }

        /// A shorter length, if the descriptor allows one.
        fn cut(fd: i32, bytes: u64) u64 {
            if (bytes < 2 or !happens(rates.fault_short)) return bytes;
            const unit: u64 = if (Real.isDirect(fd)) 4096 else 1;
            const units = bytes / unit;
            if (units < 2) return bytes;
            return (1 + random() % (units - 1)) * unit;
        }

        fn refuses() ?isize {
            if (!happens(rates.fault_refuse)) return null;
            const errno: E = if (random() & 1 == 0) .INTR else .AGAIN;
            return negative(errno);
        }

        pub fn pread(fd: i32, address: u64, bytes: u64, offset: u64) isize {
            return refuses() orelse Real.pread(fd, address, cut(fd, bytes), offset);
        }

        pub fn pwrite(fd: i32, address: u64, bytes: u64, offset: u64) isize {
            return refuses() orelse Real.pwrite(fd, address, cut(fd, bytes), offset);
        }

        pub fn preadv(fd: i32, iovecs: []const Iovec, offset: u64) isize {
            if (!happens(rates.fault_short)) return refuses() orelse Real.preadv(fd, iovecs, offset);
            return pread(fd, iovecs[0].base, iovecs[0].len, offset);
        }

        pub fn readNow(fd: i32, iovecs: []const Iovec, offset: u64) isize {
            if (!@hasDecl(Real, "readNow")) return negative(.NOSYS);
            if (refuses()) |errno| return errno;
            if (!happens(rates.fault_short)) return Real.readNow(fd, iovecs, offset);
            const first = [1]Iovec{.{ .base = iovecs[0].base, .len = cut(fd, iovecs[0].len) }};
            return Real.readNow(fd, &first, offset);
        }

        pub fn isTmpfs(fd: i32) bool {
            return @hasDecl(Real, "isTmpfs") and Real.isTmpfs(fd);
        }

        pub fn isCached(fd: i32, offset: u64, bytes: u64) isize {
            if (!@hasDecl(Real, "isCached")) return negative(.NOSYS);
            return Real.isCached(fd, offset, bytes);
        }

        pub fn pwritev(fd: i32, iovecs: []const Iovec, offset: u64) isize {
            if (!happens(rates.fault_short)) return refuses() orelse Real.pwritev(fd, iovecs, offset);
            return pwrite(fd, iovecs[0].base, iovecs[0].len, offset);
        }

        pub fn syncAll(fd: i32) isize {
            return refuses() orelse Real.syncAll(fd);
        }

        pub fn syncData(fd: i32) isize {
            return refuses() orelse Real.syncData(fd);
        }

        pub const uring = struct {
            pub const Ring = Real.uring.Ring;
            pub const setup = Real.uring.setup;
            pub const registerEventfd = Real.uring.registerEventfd;
            pub const supports = Real.uring.supports;
            pub const cancelAll = Real.uring.cancelAll;
            pub const Workers = Real.uring.Workers;
            pub const close = Real.uring.close;
            pub const registerSelf = Real.uring.registerSelf;
            pub const unregisterSelf = Real.uring.unregisterSelf;
            pub const registerBuffers = Real.uring.registerBuffers;
            pub const updateBuffer = Real.uring.updateBuffer;
            pub const clearBuffers = Real.uring.clearBuffers;
            pub const registerFiles = Real.uring.registerFiles;

            /// The descriptors of registered files, by the ring's own and the slot.
            var tables: [rings_max][slots_max]i32 = @splat(@splat(-1));
            const rings_max = 256;
            const slots_max = 1024;

            pub fn updateFile(ring: *Ring, slot: u32, fd: i32, tag: u64) isize {
                tables[@intCast(@mod(ring.fd, rings_max))][slot] = fd;
                return Real.uring.updateFile(ring, slot, fd, tag);
            }

            fn fdOf(ring: *const Ring, sqe: anytype) i32 {
                if (sqe.flags & std.os.linux.IOSQE_FIXED_FILE == 0) return sqe.fd;
                return tables[@intCast(@mod(ring.fd, rings_max))][@intCast(sqe.fd)];
            }

            pub fn enter(ring: *Ring, registered: ?u31, to_submit: u32, flags: u32) isize {
                if (to_submit > 0 and happens(rates.fault_refuse)) {
                    const errnos = [_]E{ .AGAIN, .BUSY, .INTR };
                    return negative(errnos[random() % errnos.len]);
                }
                var count = to_submit;
                if (count > 1 and happens(rates.fault_refuse)) count = @intCast(1 + random() % count);
                const head = @atomicLoad(u32, ring.sq.head, .acquire);
                for (0..count) |index| {
                    const position = ring.sq.array[(head +% @as(u32, @intCast(index))) & ring.sq.mask];
                    shorten(ring, &ring.sq.sqes[position]);
                }
                const result = Real.uring.enter(ring, registered, count, flags);
                if (happens(rates.fault_reorder)) shuffle(ring);
                return result;
            }

            fn shorten(ring: *const Ring, sqe: anytype) void {
                switch (sqe.opcode) {
                    .READ, .WRITE, .READ_FIXED, .WRITE_FIXED => sqe.len = @intCast(cut(fdOf(ring, sqe), sqe.len)),
                    .READV, .WRITEV => {
                        if (sqe.len > 1 and happens(rates.fault_short)) {
                            sqe.len = @intCast(1 + random() % (sqe.len - 1));
                        }
                    },
                    else => {},
                }
            }

            /// Entries between head and tail are ours until the head passes them.
            fn shuffle(ring: *Ring) void {
                const head = ring.cq.head.*;
                const ready = @atomicLoad(u32, ring.cq.tail, .acquire) -% head;
                var index = ready;
                while (index > 1) : (index -= 1) {
                    const other: u32 = @intCast(random() % index);
                    const a = &ring.cq.cqes[(head +% (index - 1)) & ring.cq.mask];
                    const b = &ring.cq.cqes[(head +% other) & ring.cq.mask];
                    std.mem.swap(@TypeOf(a.*), a, b);
                }
            }
        };

        // POSIX AIO ----------------------------------------------------------------------------

        /// Entries refused here never reach the real system, whose own refusals are too rare to
        /// test with. All others do.
        pub const Aio = struct {
            pub const Block = Real.Aio.Block;
            pub const scan_ms = Real.Aio.scan_ms;

            real: Real.Aio,
            /// Blocks that status and finish answer for without the system.
            refused: [refused_max]Refused,
            refused_count: u32,

            const refused_max = abi.queue_depth_max + abi.operations_ready;
            const Refused = struct { block: *const Block, errno: E };

            pub fn open(self: *Aio, count: u32, wake: Wake) ?Refusal {
                assert(count <= refused_max);
                self.refused_count = 0;
                return self.real.open(count, wake);
            }

            pub fn close(self: *Aio) void {
                self.real.close();
            }

            pub fn limits(self: *Aio) aio.Limits {
                return self.real.limits();
            }

            pub fn wakes(self: *Aio) u64 {
                return self.real.wakes();
            }

            pub fn block(self: *Aio, index: u32) *Block {
                return self.real.block(index);
            }

            pub fn prepare(self: *Aio, made: *Block, request: aio.Request) void {
                if (self.findRefused(made)) |found| {
                    self.refused_count -= 1;
                    self.refused[found] = self.refused[self.refused_count];
                }
                var shorter = request;
                switch (request.opcode) {
                    .read, .write => shorter.length = cut(request.fd, request.length),
                    .readv, .writev => if (request.length > 1 and happens(rates.fault_short)) {
                        shorter.length = 1 + random() % (request.length - 1);
                    },
                }
                self.real.prepare(made, shorter);
            }

            fn findRefused(self: *const Aio, made: *const Block) ?u32 {
                for (self.refused[0..self.refused_count], 0..) |entry, index| {
                    if (entry.block == made) return @intCast(index);
                }
                return null;
            }

            /// Refuses a whole list, or some of its entries.
            pub fn submitList(self: *Aio, blocks: []const *Block) isize {
                if (!happens(rates.fault_refuse)) return self.real.submitList(blocks);
                const errno: E = if (random() & 3 == 0) .INTR else .AGAIN;
                const share: u32 = if (random() & 1 == 0) 0x10000 else 0x8000;
                var kept: [refused_max]*Block = undefined;
                var kept_count: usize = 0;
                for (blocks) |made| {
                    if (happens(share)) {
                        self.refused[self.refused_count] = .{ .block = made, .errno = errno };
                        self.refused_count += 1;
                    } else {
                        kept[kept_count] = made;
                        kept_count += 1;
                    }
                }
                const result = if (kept_count == 0) 0 else self.real.submitList(kept[0..kept_count]);
                if (result < 0 or kept_count == blocks.len) return result;
                return negative(errno);
            }

            pub fn submitSync(self: *Aio, made: *Block, data_only: bool) isize {
                return refuses() orelse self.real.submitSync(made, data_only);
            }

            pub fn status(self: *Aio, made: *const Block) i32 {
                const found = self.findRefused(made) orelse return self.real.status(made);
                return @intFromEnum(self.refused[found].errno);
            }

            pub fn finish(self: *Aio, made: *Block) isize {
                if (self.findRefused(made) == null) return self.real.finish(made);
                return negative(.INVAL);
            }

            pub fn cancel(self: *Aio, fd: i32, made: *Block) aio.Cancel {
                assert(self.findRefused(made) == null);
                return self.real.cancel(fd, made);
            }

            pub fn take(self: *Aio, running: []const *Block, out: []u64) usize {
                const count = self.real.take(running, out);
                if (!happens(rates.fault_reorder)) return count;
                var index = count;
                while (index > 1) : (index -= 1) {
                    std.mem.swap(u64, &out[index - 1], &out[random() % index]);
                }
                return count;
            }

            pub fn arm(self: *Aio, running: []const *Block) bool {
                return self.real.arm(running);
            }

            pub fn disarm(self: *Aio) void {
                self.real.disarm();
            }
        };
    };
}
