// A worker that is terminated while it reads and writes (test/promises/teardown.test.ts). It says "running" when
// operations are in flight, and continues until it is terminated.

import { allocBuffer, BufferPool, File, Ring } from "../../src/index.ts";

declare const self: Worker;

interface Plan {
  source: string;
  target: string;
  /** A file whose reads never complete. */
  endless: string | undefined;
  order: "buffers first" | "ring first";
}

/** What is written everywhere: whatever else is found has come from elsewhere. */
const MARK = 0x5a;
const LENGTH = 64 * 1024;

self.onmessage = async (event: MessageEvent<Plan>): Promise<void> => {
  const plan = event.data;
  // Buffers made before the ring are finalised after it, and the other way round.
  const early = plan.order === "buffers first" ? await buffers() : [];
  const ring = Ring.open({ queueDepth: 32 });
  const source = await File.open(plan.source, { ring });
  const target = await File.open(plan.target, { write: true, ring });
  const all = [...early, ...(await buffers())];
  if (plan.endless !== undefined) {
    const endless = await File.open(plan.endless, { ring });
    const late = allocBuffer(8192);
    endless.readAt(late, 0).catch(ignore);
    endless.readAt(await new BufferPool({ size: 8192, count: 1 }).acquire(), 0).catch(ignore);
    endless.readAt(new Uint8Array(8192), 0).catch(ignore);
    endless.readvAt([allocBuffer(100), late], 0).catch(ignore);
  }
  for (let round = 0; ; round++) {
    const calls: Promise<unknown>[] = [];
    for (const [index, buffer] of all.entries()) {
      const offset = (index * LENGTH) % (1 << 20);
      calls.push(source.readAt(buffer, offset), target.writeAt(buffer.fill(MARK), offset));
      calls.push(source.readvAt([buffer.subarray(0, 100), buffer.subarray(200)], offset));
    }
    calls.push(target.syncData());
    for (const call of calls) call.catch(ignore);
    if (round === 1) self.postMessage("running");
    await Promise.all(calls).catch(ignore);
    // Garbage for the collector, in flight as well.
    void source.readAt(allocBuffer(LENGTH), 0).catch(ignore);
    void source.readAt(await new BufferPool({ size: LENGTH, count: 2 }).acquire(), 0).catch(ignore);
    void File.open(plan.source, { ring }).catch(ignore);
    if (round % 8 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
};

/** Of every kind: our own, the engine's, a pool's. */
async function buffers(): Promise<Uint8Array[]> {
  const pool = new BufferPool({ size: LENGTH, count: 3 });
  const made = Array.from({ length: 9 }, (_, i) => {
    if (i % 3 === 0) return allocBuffer(LENGTH);
    return i % 3 === 1 ? new Uint8Array(LENGTH) : pool.acquire();
  });
  return Promise.all(made);
}

function ignore(): void {}
