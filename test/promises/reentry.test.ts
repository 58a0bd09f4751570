// Getters, methods and properties of a caller's own view class are never called: its memory is read by the built-in
// getters. So no code of the caller runs inside of the library.

import { expect, test } from "bun:test";
import { allocBuffer, copy, File } from "../../src/index.ts";
import { ioError } from "../support/expect.ts";
import { TempDir } from "../support/temp.ts";

/** Throws whatever is asked of it. */
class Hostile extends Uint8Array<ArrayBuffer> {
  static get [Symbol.species](): never {
    throw new Error("asked for its species");
  }
  override get byteLength(): never {
    throw new Error("asked for its byteLength");
  }
  override get byteOffset(): never {
    throw new Error("asked for its byteOffset");
  }
  override get buffer(): never {
    throw new Error("asked for its buffer");
  }
  override get length(): never {
    throw new Error("asked for its length");
  }
  override set(): never {
    throw new Error("asked to set");
  }
  override subarray(): never {
    throw new Error("asked for a part");
  }
}

function hostile(text: string, memory: ArrayBuffer = new ArrayBuffer(text.length)): Uint8Array {
  new Uint8Array(memory).set(new TextEncoder().encode(text));
  return new Hostile(memory);
}

for (const [where, memory] of [
  ["memory of JavaScript's", undefined],
  ["memory of allocBuffer", 8],
] as const) {
  const view = (text: string): Uint8Array =>
    hostile(text, memory === undefined ? undefined : (allocBuffer(memory).buffer as ArrayBuffer));

  test(`a view that throws whatever is asked of it is read and written, in ${where}`, async () => {
    using dir = new TempDir();
    await using file = await File.open(dir.file("x", "abcdefgh"), { write: true });
    expect(await file.writeAt(view("12345678"), 0)).toBe(8);
    expect(await file.writevAt([view("AAAAAAAA"), view("BBBBBBBB")], 8)).toBe(16);
    const target = view("........");
    expect(await file.readAt(target, 8)).toBe(8);
    expect(new TextDecoder().decode(bytesBehind(target))).toBe("AAAAAAAA");
    expect(await file.readvAt([target, view("........")], 0)).toBe(16);
    expect(new TextDecoder().decode(bytesBehind(target))).toBe("12345678");
    await file.ring.batch([{ kind: "read", file, data: target, offset: 16 }]);
    expect(new TextDecoder().decode(bytesBehind(target))).toBe("BBBBBBBB");
  });
}

/** Of a view that does not say. */
function bytesBehind(view: Uint8Array): ArrayBuffer {
  const prototype = Object.getPrototypeOf(Uint8Array.prototype) as object;
  const getter = Object.getOwnPropertyDescriptor(prototype, "buffer")?.get;
  return getter?.call(view) as ArrayBuffer;
}

test("streams and copies take such views, too", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("x", ""), { write: true });
  const writer = file.writable().getWriter();
  await writer.write(hostile("abcd"));
  await writer.close();
  const source = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(hostile("efgh"));
      controller.close();
    },
  });
  await copy(source, file, { targetOffset: 4 });
  expect(await Bun.file(dir.file("x")).text()).toBe("abcdefgh");
});

test("a file closed by a getter of the options starts nothing", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abcdefgh");
  const ways: ((file: File) => Promise<unknown>)[] = [
    (file) =>
      file.writeAt(new Uint8Array(8), 0, {
        get timeout(): number {
          void file.close();
          return 1000;
        },
      }),
    (file) =>
      file.truncate(3, {
        get timeout(): number {
          void file.close();
          return 1000;
        },
      }),
    (file) =>
      file.syncAll({
        get timeout(): number {
          void file.close();
          return 1000;
        },
      }),
  ];
  for (const way of ways) {
    const file = await File.open(path, { write: true });
    await ioError(way(file), "EBADF");
    await file.close();
  }
  expect(await Bun.file(path).text()).toBe("abcdefgh");
});
