// The text of --help. Each page teaches by examples that can be pasted.

import { EXIT_TABLE } from "./exit.ts";

const SIZES = "SIZE is bytes, or 4k, 64KiB, 1M, 1.5G (powers of 1024), or 1MB (powers of 1000).";

const MAIN = `bun-aio: asynchronous I/O on files and disks, from the command line

Usage:
  bun-aio info [PATH]          which backend is used and why; the disks; or all about PATH
  bun-aio copy SRC DST         copy files, images and disks: a dd that looks before it writes
  bun-aio verify A B           compare two files or disks as they are on the medium
  bun-aio scan DEV             find the sectors of a disk that cannot be read
  bun-aio watch                print disks as they come and go
  bun-aio bench PATH           operations a second, bandwidth and latencies of a file or disk

  bun-aio COMMAND --help       the options of a command, with examples
  bun-aio --version

Try:
  bun-aio info
  bun-aio bench /tmp/scratch --seconds 2
  bun-aio copy disk.img /dev/sdX --verify

Messages go to stderr, results to stdout. NO_COLOR=1 turns colour off.
BUN_AIO_BACKEND=threads (or io_uring, posix_aio) chooses the backend.

${EXIT_TABLE}
`;

const INFO = `bun-aio info: what carries operations here, and what is known of disks and files

Usage:
  bun-aio info [PATH] [--json]

Without PATH: the backend, why it is that one, and a table of the disks.
With PATH: its kind, size, alignment and geometry, what it holds and who uses it.

Options:
      --json          everything as one JSON object
  -h, --help          this text

Examples:
  bun-aio info
  sudo bun-aio info /dev/nvme0n1
  bun-aio info --json | jq -r '.devices[] | select(.removable) | .path'

${EXIT_TABLE}
`;

const COPY = `bun-aio copy: copy files, images and disks: a dd that looks before it writes

Usage:
  bun-aio copy SRC DST [DST ...] [options]

SRC is a file, a disk, a pipe, a URL (http, https), or - for standard input. An archive (gzip, zstd,
xz, bzip2, or a zip with one image) is recognised by its content and unpacked. DST is a file (made if
missing) or a disk.
Before it writes over anything it shows what is there and asks. It refuses disks that are mounted
or in use, images that are attached as loop devices, swap files, names of disks that do not exist,
and targets that are too small. What it reports as done has been synced to the medium.

Several DST are written at once, SRC is read once. One that fails drops out alone.

A file that is written over ends where the copy ends, unless a part is named with --length, or
with different --skip and --seek. The rest of a larger disk stays as it is.

A file or disk as standard input ("-") is read from where it stands, and moved on by what was copied.
A download goes on by itself after a dropped connection.

Options:
      --sparse        leave blocks of zeroes out: holes in files, zeroes made by the disk itself.
                      They read as zeroes whatever was there before
      --verify        read the target back, past the cache, and compare
      --hash          print the SHA-256 of what was written: of a whole SRC as sha256sum does
      --bs SIZE       bytes of one request (default 1M)
      --depth N       requests on their way at once, 1 to 1024 (default 8); no more than make up
                      4 MiB, so that others who use the disk get their turn
      --direct        bypass the page cache for files too; for disks it always is
      --from SIZE     begin there on both sides: to go on with a copy that was stopped
      --skip SIZE     begin there in SRC
      --seek SIZE     begin there in DST
      --length SIZE   copy so many bytes (default: to the end of SRC). Gives a stream a total
      --raw           do not unpack SRC
      --bmap FILE     copy what this block map lists, and check its checksums (exit code 4). SRC.bmap
                      is used by itself
      --no-bmap       copy everything, whatever stands beside SRC
      --unmount       unmount the file systems on DST first, after the question; never those of the
                      running system, and none that are in use
      --verify-from SIZE
                      with --from, --verify or --hash: from there on in SRC, what an earlier copy
                      wrote is verified and hashed, too
      --rescue        go on behind places of SRC that cannot be read: they become zeroes, are
                      listed, and the exit code is 1
      --map FILE      with --rescue: keep in FILE what has been rescued (a map file of ddrescue), and
                      go on where it says. Saved every 30 seconds and at the end
      --retries N     with --rescue: try bad sectors again, N times
  -y, --yes           do not ask. Needed where there is no terminal
  -q, --quiet         no progress, no summary
      --json          the result as JSON on stdout
  -h, --help          this text

${SIZES}

Ctrl-C ends it cleanly: what was written is synced, and the command that does the rest is shown,
verification included. It asks again before it writes, unless --yes is given.
Another one, half a second later or more, ends it at once. SIGUSR1 (SIGINFO on FreeBSD and macOS)
shows how far it is.

Examples:
  bun-aio copy debian.iso /dev/sdX --verify
  bun-aio copy /dev/sdX backup.img --sparse --hash
  bun-aio copy image.img.xz /dev/sdX --verify
  bun-aio copy https://example.org/image.img.zst /dev/sdX --verify
  bun-aio copy debian.iso /dev/sdX --from 1288490188
  bun-aio copy debian.iso /dev/sdX /dev/sdY /dev/sdZ --verify --unmount
  sudo bun-aio copy /dev/sdX rescued.img --rescue --map rescued.map

${EXIT_TABLE}
`;

const VERIFY = `bun-aio verify: compare two files or disks as they are on the medium, not in the cache

Usage:
  bun-aio verify A B [options]       one of them may be "-", standard input

Says whether they are the same, with the SHA-256; or where they first differ, and how long each
is. An archive as A is unpacked, unless B is packed the same way. Files of different lengths differ; a disk may be longer than the image it was made from.

Options:
      --all           look for every difference, not only the first: counts bytes, lists ranges,
                      gives both SHA-256
      --from SIZE     begin there on both sides
      --skip SIZE     begin there in A
      --seek SIZE     begin there in B
      --length SIZE   compare so many bytes
      --no-hash       without the SHA-256. Holes are not read, but zeroes have to be hashed, too
      --bs SIZE       bytes of one request (default 1M)
      --depth N       requests on their way at once on each side, 1 to 1024 (default 8)
      --raw           do not unpack A
  -q, --quiet         no progress
      --json          the result as JSON
  -h, --help          this text

${SIZES}

Examples:
  bun-aio verify debian.iso /dev/sdX
  bun-aio verify a.img b.img --all
  bun-aio verify a.img b.img --quiet >/dev/null || echo "they differ, or could not be read"

${EXIT_TABLE}
`;

const SCAN = `bun-aio scan: find the sectors of a disk that cannot be read

Usage:
  bun-aio scan DEV [options]

Reads a disk or file from end to end, healthy areas first, and lists the ranges that cannot be read.
The exit code is 1 if there are any.

Options:
      --map FILE      write a map for ddrescue, or for a rescue: bad sectors are "-", the rest is "?"
      --hash          print the SHA-256, if everything can be read
      --from SIZE     begin there
      --length SIZE   read so many bytes
      --bs SIZE       bytes of one request (default 2M)
      --depth N       requests on their way at once, 1 to 1024 (default 8)
  -y, --yes           replace the map if there is one
  -q, --quiet         no progress, no summary
      --json          the result as JSON
  -h, --help          this text

${SIZES}

Examples:
  sudo bun-aio scan /dev/sdX
  sudo bun-aio scan /dev/sdX --map sdX.map

${EXIT_TABLE}
`;

const WATCH = `bun-aio watch: print disks as they come and go

Usage:
  bun-aio watch [options]

A line for each: add, remove or change, the path, size and model. Ctrl-C ends it.

Options:
  -q, --quiet         do not say that it has begun
      --json          a line of JSON for each, as info --json has them
  -h, --help          this text

Examples:
  bun-aio watch
  bun-aio watch --json | jq --unbuffered -r 'select(.type == "add") | .device.path'

${EXIT_TABLE}
`;

const BENCH = `bun-aio bench: operations a second, bandwidth and latencies of a file or disk

Usage:
  bun-aio bench PATH [options]

Runs one kind of request for some seconds and prints how many were done and how long they took
(percentiles). A PATH that does not exist is made for the time of the benchmark and removed.
Writing to a disk or to a file that exists destroys what it holds: only with --yes.

Options:
      --rw MODE       read, write (one block after the other), randread, randwrite, or randrw
                      (half and half); default randread
      --bs SIZE       bytes of one request (default 4k at random, 1M in order)
      --depth N       requests on their way at once, 1 to 1024 (default 32)
      --seconds N     for how long (default 5)
      --size SIZE     use only so much from the start; the size of a file that is made
                      (default 256M)
      --buffered      through the page cache. Default: past it, where the file system can
      --json          the result as JSON, histograms included
      --svg FILE      write a chart of the latencies
  -y, --yes           yes, write over what PATH holds
  -q, --quiet         no progress
  -h, --help          this text

${SIZES}

Examples:
  bun-aio bench /tmp/scratch
  bun-aio bench /tmp/scratch --rw randrw --depth 64 --svg latency.svg
  sudo bun-aio bench /dev/nvme0n1 --rw read --seconds 10
  bun-aio bench disk.img --json | jq .read.latencyUs

${EXIT_TABLE}
`;

const PAGES: ReadonlyMap<string, string> = new Map([
  ["", MAIN],
  ["info", INFO],
  ["copy", COPY],
  ["verify", VERIFY],
  ["scan", SCAN],
  ["watch", WATCH],
  ["bench", BENCH],
]);

/** The page of a command; "" for the main page. */
export function helpFor(command: string): string {
  return PAGES.get(command) ?? MAIN;
}
