// The text of --help. Each page teaches by examples that can be pasted.

import { EXIT_TABLE } from "./exit.ts";

const SIZES = "SIZE is bytes, or 4k, 64KiB, 1M, 1.5G (powers of 1024), or 1MB (powers of 1000).";

/** By command; "" is the main page. Each ends with the exit codes. */
const PAGES: Readonly<Record<string, string>> = {
  "": `bun-aio: asynchronous I/O on files and disks, from the command line

Usage:
  bun-aio info [PATH]          the backend, why it was chosen, and the disks; or all about PATH
  bun-aio copy SRC DST         copy files, images and disks: a dd that checks before it writes
  bun-aio verify A B           compare two files or disks as they are on the medium
  bun-aio scan DEV             find the sectors of a disk that cannot be read
  bun-aio watch                print disks as they come and go
  bun-aio bench PATH           measure IOPS, bandwidth and latencies of a file or disk

  bun-aio COMMAND --help       the options of a command, with examples
  bun-aio --version

Try:
  bun-aio info
  bun-aio bench /tmp/scratch --seconds 2
  bun-aio copy disk.img /dev/sdX --verify

Messages go to stderr, results to stdout. NO_COLOR=1 turns color off.
BUN_AIO_BACKEND=threads (or io_uring, posix_aio) chooses the backend.`,

  info: `bun-aio info: show the backend, and facts about disks and files

Usage:
  bun-aio info [PATH] [--json]

Without PATH: the backend, why it was chosen, and a table of the disks.
With PATH: its kind, size, alignment and geometry, what it contains and who uses it.

Options:
      --json          everything as one JSON object
  -h, --help          this text

Examples:
  bun-aio info
  sudo bun-aio info /dev/nvme0n1
  bun-aio info --json | jq -r '.devices[] | select(.removable) | .path'`,

  copy: `bun-aio copy: copy files, images and disks: a dd that checks before it writes

Usage:
  bun-aio copy SRC DST [DST ...] [options]

SRC is a file, a disk, a pipe, a URL (http, https), or - for standard input. An archive (gzip, zstd,
xz, bzip2, or a zip with one image) is recognized by its contents and unpacked. DST is a file
(created if missing) or a disk.
Before it overwrites anything it shows what is there and asks. It refuses disks that are mounted or
in use, images that are attached as loop devices, swap files, names of disks that do not exist, and
targets that are too small. Everything it reports as copied has been synced to the medium.

SRC is read once and written to all DST at the same time. If one DST fails, the others continue.

An overwritten file ends where the copy ends, unless --length, or different --skip and --seek,
select a part of it. The rest of a larger disk stays as it is.

If standard input ("-") is a file or disk, it is read from its current offset, and the offset
advances by what was copied. A download resumes by itself after a dropped connection.

Options:
      --sparse        do not write blocks of zeroes: files get holes, disks make the zeroes
                      themselves. Both read as zeroes, whatever was there before
      --verify        read the target back, bypassing the cache, and compare
      --hash          print the SHA-256 of what was written; for a whole SRC as sha256sum does
      --bs SIZE       bytes per request (default 2M, less for several DST)
      --depth N       requests in flight at once, 1 to 1024 (default 8), but at most 4 MiB in total,
                      so that other users of the disk get their turn
      --direct        bypass the page cache for files, too; for disks it is always bypassed
      --from SIZE     start at this offset on both sides, to resume a copy that was stopped
      --skip SIZE     start at this offset in SRC
      --seek SIZE     start at this offset in DST
      --length SIZE   copy this many bytes (default: to the end of SRC). Gives a stream a total
      --raw           do not unpack SRC
      --bmap FILE     copy only what this block map lists, and check its checksums (exit code 4).
                      SRC.bmap is used automatically
      --no-bmap       copy everything, even if there is a block map next to SRC
      --unmount       first unmount the file systems on DST, after you confirm; never those of the
                      running system or those in use
      --verify-from SIZE
                      with --from and --verify or --hash: also verify and hash what an earlier copy
                      wrote, starting at this offset in SRC
      --rescue        continue after parts of SRC that cannot be read: they become zeroes and are
                      listed, and the exit code is 1
      --map FILE      with --rescue: record in FILE what has been rescued (a map file of ddrescue),
                      and continue where it says. Saved every 30 seconds and at the end
      --retries N     with --rescue: try bad sectors again, N times
  -y, --yes           do not ask. Needed if there is no terminal
  -q, --quiet         no progress, no summary
      --json          print the result as JSON on stdout
  -h, --help          this text

${SIZES}

Ctrl-C ends the copy cleanly: it syncs what was written, and prints the command that does the rest,
including the verification. That command asks again before it writes, unless --yes is given.
Another Ctrl-C, at least half a second later, ends the copy at once. SIGUSR1 (SIGINFO on FreeBSD
and macOS) prints the progress.

Examples:
  bun-aio copy debian.iso /dev/sdX --verify
  bun-aio copy /dev/sdX backup.img --sparse --hash
  bun-aio copy image.img.xz /dev/sdX --verify
  bun-aio copy https://example.org/image.img.zst /dev/sdX --verify
  bun-aio copy debian.iso /dev/sdX --from 1288490188
  bun-aio copy debian.iso /dev/sdX /dev/sdY /dev/sdZ --verify --unmount
  sudo bun-aio copy /dev/sdX rescued.img --rescue --map rescued.map`,

  verify: `bun-aio verify: compare two files or disks as they are on the medium, not in the cache

Usage:
  bun-aio verify A B [options]       one of them may be "-", standard input

Prints whether they are the same, with the SHA-256; or where they first differ, and how long each
is. If A is an archive, it is unpacked, unless B is compressed the same way. Files of different
lengths differ; a disk may be longer than the image written to it.

Options:
      --all           find every difference, not only the first: count the bytes, list the ranges,
                      print both SHA-256
      --from SIZE     start at this offset on both sides
      --skip SIZE     start at this offset in A
      --seek SIZE     start at this offset in B
      --length SIZE   compare this many bytes
      --no-hash       leave out the SHA-256. Holes are not read, but hashing their zeroes takes time
      --bs SIZE       bytes per request (default 1M)
      --depth N       requests in flight at once on each side, 1 to 1024 (default 8)
      --raw           do not unpack A
  -q, --quiet         no progress
      --json          print the result as JSON
  -h, --help          this text

${SIZES}

Examples:
  bun-aio verify debian.iso /dev/sdX
  bun-aio verify a.img b.img --all
  bun-aio verify a.img b.img --quiet >/dev/null || echo "they differ, or could not be read"`,

  scan: `bun-aio scan: find the sectors of a disk that cannot be read

Usage:
  bun-aio scan DEV [options]

Reads a disk or file from end to end, healthy areas first, and lists the ranges that cannot be read.
The exit code is 1 if there are any.

Options:
      --map FILE      write a map for copy --rescue or ddrescue: bad sectors are "-", the rest "?"
      --hash          print the SHA-256 if everything can be read
      --from SIZE     start at this offset
      --length SIZE   read this many bytes
      --bs SIZE       bytes per request (default 2M)
      --depth N       requests in flight at once, 1 to 1024 (default 8)
  -y, --yes           replace FILE if it exists
  -q, --quiet         no progress, no summary
      --json          print the result as JSON
  -h, --help          this text

${SIZES}

Examples:
  sudo bun-aio scan /dev/sdX
  sudo bun-aio scan /dev/sdX --map sdX.map`,

  watch: `bun-aio watch: print disks as they come and go

Usage:
  bun-aio watch [options]

Prints a line for each event: add, remove or change, the path, size and model. Ctrl-C ends it.

Options:
  -q, --quiet         do not print the line about watching
      --json          print a line of JSON for each event, with the device as in info --json
  -h, --help          this text

Examples:
  bun-aio watch
  bun-aio watch --json | jq --unbuffered -r 'select(.type == "add") | .device.path'`,

  bench: `bun-aio bench: measure IOPS, bandwidth and latencies of a file or disk

Usage:
  bun-aio bench PATH [options]

Runs one kind of request for some seconds and prints how many completed and how long they took
(percentiles). If PATH does not exist, it is created for the benchmark and then removed.
Writing to a disk or an existing file destroys its contents, and needs --yes.

Options:
      --rw MODE       read, write (sequential), randread, randwrite, or randrw (half reads, half
                      writes); default randread
      --bs SIZE       bytes per request (default 4k random, 1M sequential)
      --depth N       requests in flight at once, 1 to 1024 (default 32)
      --seconds N     duration (default 5)
      --size SIZE     use only this many bytes, from the start; also the size of a new file
                      (default 256M)
      --buffered      use the page cache. By default it is bypassed if the file system allows it
      --json          print the result as JSON, including histograms
      --svg FILE      write a chart of the latencies
  -y, --yes           overwrite the contents of PATH
  -q, --quiet         no progress
  -h, --help          this text

${SIZES}

Examples:
  bun-aio bench /tmp/scratch
  bun-aio bench /tmp/scratch --rw randrw --depth 64 --svg latency.svg
  sudo bun-aio bench /dev/nvme0n1 --rw read --seconds 10
  bun-aio bench disk.img --json | jq .read.latencyUs`,
};

/** The page of a command; "" for the main page. */
export function helpFor(command: string): string {
  return `${PAGES[command] ?? PAGES[""]}\n\n${EXIT_TABLE}\n`;
}
