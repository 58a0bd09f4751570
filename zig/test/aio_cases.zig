//! What the POSIX AIO backend does, and what it relies on the kernel to do, as cases that run over
//! any system that has the interface `lanes/posix_aio.zig` needs: glibc and its faults in `zig build
//! test`, FreeBSD in `zig build freebsd-test`, the fake kernel. `aio_case.zig` says what a `Context` is.

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
