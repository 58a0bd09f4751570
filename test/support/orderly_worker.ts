// A worker that ends by itself (test/promises/teardown.test.ts): told to, it closes its files and its
// ring, and then nothing keeps it. Operations that are in flight end first.

import { allocBuffer, File, Ring } from "../../src/index.ts";

declare const self: Worker;

self.onmessage = async (event: MessageEvent<string>): Promise<void> => {
  const ring = Ring.open({ queueDepth: 32 });
  const file = await File.open(event.data, { write: true, ring });
  const calls = Array.from({ length: 64 }, (_, index) =>
    index % 2 === 0
      ? file.readAt(allocBuffer(65536), index * 65536)
      : file.writeAt(new Uint8Array(65536).fill(0x5a), index * 65536),
  );
  self.onmessage = async () => {
    self.onmessage = null;
    await file.close();
    await ring.close();
    self.postMessage(
      (await Promise.allSettled(calls)).filter(({ status }) => status === "fulfilled").length,
    );
  };
  self.postMessage("running");
};
