//! The real system with accidents, for tests (`zig build -Dfaults=true`): transfers that are truly
//! short, because the length is cut before the real call; EAGAIN, EBUSY and EINTR at submission;
//! completions in another order. What the caller sees is always something a kernel may do.
//!
//! The seed and the rates are the process's, set by the ring opened last.

const std = @import("std");
const abi = @import("../abi.zig");
const E = std.posix.E;
const Iovec = @import("../operation.zig").Iovec;

pub fn FaultOs(comptime Real: type) type {
    return struct {
        pub const Wake = Real.Wake;
        pub const open = Real.open;
        pub const close = Real.close;
        pub const fileInfo = Real.fileInfo;
        pub const truncate = Real.truncate;
        pub const allocate = Real.allocate;
        pub const invalidateCache = Real.invalidateCache;
        pub const geometry = Real.geometry;
        pub const discard = Real.discard;
        pub const writeZeroes = Real.writeZeroes;
        pub const rereadPartitions = Real.rereadPartitions;
        pub const sleepMs = Real.sleepMs;

        pub fn attachImage(fd: i32, sector_size: u32, info: *abi.ImageInfo) isize {
            if (!@hasDecl(Real, "attachImage")) return -@as(isize, @intFromEnum(E.OPNOTSUPP));
            return Real.attachImage(fd, sector_size, info);
        }

        pub const Uring = Real.Uring;
        pub const uringSetup = Real.uringSetup;
        pub const uringRegisterEventfd = Real.uringRegisterEventfd;
        pub const uringSupports = Real.uringSupports;
        pub const uringCancelAll = Real.uringCancelAll;
        pub const uringClose = Real.uringClose;

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

        /// A shorter length, where the descriptor allows one.
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
            return -@as(isize, @intFromEnum(errno));
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

        pub fn uringEnter(ring: *Uring, to_submit: u32, min_complete: u32, flags: u32) isize {
            if (to_submit > 0 and happens(rates.fault_refuse)) {
                const errnos = [_]E{ .AGAIN, .BUSY, .INTR };
                return -@as(isize, @intFromEnum(errnos[random() % errnos.len]));
            }
            var count = to_submit;
            if (count > 1 and happens(rates.fault_refuse)) count = @intCast(1 + random() % count);
            const head = @atomicLoad(u32, ring.sq.head, .acquire);
            for (0..count) |index| {
                const position = ring.sq.array[(head +% @as(u32, @intCast(index))) & ring.sq.mask];
                shorten(&ring.sq.sqes[position]);
            }
            const result = Real.uringEnter(ring, count, min_complete, flags);
            if (happens(rates.fault_reorder)) shuffle(ring);
            return result;
        }

        fn shorten(sqe: anytype) void {
            switch (sqe.opcode) {
                .READ, .WRITE => sqe.len = @intCast(cut(sqe.fd, sqe.len)),
                .READV, .WRITEV => {
                    if (sqe.len > 1 and happens(rates.fault_short)) {
                        sqe.len = @intCast(1 + random() % (sqe.len - 1));
                    }
                },
                else => {},
            }
        }

        /// Entries between head and tail are ours until the head moves past them.
        fn shuffle(ring: *Uring) void {
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
}
