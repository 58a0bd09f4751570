//! Space of a file and of its file system, in bytes.

pub const Space = struct {
    /// Length of the file.
    size: u64,
    /// Reserved for the file, anywhere in it.
    reserved: u64,
    /// Free in its file system.
    free: u64,
};

pub const Answer = union(enum) { space: Space, refused: isize };
