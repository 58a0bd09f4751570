//! Test cases of the POSIX AIO backend, and of its assumptions about the kernel. They run over
//! any system with the interface that `lanes/posix_aio.zig` needs: glibc, also with injected
//! faults, in `zig build test`; FreeBSD in `zig build freebsd-test`; the fake kernel.
//! `aio_case.zig` describes a `Context`.

const Case = @import("aio_case.zig").Case;
const KernelCases = @import("aio_kernel_cases.zig").KernelCases;
const QueueCases = @import("aio_queue_cases.zig").QueueCases;
const TransferCases = @import("aio_transfer_cases.zig").TransferCases;

pub fn Cases(comptime Context: type) type {
    return struct {
        /// What the backend relies on where FreeBSD's rules are to hold, then what it does with them.
        pub const list = kernel ++ TransferCases(Context).list ++ QueueCases(Context).list;
        const kernel = if (Context.kernel_rules) KernelCases(Context).list else [_]Case(Context){};
    };
}
