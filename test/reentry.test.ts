// Getters of a caller's own kind of view run in the middle of the library's work: when bytes are copied
// into bounce memory and out of it. Whatever they call, every promise settles once (promise 1).

import { expect, test } from "bun:test";
import { File } from "../src/index.ts";
import { ioError } from "./support/expect.ts";
import { TempDir } from "./support/temp.ts";

/** A view that runs `hook` at the look number `nth` (from 1) at its place in memory. */
function hooked(bytes: number, nth: number, hook: () => void): Uint8Array<ArrayBuffer> {
  let looks = 0;
  class Hooked extends Uint8Array<ArrayBuffer> {
    override get byteOffset(): number {
      if (++looks === nth) hook();
      return super.byteOffset;
    }
  }
  return new Hooked(new ArrayBuffer(bytes));
}

const looks = [1, 2, 3];

test("an operation started while another is handed over or settled is not lost", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("x", "abcdefgh"), { write: true });
  for (const nth of looks) {
    for (const direction of ["readAt", "writeAt"] as const) {
      let inner: Promise<number> | undefined;
      const view = hooked(8, nth, () => {
        inner = file.readAt(new Uint8Array(4), 0);
      });
      expect(await file[direction](view, 0)).toBe(8);
      if (inner !== undefined) expect(await inner).toBe(4);
    }
  }
});

test("an abort while its own operation is handed over or settled settles it once", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("x", "abcdefgh"), { write: true });
  for (const nth of looks) {
    for (const direction of ["readAt", "writeAt"] as const) {
      const controller = new AbortController();
      const { signal } = controller;
      const view = hooked(8, nth, () => controller.abort());
      const others = Array.from({ length: 8 }, () => new Uint8Array(8));
      const calls = [
        file[direction](view, 0, { signal }),
        ...others.map((other) => file.readAt(other, 0, { signal })),
      ];
      for (const outcome of await Promise.allSettled(calls)) {
        if (outcome.status === "fulfilled") expect(outcome.value).toBe(8);
        else expect(outcome.reason).toMatchObject({ code: "ABORT_ERR" });
      }
    }
  }
  expect(file.ring.stats().inFlight).toBe(0);
});

test("a file closed by a getter of the buffer or the options starts nothing", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abcdefgh");
  const ways: ((file: File) => Promise<unknown>)[] = [
    (file) =>
      file.readAt(
        hooked(8, 1, () => void file.close()),
        0,
      ),
    (file) => file.readvAt([new Uint8Array(1), hooked(8, 1, () => void file.close())], 0),
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
