//! The POSIX AIO lane: maps operations to control blocks (aiocb) and their events back to values.
//! One lio_listio(2) for each run. Who is resubmitted or continued is the engine's business; who is
//! woken, `wake.ts`'s.
//!
//! All that differs between systems is below `Os.Aio`. What this file needs of it (types from
//! `os/aio.zig`; a system call returns a count or a negative errno):
//!
//!   Os.Wake                                  as in os/linux.zig: open, readFd, ring, close
//!   Os.Aio                                   control blocks, and how one learns of their ends
//!     Block                                  one control block; never moved, never copied
//!     scan_ms: u32                           0: no notification is ever lost. Else: look after so
//!                                            many ms while operations run, a ring may be missing
//!     open(self: *Aio, count: u32, wake: Os.Wake) ?aio.Refusal
//!                                            in place; makes `count` blocks, the kqueue, the waiter
//!     close(self: *Aio) void                 only when no block runs; no ring comes afterwards
//!     limits(self: *Aio) aio.Limits
//!     block(self: *Aio, index: u32) *Block   its fixed place
//!     prepare(self: *Aio, block: *Block, request: aio.Request) void
//!                                            clears and fills a block that does not run
//!     submitList(self: *Aio, blocks: []const *Block) isize
//!                                            lio_listio(LIO_NOWAIT) without a list event: 0 or
//!                                            -errno (EIO, EAGAIN, EINVAL for a list too long ...)
//!     submitSync(self: *Aio, block: *Block, data_only: bool) isize
//!                                            aio_fsync: 0 or -errno
//!     status(self: *Aio, block: *const Block) i32
//!                                            aio_error: 0 done, EINPROGRESS, or the errno with
//!                                            which it ended or was refused
//!     finish(self: *Aio, block: *Block) isize
//!                                            aio_return: bytes or -errno; exactly once for each
//!                                            block that was queued. On one that never was: -EINVAL
//!     cancel(self: *Aio, fd: i32, block: *Block) aio.Cancel
//!     take(self: *Aio, running: []const *Block, out: []u64) usize
//!                                            tokens of blocks that have ended, each once, without
//!                                            blocking (kevent with a zero timeout; where there is
//!                                            no queue of events, a scan of `running` by status)
//!     arm(self: *Aio, running: []const *Block) bool
//!                                            let the next end ring the wake descriptor. False: one
//!                                            is there already and may never ring. (FreeBSD:
//!                                            always true, EV_ENABLE fires for what is pending)
//!     disarm(self: *Aio) void                a reap is about to happen anyhow; need not ring
