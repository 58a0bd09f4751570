//! One buffer of a vector, as in readv(2).

pub const Iovec = extern struct {
    base: u64,
    len: u64,
};
