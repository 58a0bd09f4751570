// Random values of every type at every public function, in a process of its own: no crash, no hang, no
// throw from what returns a promise, only errors that the documentation knows. `npm run fuzz:api --
// --calls 100000` is the long run.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { run } from "../support/child.ts";
import { times } from "../support/conditions.ts";
import { Random } from "../support/random.ts";

test("random values at every public function give documented errors only", async () => {
  const { seed } = Random.announced("fuzz:api");
  const fuzz = join(import.meta.dir, "..", "support", "fuzz", "api.ts");
  const calls = times(20_000);
  const args = [process.execPath, fuzz, "--calls", String(calls), "--seed", String(seed)];
  const { end, stdout, stderr } = await run(args, { timeoutMs: 280_000 });
  expect(`${end} ${end === 0 ? "" : stderr}`).toBe("0 ");
  expect(stdout).toEndWith(`${calls} calls, seed ${seed}, 0 problems\n`);
}, 300_000);
