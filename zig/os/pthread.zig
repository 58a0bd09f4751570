//! POSIX threads of the host process's libc (pthread.h). The sizes of its objects differ between
//! C libraries, so there is room for the largest, and only libc functions touch them:
//! pthread_mutex_t is 40 bytes on glibc and musl x86-64, 48 on glibc arm64, 64 on macOS, a
//! pointer on FreeBSD; pthread_cond_t is 48 at most; pthread_attr_t 64 at most.

const std = @import("std");
const assert = std.debug.assert;

const Storage = extern struct { bytes: [128]u8 align(16) = @splat(0) };

extern fn pthread_mutex_init(mutex: *Storage, attributes: ?*const anyopaque) c_int;
extern fn pthread_mutex_destroy(mutex: *Storage) c_int;
extern fn pthread_mutex_lock(mutex: *Storage) c_int;
extern fn pthread_mutex_unlock(mutex: *Storage) c_int;
extern fn pthread_cond_init(condition: *Storage, attributes: ?*const anyopaque) c_int;
extern fn pthread_cond_destroy(condition: *Storage) c_int;
extern fn pthread_cond_wait(condition: *Storage, mutex: *Storage) c_int;
extern fn pthread_cond_signal(condition: *Storage) c_int;
extern fn pthread_cond_broadcast(condition: *Storage) c_int;
extern fn pthread_attr_init(attributes: *Storage) c_int;
extern fn pthread_attr_destroy(attributes: *Storage) c_int;
extern fn pthread_attr_setdetachstate(attributes: *Storage, state: c_int) c_int;
extern fn pthread_attr_setstacksize(attributes: *Storage, size: usize) c_int;
extern fn pthread_create(
    thread: *usize,
    attributes: *const Storage,
    start: *const fn (?*anyopaque) callconv(.c) ?*anyopaque,
    argument: ?*anyopaque,
) c_int;
extern fn pthread_self() usize;
extern fn pthread_sigmask(how: c_int, set: *const Storage, previous: ?*Storage) c_int;
extern fn sigfillset(set: *Storage) c_int;

const builtin = @import("builtin");
const detached: c_int = switch (builtin.os.tag) {
    .macos => 2,
    else => 1,
};
/// SIG_SETMASK (sigprocmask(2)).
const set_mask: c_int = switch (builtin.os.tag) {
    .linux => 2,
    else => 3,
};
const stack_bytes = 256 * 1024;

pub const Mutex = struct {
    storage: Storage,

    pub fn init(mutex: *Mutex) void {
        mutex.storage = .{};
        assert(pthread_mutex_init(&mutex.storage, null) == 0);
    }

    pub fn deinit(mutex: *Mutex) void {
        assert(pthread_mutex_destroy(&mutex.storage) == 0);
    }

    pub fn lock(mutex: *Mutex) void {
        assert(pthread_mutex_lock(&mutex.storage) == 0);
    }

    pub fn unlock(mutex: *Mutex) void {
        assert(pthread_mutex_unlock(&mutex.storage) == 0);
    }
};

pub const Condition = struct {
    storage: Storage,

    pub fn init(condition: *Condition) void {
        condition.storage = .{};
        assert(pthread_cond_init(&condition.storage, null) == 0);
    }

    pub fn deinit(condition: *Condition) void {
        assert(pthread_cond_destroy(&condition.storage) == 0);
    }

    pub fn wait(condition: *Condition, mutex: *Mutex) void {
        assert(pthread_cond_wait(&condition.storage, &mutex.storage) == 0);
    }

    pub fn signal(condition: *Condition) void {
        assert(pthread_cond_signal(&condition.storage) == 0);
    }

    pub fn broadcast(condition: *Condition) void {
        assert(pthread_cond_broadcast(&condition.storage) == 0);
    }
};

/// Starts a detached thread with every signal blocked, so that the host's handlers keep running on
/// the host's threads. False when the system has no thread to give (EAGAIN, pthread_create(3)).
pub fn spawn(start: *const fn (?*anyopaque) callconv(.c) ?*anyopaque, argument: ?*anyopaque) bool {
    var all: Storage = .{};
    var before: Storage = .{};
    assert(sigfillset(&all) == 0);
    assert(pthread_sigmask(set_mask, &all, &before) == 0);
    defer assert(pthread_sigmask(set_mask, &before, null) == 0);
    // glibc puts the thread-local storage of the whole process on the stack, and says EINVAL where
    // it does not fit (allocate_stack, pthread_create.c): then the default size.
    return create(start, argument, stack_bytes) or create(start, argument, 0);
}

fn create(
    start: *const fn (?*anyopaque) callconv(.c) ?*anyopaque,
    argument: ?*anyopaque,
    stack: usize,
) bool {
    var attributes: Storage = .{};
    if (pthread_attr_init(&attributes) != 0) return false;
    defer _ = pthread_attr_destroy(&attributes);
    assert(pthread_attr_setdetachstate(&attributes, detached) == 0);
    // A refusal only means the default size.
    if (stack > 0) _ = pthread_attr_setstacksize(&attributes, stack);
    var thread: usize = 0;
    return pthread_create(&thread, &attributes, start, argument) == 0;
}

/// Identifies the calling thread for as long as it lives.
pub fn self() usize {
    return pthread_self();
}
