//! Names every file of the library, for the programs in fuzz/ and test/, which are separate
//! modules. `zig build test` runs the tests in them from here.

pub const abi = @import("abi.zig");
pub const api = @import("api.zig");
pub const drive = @import("device/drive.zig");
pub const faults = @import("device/faults.zig");
pub const overlay = @import("device/overlay.zig");
pub const sector_map = @import("device/sector_map.zig");
pub const simulated_device = @import("device/simulated_device.zig");
pub const cancel = @import("engine/cancel.zig");
pub const completions = @import("engine/completions.zig");
pub const engine = @import("engine/engine.zig");
pub const histogram = @import("engine/histogram.zig");
pub const lane = @import("engine/lane.zig");
pub const limits = @import("engine/limits.zig");
pub const list = @import("engine/list.zig");
pub const memory = @import("engine/memory.zig");
pub const operation = @import("engine/operation.zig");
pub const plant = @import("engine/plant.zig");
pub const plant_names = @import("engine/plant_names.zig");
pub const queue = @import("engine/queue.zig");
pub const read_now = @import("engine/read_now.zig");
pub const reap = @import("engine/reap.zig");
pub const settle = @import("engine/settle.zig");
pub const slab = @import("engine/slab.zig");
pub const submission = @import("engine/submission.zig");
pub const submit = @import("engine/submit.zig");
pub const gen_abi = @import("gen_abi.zig");
pub const io_uring = @import("lanes/io_uring.zig");
pub const null_lane = @import("lanes/null_lane.zig");
pub const perform = @import("lanes/perform.zig");
pub const posix_aio = @import("lanes/posix_aio.zig");
pub const registered_buffers = @import("lanes/registered_buffers.zig");
pub const thread_pool = @import("lanes/thread_pool.zig");
pub const aio = @import("os/aio.zig");
pub const data_ranges = @import("os/data_ranges.zig");
pub const darwin = @import("os/darwin.zig");
pub const fault = @import("os/fault.zig");
pub const freebsd = @import("os/freebsd.zig");
pub const freebsd_aio = @import("os/freebsd_aio.zig");
pub const iovec = @import("os/iovec.zig");
pub const linux = @import("os/linux.zig");
pub const linux_aio = @import("os/linux_aio.zig");
pub const linux_disk = @import("os/linux_disk.zig");
pub const linux_uring = @import("os/linux_uring.zig");
pub const os = @import("os/os.zig");
pub const pthread = @import("os/pthread.zig");
pub const unix = @import("os/unix.zig");
pub const ring = @import("ring.zig");
pub const fake_pool = @import("fake/inline_pool.zig");
pub const fake_kernel = @import("fake/kernel.zig");
pub const fake_lane = @import("fake/lane.zig");
pub const fake_disk = @import("fake/disk.zig");
pub const fake_posix_aio = @import("fake/posix_aio.zig");
pub const fake_uring = @import("fake/uring.zig");

test {
    _ = drive;
    _ = faults;
    _ = sector_map;
    _ = histogram;
    if (@import("builtin").os.tag == .linux) _ = linux;
    _ = list;
    _ = memory;
    _ = operation;
    _ = posix_aio;
}
