// Writes an image to USB sticks and memory cards, as many at once as are named, and reads it back.
//
//   flasher                                 the disks that can be written
//   flasher IMAGE DISK... [--yes]           IMAGE: a file or URL, as it is or packed by gzip or zstd
//   flasher IMAGE DISK... --from BYTES      goes on with a copy that was stopped
//
//   bun build --compile examples/flasher/flasher.ts --outfile flasher

import { parseArgs } from "node:util";
import {
  BlockDevice,
  type BlockDeviceInfo,
  copyToAll,
  File,
  IoError,
  listBlockDevices,
} from "bun-aio";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { yes: { type: "boolean", short: "y" }, from: { type: "string", default: "0" } },
});

function describe({ path, size, vendor, model, transport, allMounts }: BlockDeviceInfo): string {
  const name = [vendor, model, transport].filter((word) => word !== null).join(" ");
  const mounts = allMounts.length > 0 ? `, mounted at ${allMounts.join(", ")}` : "";
  return `${path}  ${(size / 1e9).toFixed(1)} GB  ${name}${mounts}`;
}

/** Disks that the running system does not need. */
async function candidates(): Promise<BlockDeviceInfo[]> {
  const disks = await listBlockDevices({ system: false });
  return disks.filter(({ readOnly, size }) => readOnly !== true && size > 0);
}

async function choose(paths: readonly string[]): Promise<BlockDeviceInfo[]> {
  const disks = await candidates();
  return paths.map((path) => {
    const disk = disks.find((candidate) => candidate.path === path);
    if (disk === undefined) throw new Error(`${path} is no disk that can be written`);
    return disk;
  });
}

interface Image extends AsyncDisposable {
  readonly bytes: File | ReadableStream<Uint8Array>;
  /** Its size in bytes; undefined if it is packed. */
  readonly size: number | undefined;
}

async function openImage(name: string, stop: AbortSignal): Promise<Image> {
  const packing = /\.gz$/i.test(name) ? "gzip" : /\.zst$/i.test(name) ? "zstd" : undefined;
  if (/^https?:/.test(name)) {
    const { ok, status, body, headers } = await fetch(name, { signal: stop, decompress: false });
    if (!ok || body === null) throw new Error(`${name}: the server answers ${status}`);
    const close = async (): Promise<void> => {};
    if (packing === undefined) {
      const size = Number(headers.get("content-length")) || undefined;
      return { bytes: body, size, [Symbol.asyncDispose]: close };
    }
    const bytes = body.pipeThrough(new DecompressionStream(packing));
    return { bytes, size: undefined, [Symbol.asyncDispose]: close };
  }
  const file = await File.open(name);
  const close = (): Promise<void> => file.close();
  if (packing === undefined) {
    return { bytes: file, size: await file.size(), [Symbol.asyncDispose]: close };
  }
  const bytes = file.readable().pipeThrough(new DecompressionStream(packing));
  return { bytes, size: undefined, [Symbol.asyncDispose]: close };
}

/** Writes to all of them; the paths of those that have it. */
async function flash(
  name: string,
  disks: readonly BlockDeviceInfo[],
  from: number,
): Promise<string[]> {
  const stopping = new AbortController();
  const stop = (): void => stopping.abort();
  process.once("SIGINT", stop);
  const { signal } = stopping;
  await using image = await openImage(name, signal);
  await using stack = new AsyncDisposableStack();
  const targets: BlockDevice[] = [];
  for (const { path } of disks) {
    // Holds the disk, so that nothing mounts it meanwhile. Refuses what the running system needs.
    targets.push(stack.use(await BlockDevice.open(path, { write: true, unmount: true })));
  }
  const results = await copyToAll(image.bytes, targets, {
    ...{ sourceOffset: from, targetOffset: from, expectedLength: image.size },
    ...{ verify: true, signal },
    onProgress: ({ target, phase, bytes, total, bytesPerSecond }) => {
      const share = total === undefined ? "" : `${Math.floor((bytes / total) * 100)}% `;
      const rate = `${(bytesPerSecond / 1e6).toFixed(1)} MB/s`;
      console.error(`${target.path}: ${phase} ${share}${(bytes / 1e6).toFixed(1)} MB, ${rate}`);
    },
  });
  process.off("SIGINT", stop);
  const done: string[] = [];
  for (const [index, target] of targets.entries()) {
    const result = results[index];
    if (result?.status === "rejected") report(target, result.reason, from);
    if (result?.status !== "fulfilled") continue;
    // The partition table has come with the image.
    await target.rereadPartitions().catch(() => {});
    console.log(`${target.path}: ${result.value.bytesCopied} bytes written and read back`);
    done.push(target.path ?? "");
  }
  return done;
}

function report({ path }: File, error: unknown, from: number): void {
  console.error(`${path}: ${error instanceof Error ? error.message : error}`);
  const prefix = error instanceof IoError ? (error.result?.prefix ?? 0) : 0;
  if (prefix > 0)
    console.error(`${path}: to go on, pass --from ${from + prefix - (prefix % 4096)}`);
}

/** Tells a USB disk that it will be pulled out. Others have no such switch. */
async function eject(path: string): Promise<void> {
  const removal = Bun.file(`/sys/block/${path.replace("/dev/", "")}/device/delete`);
  if (await removal.exists()) await Bun.write(removal, "1");
}

async function main(): Promise<number> {
  const [image, ...paths] = positionals;
  if (image === undefined || paths.length === 0) {
    for (const disk of await candidates()) console.log(describe(disk));
    return image === undefined ? 0 : 2;
  }
  const disks = await choose(paths);
  console.error("This will be overwritten:");
  for (const disk of disks) console.error(`  ${describe(disk)}`);
  if (values.yes !== true && !/^y(es)?$/i.test(prompt("Overwrite? (yes/no)") ?? "")) return 3;
  const done = await flash(image, disks, Number(values.from));
  for (const path of done) await eject(path);
  return done.length === disks.length ? 0 : 1;
}

process.exitCode = await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  return 1;
});
