// trackLeaks: names what was left, forgives what was closed.

import { describe, expect, test } from "bun:test";
import { allocBuffer, BufferPool, File, Ring } from "../../src/index.ts";
import { LeakError, simulatedDevice, trackLeaks } from "../../src/testing/index.ts";
import { turns } from "../support/control.ts";
import { TempDir } from "../support/temp.ts";

async function leaksOf(tracker: AsyncDisposable): Promise<readonly string[]> {
  try {
    await tracker[Symbol.asyncDispose]();
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(LeakError);
    expect((error as LeakError).code).toBe("ERR_LEAKS");
    for (const leak of (error as LeakError).leaks) expect((error as Error).message).toContain(leak);
    return (error as LeakError).leaks;
  }
}

const kept: unknown[] = [];

describe("trackLeaks", () => {
  test("forgives a test that closes everything, its local buffers included", async () => {
    await using _ = trackLeaks();
    using directory = new TempDir();
    await using ring = Ring.open();
    const path = directory.file("data", "hello");
    await using file = await File.open(path, { ring });
    const buffer = allocBuffer(4096);
    expect(await file.readAt(buffer, 0)).toBe(5);
    using pool = new BufferPool({ size: 4096, count: 2 });
    using lease = await pool.acquire();
    await using device = await simulatedDevice({ size: 8192 });
    await device.writeAt(lease, 0);
    await device.writeAt(buffer.subarray(0, 512), 0);
    await device.crash();
    await using again = await device.reopen();
    await again.readAt(buffer, 0);
  });

  test("names a file, a ring, a lease and an operation", async () => {
    using directory = new TempDir();
    const tracker = trackLeaks();
    const path = directory.file("data", "hello");
    const file = await File.open(path);
    const ring = Ring.open({ queueDepth: 7 });
    const pool = new BufferPool({ size: 1234, count: 1 });
    const lease = await pool.acquire();
    const device = await simulatedDevice({ faults: [{ operation: "read", latency: 20 }] });
    const read = device.readAt(new Uint8Array(512), 1024);
    await turns();
    const leaks = await leaksOf(tracker);
    expect(leaks).toContain(`file '${path}'`);
    expect(leaks).toContain("file 'simulated:0'");
    expect(leaks).toContain(`ring ${ring.backend}, queue depth 7`);
    expect(leaks.some((leak) => leak.startsWith("lease of 1234 bytes"))).toBe(true);
    expect(leaks).toContain("operation read 'simulated:0' (offset 1024, length 512)");
    await read;
    pool.release(lease);
    await Promise.all([file.close(), ring.close(), device.close()]);
  });

  test("names buffers that somebody keeps", async () => {
    const tracker = trackLeaks();
    kept.push(allocBuffer(12288));
    const local = allocBuffer(4096);
    await turns();
    local[0] = 1;
    expect(await leaksOf(tracker)).toEqual(["buffer of 12288 bytes, still reachable"]);
    kept.length = 0;
  });

  test("what was open before does not count, and what is closed after does not either", async () => {
    await using device = await simulatedDevice({ faults: [{ operation: "read", latency: 20 }] });
    const read = device.readAt(new Uint8Array(512), 0);
    await turns();
    expect(await leaksOf(trackLeaks())).toEqual([]);
    await read;
    const outer = trackLeaks();
    const inner = trackLeaks();
    const other = await simulatedDevice();
    expect(await leaksOf(inner)).toEqual(["file 'simulated:0'"]);
    await other.close();
    expect(await leaksOf(outer)).toEqual([]);
    expect(await leaksOf(outer)).toEqual([]);
  });
});
