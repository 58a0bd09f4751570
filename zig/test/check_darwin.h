/* The headers check_darwin.zig compares with. */
#include <sys/types.h>
#include <fcntl.h>
#include <unistd.h>
