/* POSIX AIO on threads that ThreadSanitizer can watch, in the place of libc's, which it cannot: linked into
 * native-driver-tsan (build.zig). Does what zig/os/linux_aio.zig relies on, in the order of glibc: a block says how
 * it ended before its notification is read and called, so that by then it may be in use again. */

#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS_MAX = 4, SYNC = 100, DATA_SYNC };

/* The head of struct aiocb is that of the manual page; what comes behind it is libc's own, and ours here. */
struct outcome {
    int error;
    ssize_t result;
};
static struct outcome *outcome_of(const struct aiocb *block) {
    return (struct outcome *)((char *)block + 112);
}

struct request {
    struct aiocb *block;
    int opcode;
    struct request *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static struct request *head, **tail = &head;
static int threads, idle;

static ssize_t perform(const struct aiocb *block, int opcode) {
    void *memory = (void *)block->aio_buf;
    switch (opcode) {
    case LIO_READ: return pread(block->aio_fildes, memory, block->aio_nbytes, block->aio_offset);
    case LIO_WRITE: return pwrite(block->aio_fildes, memory, block->aio_nbytes, block->aio_offset);
    case SYNC: return fsync(block->aio_fildes);
    case DATA_SYNC: return fdatasync(block->aio_fildes);
    }
    errno = EINVAL;
    return -1;
}

static void *work(void *unused) {
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&mutex);
        idle++;
        while (head == NULL) pthread_cond_wait(&more, &mutex);
        idle--;
        struct request *request = head;
        head = request->next;
        if (head == NULL) tail = &head;
        pthread_mutex_unlock(&mutex);

        struct aiocb *block = request->block;
        struct outcome *outcome = outcome_of(block);
        ssize_t result = perform(block, request->opcode);
        free(request);
        outcome->result = result;
        __atomic_store_n(&outcome->error, result < 0 ? errno : 0, __ATOMIC_RELEASE);
        block->aio_sigevent.sigev_notify_function(block->aio_sigevent.sigev_value);
    }
    return NULL;
}

static int start(struct aiocb *block, int opcode) {
    struct request *request = malloc(sizeof *request);
    if (request == NULL) {
        errno = EAGAIN;
        return -1;
    }
    *request = (struct request){ block, opcode, NULL };
    __atomic_store_n(&outcome_of(block)->error, EINPROGRESS, __ATOMIC_RELAXED);
    pthread_mutex_lock(&mutex);
    *tail = request;
    tail = &request->next;
    if (idle == 0 && threads < THREADS_MAX) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) == 0) {
            pthread_detach(thread);
            threads++;
        }
    }
    pthread_cond_signal(&more);
    pthread_mutex_unlock(&mutex);
    return 0;
}

int lio_listio(int mode, struct aiocb *const blocks[restrict], int count, struct sigevent *restrict event) {
    if (mode != LIO_NOWAIT || event != NULL) abort();
    int refused = 0;
    for (int index = 0; index < count; index++) refused |= start(blocks[index], blocks[index]->aio_lio_opcode);
    return refused;
}

int aio_fsync(int flag, struct aiocb *block) {
    return start(block, flag == O_DSYNC ? DATA_SYNC : SYNC);
}

int aio_error(const struct aiocb *block) {
    return __atomic_load_n(&outcome_of(block)->error, __ATOMIC_ACQUIRE);
}

ssize_t aio_return(struct aiocb *block) {
    return outcome_of(block)->result;
}

int aio_cancel(int fd, struct aiocb *block) {
    (void)fd, (void)block;
    return AIO_NOTCANCELED;
}
