//! A copy of a range from one file to another inside the kernel, as the systems are asked for it.

pub const RangeCopy = struct {
    source_fd: i32,
    source_offset: u64,
    fd: i32,
    offset: u64,
    /// Bytes; both ranges end below 2^63.
    length: u64,
};
