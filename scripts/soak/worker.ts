// A worker that reads without end until it is terminated.

import { allocBuffer, BufferPool, File } from "../../src/index.ts";

declare const self: Worker;

self.onmessage = async (event: MessageEvent<string>) => {
  const file = await File.open(event.data);
  for (;;) {
    const pool = new BufferPool({ size: 70_000, count: 4 });
    const lent = await Promise.all([pool.acquire(), pool.acquire()]);
    const reads = Array.from({ length: 32 }, (_, i) =>
      file.readAt(i % 2 === 0 ? allocBuffer(70_000) : new Uint8Array(5000), i * 1000),
    );
    for (const buffer of lent) reads.push(file.readAt(buffer, 0));
    await Promise.all(reads);
    postMessage("round");
  }
};
