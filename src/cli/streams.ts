// Streams of bytes made from generators, and what is done to them.

import type { Bytes } from "../common/arguments.ts";

export type ByteStream = ReadableStream<Bytes>;

/** A stream of what a generator yields, which begins when it is first read. */
export function streamOf(parts: AsyncIterable<Bytes>): ByteStream {
  const iterator = parts[Symbol.asyncIterator]();
  return new ReadableStream<Bytes>(
    {
      async pull(controller): Promise<void> {
        const { done, value } = await iterator.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      async cancel(): Promise<void> {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

/** The beginning of a stream, `bytes` long if the stream is, and the whole of it. */
export async function begun(
  stream: ByteStream,
  bytes: number,
): Promise<[head: Bytes, whole: ByteStream]> {
  const reader = stream.getReader();
  let head: Bytes = new Uint8Array(0);
  while (head.byteLength < bytes) {
    const { done, value } = await reader.read();
    if (done) break;
    // A pipe may deliver single bytes.
    head = head.byteLength === 0 ? value : Buffer.concat([head, value]);
  }
  reader.releaseLock();
  return [head, streamOf(joined(head, stream))];
}

async function* joined(head: Bytes, rest: ByteStream): AsyncGenerator<Bytes> {
  if (head.byteLength > 0) yield head;
  yield* rest;
}

/** The same bytes until `stop` aborts, which ends a pending read, too. */
export async function* until(stop: AbortSignal, stream: ByteStream): AsyncGenerator<Bytes> {
  const reader = stream.getReader();
  const end = (): void => void reader.cancel(stop.reason).catch(() => {});
  stop.addEventListener("abort", end);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    stop.removeEventListener("abort", end);
    end();
  }
}
