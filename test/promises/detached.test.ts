// Native memory that is given away (transferred) before the native side has seen its operation: the
// collector may unmap it at any time, so nothing of it may be looked at. Each in a process of its own.

import { expect, test } from "bun:test";
import { File } from "../../src/index.ts";
import { runCode } from "../support/child.ts";
import { TempDir } from "../support/temp.ts";

/** `give(view)`: the memory of the view goes, for good. `native()`: memory of either kind. */
const HELPERS = `
const file = await File.open(args[0], { write: true });
const code = (call) => call.then((value) => value, (error) => error.code);
const give = (view) => {
  (() => structuredClone(view.buffer, { transfer: [view.buffer] }))();
  for (let i = 0; i < 3; i++) Bun.gc(true);
};
/** A write whose buffer gives \`view\` away when it is handed over. */
const writeGiving = (view) => {
  let on = false;
  class Evil extends Uint8Array {
    get byteLength() {
      if (on) { on = false; give(view); }
      return super.byteLength;
    }
  }
  file.writeAt(new Evil(4096), 0).catch(() => {});
  on = true;
};
const native = async () => [allocBuffer(65536), await new BufferPool({ size: 65536, count: 4 }).acquire()];
`;

const CASES: readonly (readonly [string, string])[] = [
  [
    "by a getter of the options, before the pool's first use",
    "call(file.readAt(view, 0, { get signal() { give(view); } }));",
  ],
  [
    "after an operation without bytes was called",
    "call(file.readAt(view.subarray(0, 0), 0)); give(view);",
  ],
  [
    "by a getter of a view that is handed over later",
    `
    call(file.readAt(view, 0));
    writeGiving(view);
    `,
  ],
  [
    "by a getter of a view that is handed over later than the vector it is in",
    `
    call(file.readvAt([view.subarray(0, 100), view.subarray(200)], 0));
    await Promise.resolve();
    writeGiving(view);
    `,
  ],
  [
    "though it says otherwise of itself",
    `
    Object.defineProperty(view, "byteLength", { value: 65536 });
    Object.defineProperty(view, "byteOffset", { value: 0 });
    give(view);
    call(file.readAt(view, 0));
    `,
  ],
];

for (const [how, code] of CASES) {
  test(`native memory given away ${how}`, async () => {
    using dir = new TempDir();
    const child = await runCode(
      `${HELPERS}
      const codes = [];
      for (const view of await native()) {
        let ended;
        const call = (promise) => { ended = code(promise); };
        ${code}
        codes.push(await ended);
      }
      await file.close();
      console.log(codes.join(" "));
      `,
      { args: [dir.file("data", new Uint8Array(1 << 17))] },
    );
    expect(child.stderr).toBe("");
    expect(child.end).toBe(0);
    for (const one of child.stdout.trim().split(" ")) {
      expect(one).toBeOneOf([
        "ERR_BUFFER_DETACHED",
        // It was so at the call.
        "ERR_INVALID_ARG_VALUE",
        "65536",
        "65436",
        "0",
      ]);
    }
  }, 60_000);
}

test("a view that only pretends to be of bytes moves its bytes", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("x"), { write: true, create: true });
  const words = new Uint16Array([0x1234, 0x5678, 0x9abc, 0xdef0]);
  const right = new Uint8Array(words.buffer.slice(0));
  const pretender = Object.setPrototypeOf(words, Uint8Array.prototype) as Uint8Array;
  expect(await file.writeAt(pretender, 0)).toBe(8);
  expect(await file.writevAt([pretender, pretender], 8)).toBe(16);
  const back = new Uint8Array(24);
  await file.readExactAt(back, 0);
  expect(back).toEqual(new Uint8Array([...right, ...right, ...right]));
  const target = Object.setPrototypeOf(new Uint16Array(4), Uint8Array.prototype) as Uint8Array;
  await file.readExactAt(target, 0);
  expect(new Uint8Array(target.buffer)).toEqual(right);
});
