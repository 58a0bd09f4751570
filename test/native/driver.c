/* Drives the native library through its C ABI (zig/api.zig, zig/abi.zig) as JavaScript does, without
 * JavaScript: for valgrind, for ThreadSanitizer, and for systems on which no Bun is at hand (musl, another
 * processor under qemu).
 *
 *   driver LIBRARY BACKEND FOLDER [ROUNDS]     with -DLINKED the library is part of the program, LIBRARY is "-"
 *   DRIVER_EMULATED=1                          under an emulator: memory is not weighed
 *
 * One line for each case, and `N passed, N failed, N skipped`. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifndef LINKED
#include <dlfcn.h>
#endif

/* What zig/abi.zig says; sizes and offsets that differ are compile errors. */
struct submission {
    uint32_t slot, generation, kind, flags, file;
    int32_t fd;
    uint64_t offset;
    double address, length, slab;
    uint32_t argument, mode;
};
struct completion {
    uint32_t slot, generation;
    int32_t status, error;
    double transferred, detail;
};
struct ring_options {
    uint32_t backend, queue_depth, window_bytes;
    uint32_t fault_seed, fault_short, fault_refuse, fault_reorder;
    int32_t device_base_fd;
    double device_bytes;
    uint32_t device_sector_size, device_memory_alignment, device_flags, device_seed;
};
struct ring_info {
    double ring, memory, memory_bytes, bounce_address;
    uint32_t submissions_offset, completions_offset, bounce_offset, operations_max;
    int32_t wake_fd;
    uint32_t backend, queue_depth, features, refused_backend;
    int32_t refused_errno;
    uint32_t refused_step, reserved;
    double release;
};
struct slab_info {
    double header, address, release;
};
struct iovec_row {
    uint64_t base, length;
};
_Static_assert(sizeof(struct submission) == 64, "Submission");
_Static_assert(offsetof(struct submission, address) == 32, "Submission.address");
_Static_assert(sizeof(struct completion) == 32, "Completion");
_Static_assert(sizeof(struct ring_options) == 56, "RingOptions");
_Static_assert(sizeof(struct ring_info) == 88, "RingInfo");

enum { IO_URING = 1, POSIX_AIO = 2, THREADS = 3 };
enum { READ, WRITE, READV, WRITEV, SYNC_ALL, SYNC_DATA, OPEN, CLOSE, STAT, TRUNCATE, ALLOCATE, INVALIDATE };
enum { OK = 0, FAILED = 1, CANCELED = 2 };
enum { OPEN_READ = 1, OPEN_WRITE = 2, OPEN_CREATE = 4, OPEN_TRUNCATE = 16 };
enum { DEPTH = 16, WINDOW = 8 << 20, BLOCK = 4096, BLOCKS = 64, ANSWER = 1 << 20 };
#define NO_FILE 0xffffffffu

#ifdef LINKED
int32_t ba_ring_open(const struct ring_options *, struct ring_info *);
int32_t ba_flush(void *, uint32_t, uint32_t);
int32_t ba_drain(void *, uint32_t);
int32_t ba_poll(void *, uint32_t);
int32_t ba_cancel(void *, uint32_t, uint32_t);
int32_t ba_ring_close(void *);
void ba_ring_release(void *, void *);
int32_t ba_slab_create(double, uint32_t, uint32_t, struct slab_info *);
int32_t ba_slab_register(void *, void *, uint32_t);
int32_t ba_slab_unregister(void *, void *);
void ba_slab_release(void *, void *);
#else
static int32_t (*ba_ring_open)(const struct ring_options *, struct ring_info *);
static int32_t (*ba_flush)(void *, uint32_t, uint32_t);
static int32_t (*ba_drain)(void *, uint32_t);
static int32_t (*ba_poll)(void *, uint32_t);
static int32_t (*ba_cancel)(void *, uint32_t, uint32_t);
static int32_t (*ba_ring_close)(void *);
static void (*ba_ring_release)(void *, void *);
static int32_t (*ba_slab_create)(double, uint32_t, uint32_t, struct slab_info *);
static int32_t (*ba_slab_register)(void *, void *, uint32_t);
static int32_t (*ba_slab_unregister)(void *, void *);
static void (*ba_slab_release)(void *, void *);
#endif

static int passed, failed;
static uint32_t backend;
static char path[4096];
static int rounds = 20;

static void check(int good, const char *what, int line) {
    if (good) return;
    failed++;
    printf("FAIL line %d: %s (errno %d)\n", line, what, errno);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

struct ring {
    void *handle;
    struct ring_info info;
    char *memory;
    struct submission *rows;
    const struct completion *done;
    uint32_t queued, next_slot;
    /* Completions that came, by slot. */
    struct completion results[4096];
    uint32_t settled;
};

static void *pointer(double address) { return (void *)(uintptr_t)address; }
static double number(const void *address) { return (double)(uintptr_t)address; }

static int ring_open(struct ring *r) {
    struct ring_options wanted = {.backend = backend, .queue_depth = DEPTH, .window_bytes = WINDOW};
    memset(r, 0, sizeof *r);
    if (ba_ring_open(&wanted, &r->info) != 0) return 0;
    r->handle = pointer(r->info.ring);
    r->memory = pointer(r->info.memory);
    r->rows = (struct submission *)(r->memory + r->info.submissions_offset);
    r->done = (const struct completion *)(r->memory + r->info.completions_offset);
    return 1;
}

static uint32_t queue(struct ring *r, uint32_t kind, int fd, uint32_t file, uint64_t offset, double address,
                      double length, double slab, uint32_t argument) {
    uint32_t slot = r->next_slot++;
    r->rows[r->queued++] = (struct submission){
        .slot = slot, .generation = 1, .kind = kind, .file = file, .fd = fd, .offset = offset,
        .address = address, .length = length, .slab = slab, .argument = argument, .mode = 0600,
    };
    return slot;
}

static void take(struct ring *r, int32_t count) {
    CHECK(count >= 0);
    for (int32_t i = 0; i < count; i++) {
        struct completion row = r->done[i];
        CHECK(row.generation == 1);
        CHECK(row.slot < r->next_slot);
        CHECK(r->results[row.slot].generation == 0);
        r->results[row.slot] = row;
        r->settled++;
    }
}

static void flush(struct ring *r) {
    uint32_t count = r->queued;
    r->queued = 0;
    take(r, ba_flush(r->handle, count, r->next_slot & 1));
}

/* Until all are settled; a lost completion is a failure, not a hang. */
static void settle(struct ring *r) {
    time_t until = time(NULL) + 60;
    if (r->queued > 0) flush(r);
    for (int look = 4; look >= 0; look--) take(r, ba_poll(r->handle, look > 0));
    while (r->settled < r->next_slot && time(NULL) < until) {
        struct timespec pause = {0, 200000};
        nanosleep(&pause, NULL);
        take(r, ba_drain(r->handle, 0));
    }
    CHECK(r->settled == r->next_slot);
}

static void ring_close(struct ring *r) {
    CHECK(ba_ring_close(r->handle) == 0);
    ba_ring_release(NULL, r->handle);
}

static int ring_open_file(struct ring *r, uint32_t file) {
    char *room = r->memory + r->info.bounce_offset;
    strcpy(room, path);
    uint32_t flags = OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE;
    uint32_t slot = queue(r, OPEN, -1, file, 0, number(room), 0, 0, flags);
    settle(r);
    CHECK(r->results[slot].status == OK);
    int32_t fd;
    memcpy(&fd, room, sizeof fd); /* FileInfo begins with it. */
    CHECK(fd >= 0);
    return fd;
}

static void ring_close_file(struct ring *r, int fd, uint32_t file) {
    uint32_t slot = queue(r, CLOSE, fd, file, 0, 0, 0, 0, 0);
    settle(r);
    CHECK(r->results[slot].status == OK);
}

static unsigned char pattern(uint64_t at) { return (unsigned char)(at * 2654435761u >> 13); }

static void transfers_syncs_and_vectors(void) {
    struct ring r;
    CHECK(ring_open(&r));
    struct slab_info slab;
    CHECK(ba_slab_create(BLOCK * BLOCKS, 4096, 1, &slab) == 0);
    unsigned char *memory = pointer(slab.address);
    for (int i = 0; i < BLOCK * BLOCKS; i++) CHECK(memory[i] == 0), memory[i] = pattern(i);
    /* 1 with io_uring of Linux 6.4; it lives on in the ring when JavaScript has let go of it. */
    int32_t registered = ba_slab_register(r.handle, pointer(slab.header), 4 * BLOCK);
    CHECK(registered == 0 || registered == 1);
    int fd = ring_open_file(&r, 0);
    uint32_t first = r.next_slot;
    for (int i = 0; i < BLOCKS; i++)
        queue(&r, WRITE, fd, 0, i * BLOCK, slab.address + i * BLOCK, BLOCK, slab.header, 0);
    uint32_t sync = queue(&r, SYNC_ALL, fd, 0, 0, 0, 0, 0, 0);
    uint32_t data = queue(&r, SYNC_DATA, fd, 0, 0, 0, 0, 0, 0);
    settle(&r);
    for (uint32_t i = first; i < sync; i++) CHECK(r.results[i].status == OK && r.results[i].transferred == BLOCK);
    CHECK(r.results[sync].status == OK && r.results[data].status == OK);
    memset(memory, 0, BLOCK * BLOCKS);
    /* One plain read, and the rest as a vector of every second block into its place. */
    char *room = r.memory + r.info.bounce_offset + ANSWER;
    struct iovec_row *iovecs = (struct iovec_row *)room;
    uint64_t *headers = (uint64_t *)(room + (BLOCKS - 1) * sizeof *iovecs);
    for (int i = 1; i < BLOCKS; i++) {
        iovecs[i - 1] = (struct iovec_row){(uint64_t)slab.address + i * BLOCK, BLOCK};
        headers[i - 1] = (uint64_t)slab.header;
    }
    uint32_t plain = queue(&r, READ, fd, 0, 0, slab.address, BLOCK, slab.header, 0);
    uint32_t vector = queue(&r, READV, fd, 0, BLOCK, number(room), BLOCK * (BLOCKS - 1), 0, BLOCKS - 1);
    settle(&r);
    CHECK(r.results[plain].transferred == BLOCK);
    CHECK(r.results[vector].transferred == BLOCK * (BLOCKS - 1));
    int wrong = 0;
    for (int i = 0; i < BLOCK * BLOCKS; i++) wrong += memory[i] != pattern(i);
    CHECK(wrong == 0);
    uint32_t end = queue(&r, READ, fd, 0, BLOCK * BLOCKS - 100, slab.address, BLOCK, slab.header, 0);
    uint32_t bad = queue(&r, READ, 9999, NO_FILE, 0, slab.address, BLOCK, slab.header, 0);
    uint32_t cut = queue(&r, TRUNCATE, fd, 0, 10, 0, 0, 0, 0);
    settle(&r);
    CHECK(r.results[end].transferred == 100 || r.results[end].transferred == 0); /* or it met the cut */
    CHECK(r.results[bad].status == FAILED && r.results[bad].error == EBADF);
    CHECK(r.results[cut].status == OK);
    ring_close_file(&r, fd, 0);
    ring_close(&r);
    ba_slab_release(NULL, pointer(slab.header));
}

static void cancels(void) {
    struct ring r;
    CHECK(ring_open(&r));
    struct slab_info slab;
    CHECK(ba_slab_create(BLOCK * BLOCKS, 4096, 1, &slab) == 0);
    int fd = ring_open_file(&r, 0);
    for (int turn = 0; turn < rounds; turn++) {
        uint32_t first = r.next_slot;
        if (turn % 3 == 0) CHECK(ba_slab_register(r.handle, pointer(slab.header), 16 * BLOCK) >= 0);
        for (int i = 0; i < BLOCKS; i++)
            queue(&r, i % 2 ? READ : WRITE, fd, 0, i * BLOCK, slab.address + i * BLOCK, BLOCK, slab.header, 0);
        flush(&r);
        for (uint32_t slot = first; slot < r.next_slot; slot += 3) {
            int32_t found = ba_cancel(r.handle, slot, 1);
            CHECK(found == 0 || found == 1);
            CHECK(ba_cancel(r.handle, slot, 2) == 0);
        }
        /* With operations on it in the kernel. */
        if (turn % 3 == 1) CHECK(ba_slab_unregister(r.handle, pointer(slab.header)) == 0);
        settle(&r);
        for (uint32_t slot = first; slot < r.next_slot; slot++)
            CHECK(r.results[slot].status == OK || r.results[slot].status == CANCELED);
    }
    ring_close_file(&r, fd, 0);
    ring_close(&r);
    ba_slab_release(NULL, pointer(slab.header));
}

/* What a thread that is terminated does: memory first, then the ring, with everything in flight. */
static void torn_down_in_flight(void) {
    for (int turn = 0; turn < rounds; turn++) {
        struct ring r;
        CHECK(ring_open(&r));
        struct slab_info slab;
        CHECK(ba_slab_create(BLOCK * BLOCKS, 4096, 1, &slab) == 0);
        int fd = ring_open_file(&r, 0);
        for (int i = 0; i < BLOCKS; i++)
            queue(&r, i % 2 ? READ : WRITE, fd, 0, i * BLOCK, slab.address + i * BLOCK, BLOCK, slab.header, 0);
        flush(&r);
        ba_slab_release(NULL, pointer(slab.header));
        ba_ring_release(NULL, r.handle); /* closes the file as well */
    }
}

static void rings_come_and_go(void) {
    struct ring rings[4];
    for (int turn = 0; turn < rounds; turn++) {
        for (int i = 0; i < 4; i++) CHECK(ring_open(&rings[i]));
        for (int i = 0; i < 4; i++) {
            int fd = ring_open_file(&rings[i], 3);
            ring_close_file(&rings[i], fd, 3);
        }
        for (int i = 0; i < 4; i++) ring_close(&rings[i]);
    }
}

static int descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    while (folder != NULL && readdir(folder) != NULL) count++;
    if (folder != NULL) closedir(folder);
    return count;
}

/* Kibibytes of anonymous memory that is mapped; thread stacks that libc caches included. */
static long mapped(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "VmData:", 7) == 0) kib = atol(line + 7);
    if (file != NULL) fclose(file);
    return kib;
}

/* Pool threads leave by themselves, a moment after their ring. */
static void wait_for_threads(void) {
    for (int i = 0; i < 500; i++) {
        struct stat folder;
        if (stat("/proc/self/task", &folder) != 0 || folder.st_nlink <= 3) return;
        struct timespec pause = {0, 10000000};
        nanosleep(&pause, NULL);
    }
}

static void run(const char *name, void (*test)(void)) {
    int before = failed;
    test();
    if (failed == before) passed++;
    printf("%s %s\n", failed == before ? "ok" : "FAIL", name);
    fflush(stdout);
}

/* Kibibytes that a turn of the work leaves behind. */
static long left_by_a_turn(void) {
    long kib = mapped();
    torn_down_in_flight();
    rings_come_and_go();
    wait_for_threads();
    return mapped() - kib;
}

static void nothing_is_left(void) {
    /* Once, so that libc and the system have what they keep. */
    left_by_a_turn();
    int before = descriptors();
    /* A leaked ring would be 8 MiB of bounce memory, a leaked slab 256 KiB each round, in every turn. What libc
     * caches for one thread more than ever ran at once before (a stack; ThreadSanitizer has its own state for
     * it) comes once. An emulator's own memory is in the figure as well. Valgrind weighs each byte. */
    long least = left_by_a_turn();
    for (int turn = 1; turn < 4 && least >= 4096; turn++) {
        long left = left_by_a_turn();
        if (left < least) least = left;
    }
    CHECK(descriptors() == before);
    if (getenv("DRIVER_EMULATED") == NULL) CHECK(least < 4096);
}

#ifndef LINKED
static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (found == NULL) fprintf(stderr, "no %s: %s\n", name, dlerror()), exit(2);
    return found;
}

static void load(const char *file) {
    void *library = dlopen(file, RTLD_NOW);
    if (library == NULL) fprintf(stderr, "%s\n", dlerror()), exit(2);
    ba_ring_open = symbol(library, "ba_ring_open");
    ba_flush = symbol(library, "ba_flush");
    ba_drain = symbol(library, "ba_drain");
    ba_poll = symbol(library, "ba_poll");
    ba_cancel = symbol(library, "ba_cancel");
    ba_ring_close = symbol(library, "ba_ring_close");
    ba_ring_release = symbol(library, "ba_ring_release");
    ba_slab_create = symbol(library, "ba_slab_create");
    ba_slab_register = symbol(library, "ba_slab_register");
    ba_slab_unregister = symbol(library, "ba_slab_unregister");
    ba_slab_release = symbol(library, "ba_slab_release");
}
#endif

int main(int argc, char **argv) {
    if (argc < 4) return fprintf(stderr, "usage: driver LIBRARY BACKEND FOLDER [ROUNDS]\n"), 2;
#ifndef LINKED
    load(argv[1]);
#endif
    backend = strcmp(argv[2], "io_uring") == 0 ? IO_URING : strcmp(argv[2], "posix_aio") == 0 ? POSIX_AIO : THREADS;
    snprintf(path, sizeof path, "%s/driver.data", argv[3]);
    if (argc > 4) rounds = atoi(argv[4]);
    struct ring probe;
    if (!ring_open(&probe)) {
        printf("skip: %s is refused here, errno %d at step %u\n0 passed, 0 failed, 1 skipped\n", argv[2],
               probe.info.refused_errno, probe.info.refused_step);
        return 0;
    }
    ring_close(&probe);
    run("transfers, syncs and vectors", transfers_syncs_and_vectors);
    run("cancels", cancels);
    run("torn down in flight", torn_down_in_flight);
    run("rings come and go", rings_come_and_go);
    run("nothing is left", nothing_is_left);
    unlink(path);
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
