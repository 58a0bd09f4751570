/* The headers check_freebsd.zig compares with. Macros that are not plain numbers become enums. */
#include <sys/types.h>
#include <sys/event.h>
#include <sys/ioccom.h>
#include <aio.h>
#include <fcntl.h>
#include <signal.h>
#define WITHOUT_NETDUMP
#include <sys/disk.h>
#include <sys/filio.h>
#include <sys/statvfs.h>

#define CHECK(name) static const unsigned long check_##name = (name)
CHECK(DIOCGSECTORSIZE);
CHECK(DIOCGMEDIASIZE);
CHECK(DIOCGFLUSH);
CHECK(DIOCGDELETE);
CHECK(DIOCGIDENT);
CHECK(DIOCGSTRIPESIZE);
CHECK(DIOCGSTRIPEOFFSET);
CHECK(DIOCGATTR);
CHECK(POSIX_FADV_DONTNEED);
CHECK(SPACECTL_DEALLOC);
CHECK(FIOSEEKDATA);
CHECK(FIOSEEKHOLE);
