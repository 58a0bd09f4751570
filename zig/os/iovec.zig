//! One buffer of a vector, as readv(2) and its relatives take them.

pub const Iovec = extern struct {
    base: u64,
    len: u64,
};
