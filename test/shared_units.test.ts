// Streams and copies that begin or end within a unit (a sector of a device, what `direct` asks for) read, change
// and write back that unit. Whoever writes the rest of it at the same time, or makes the file longer, loses nothing.

import { describe, expect, test } from "bun:test";
import { copy, File, type IoData } from "../src/index.ts";
import { simulatedDevice } from "../src/testing/index.ts";
import { testUnless } from "./support/conditions.ts";
import { Folder, LoopDevice, loopMissing, pattern } from "./support/control.ts";

const UNIT = 512;

interface Target {
  readonly file: File;
  read(): Promise<Uint8Array>;
}

function streamOf(contents: Uint8Array): ReadableStream<Uint8Array> {
  return new Response(contents.slice()).body as ReadableStream<Uint8Array>;
}

async function writeStream(file: File, contents: Uint8Array, start: number): Promise<void> {
  const writer: WritableStreamDefaultWriter<IoData> = file.writable({ start }).getWriter();
  await writer.write(contents);
  await writer.close();
}

async function copyInto(file: File, contents: Uint8Array, start: number): Promise<void> {
  await copy(streamOf(contents), file, { targetOffset: start });
}

/** Writes of neighbours that share units, all at once. */
async function writeNeighbours(
  { file, read }: Target,
  size: number,
  ways: readonly (typeof writeStream)[],
): Promise<void> {
  for (let round = 0; round < 8; round++) {
    const contents = pattern(size, round);
    const step = 333 + 97 * round;
    const running: Promise<void>[] = [];
    for (let at = 0, index = 0; at < size; at += step, index++) {
      const way = ways[index % ways.length] as typeof writeStream;
      running.push(way(file, contents.subarray(at, Math.min(at + step, size)), at));
    }
    await Promise.all(running);
    const answer = await read();
    expect(answer.byteLength).toBe(size);
    expect(Buffer.compare(answer, contents)).toBe(0);
  }
}

async function readAll(file: File): Promise<Uint8Array> {
  const answer = new Uint8Array(await file.size());
  await file.readExactAt(answer, 0);
  return answer;
}

describe.each(["reject", "rmw"] as const)("unalignedWrites: %p", (unalignedWrites) => {
  const options = { unalignedWrites };
  const direct = { write: true, create: true, direct: true, unalignedWrites };
  const ways = [writeStream, copyInto];
  if (unalignedWrites === "rmw") {
    ways.push(async (file, contents, start) => {
      await file.writeAt(contents, start);
    });
  }

  test("neighbours within a unit lose nothing of one another: a simulated device", async () => {
    const size = 32 * UNIT;
    await using file = await simulatedDevice({ size, ...options });
    await writeNeighbours({ file, read: () => readAll(file) }, size, ways);
  });

  test("neighbours within a unit lose nothing of one another: a direct file", async () => {
    using folder = new Folder();
    await using file = await File.open(folder.file("data"), direct);
    await writeNeighbours({ file, read: () => readAll(file) }, 20_011, ways);
  });

  testUnless(loopMissing, "neighbours within a unit: a disk of 4096-byte sectors", async () => {
    using folder = new Folder();
    using loop = new LoopDevice(folder.file("image", new Uint8Array(64 * 4096)), 4096);
    await using file = await File.open(loop.path, { ...direct, create: false });
    await writeNeighbours({ file, read: () => readAll(file) }, 64 * 4096, ways);
  });

  test("a file made longer while a stream ends within a unit keeps its length", async () => {
    using folder = new Folder();
    const tail = pattern(5000, 1);
    const rest = pattern(4096, 2);
    for (let round = 0; round < 40; round++) {
      const path = folder.file(`data${round}`);
      await using file = await File.open(path, direct);
      const extending = async (): Promise<void> => {
        for (let turn = 0; turn < round % 8; turn++) await new Promise(setImmediate);
        await file.writeAt(rest, 8192);
      };
      const way = ways[round % 2] as typeof writeStream;
      await Promise.all([way(file, tail, 0), extending()]);
      const answer = await readAll(file);
      expect(answer.byteLength).toBe(8192 + 4096);
      expect(Buffer.compare(answer.subarray(0, 5000), tail)).toBe(0);
      expect(Buffer.compare(answer.subarray(8192), rest)).toBe(0);
    }
  });
});
