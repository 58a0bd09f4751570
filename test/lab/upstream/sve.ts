// For a report to Bun, without anything of this library: on arm64 with SVE, emulated by QEMU 7.2 (`-cpu max`), Bun 1.4.5
// crashes within seconds. With `-cpu max,sve=off` or BUN_JSC_useFTLJIT=0 it did not, with BUN_JSC_useConcurrentJIT=0 it did.
//
//   bun test/lab/upstream/sve.ts [seconds, default 25]

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const path = join(tmpdir(), `sve-${process.pid}`);
const bytes = Buffer.alloc(1 << 20);
const until = Date.now() + Number(process.argv[2] ?? 25) * 1000;
let rounds = 0;
let wrong = 0;

function check(isRight: boolean): void {
  if (!isRight) wrong++;
}

while (Date.now() < until) {
  rounds++;
  for (let at = 0; at < bytes.length; at += 97) bytes[at] = (at * rounds) & 255;
  writeFileSync(path, bytes);
  check(Buffer.compare(readFileSync(path), bytes) === 0);
  const list = Array.from({ length: 500 }, (_, index) => ({ index, text: "x".repeat(index % 50) }));
  check(JSON.parse(JSON.stringify(list))[499].index === 499);
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  await Promise.all(list.map(() => new Promise((resolve) => setImmediate(resolve))));
  const map = new Map(list.map((value) => [`k${value.index}`, value]));
  for (const [key, { index }] of map) check(key === `k${index}`);
}
rmSync(path);
console.log(`Bun ${Bun.version} ${process.arch}: ${rounds} rounds, ${wrong} wrong values`);
