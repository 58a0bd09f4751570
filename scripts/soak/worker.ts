// A worker that reads without end, until it is terminated in the middle of it.

import { allocBuffer, File } from "../../src/index.ts";

declare const self: Worker;

self.onmessage = async (event: MessageEvent<string>) => {
  const file = await File.open(event.data);
  for (;;) {
    const reads = Array.from({ length: 32 }, (_, i) =>
      file.readAt(i % 2 === 0 ? allocBuffer(70_000) : new Uint8Array(5000), i * 1000),
    );
    await Promise.all(reads);
    postMessage("round");
  }
};
