// Fault rules of simulated devices: which requests they meet, what happens to those, what is refused.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { allocBuffer, type IoError } from "../../src/index.ts";
import { type FaultRule, type SimulatedDevice, simulatedDevice } from "../../src/testing/index.ts";
import { runCode } from "../support/child.ts";
import { noLinux, testUnless } from "../support/conditions.ts";
import { settles, turns } from "../support/control.ts";

const testingPath = join(import.meta.dir, "..", "..", "src", "testing", "index.ts");

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (error) {
    return (error as IoError).code;
  }
}

const buffer = allocBuffer(4096).fill(1);
const target = allocBuffer(4096);

function withRules(...faults: FaultRule[]): Promise<SimulatedDevice> {
  return simulatedDevice({ size: 2 ** 20, faults });
}

async function reads(device: SimulatedDevice, count: number): Promise<string> {
  let seen = "";
  for (let i = 0; i < count; i++) seen += (await codeOf(device.readAt(target, 0)))[0];
  return seen;
}

describe("which requests", () => {
  test("nth counts from 1, every repeats, times ends it", async () => {
    await using nth = await withRules({ operation: "read", nth: 3, error: "EIO" });
    expect(await reads(nth, 6)).toBe("ooEooo");
    await using every = await withRules({ operation: "read", every: 2, error: "EIO" });
    expect(await reads(every, 6)).toBe("oEoEoE");
    await using times = await withRules({ operation: "read", times: 2, error: "EIO" });
    expect(await reads(times, 6)).toBe("EEoooo");
  });

  test("probability is the seed's", async () => {
    const rule: FaultRule = { operation: "read", probability: 0.5, error: "EIO" };
    const runs: string[] = [];
    for (const seed of [1, 1, 2]) {
      await using device = await simulatedDevice({ seed, faults: [rule] });
      runs.push(await reads(device, 40));
    }
    expect(runs[0]).toBe(runs[1] as string);
    expect(runs[0]).not.toBe(runs[2] as string);
    expect(runs[0]).toContain("E");
    expect(runs[0]).toContain("o");
  });

  test("ranges touch; operations are told apart", async () => {
    await using device = await withRules({
      operation: "read",
      offset: 4096,
      length: 512,
      error: "EIO",
    });
    expect(await codeOf(device.readAt(target.subarray(0, 512), 3584))).toBe("ok");
    expect(await codeOf(device.readAt(target.subarray(0, 1024), 3584))).toBe("EIO");
    expect(await codeOf(device.readAt(target.subarray(0, 512), 4608))).toBe("ok");
    expect(await codeOf(device.writeAt(buffer, 4096))).toBe("ok");
    expect(await codeOf(device.syncAll())).toBe("ok");
  });

  test("rules come and go, and count what is called after them", async () => {
    await using device = await withRules();
    const before = codeOf(device.readAt(target, 0));
    {
      using _ = device.faults.add({ operation: "read", error: "EIO" });
      expect(await before).toBe("ok");
      expect(await codeOf(device.readAt(target, 0))).toBe("EIO");
    }
    expect(await codeOf(device.readAt(target, 0))).toBe("ok");
    const rules = Array.from({ length: 64 }, () =>
      device.faults.add({ operation: "sync", error: "EIO" }),
    );
    const add = (): Disposable => device.faults.add({ operation: "sync", error: "EIO" });
    expect(add).toThrow("64 fault rules");
    rules[0]?.[Symbol.dispose]();
    rules[0]?.[Symbol.dispose]();
    add()[Symbol.dispose]();
    // Twice is nothing: the place of a rule that was taken away twice is given once.
    add();
    expect(add).toThrow("64 fault rules");
  });
});

describe("what happens", () => {
  test("any error of the system, with its number and place", async () => {
    await using device = await withRules(
      { operation: "write", error: "EDQUOT", nth: 1 },
      { operation: "discard", error: "EREMOTEIO" },
      { operation: "any", offset: 8192, length: 1, error: "ENOMEM" },
    );
    const failure = await device.writeAt(buffer, 512).catch((error: IoError) => error);
    expect(failure).toMatchObject({
      code: "EDQUOT",
      syscall: "write",
      offset: 512,
      transferred: 0,
    });
    expect(await codeOf(device.discard(0, 512))).toBe("EREMOTEIO");
    expect(await codeOf(device.readAt(target, 8192))).toBe("ENOMEM");
    expect(await codeOf(device.writeZeroes(8192, 512))).toBe("ENOMEM");
  });

  testUnless(noLinux, "errors of a disk go by their names, and say what they mean", async () => {
    for (const [code, errno, reason] of [
      ["ENODATA", -61, "no data available"],
      ["EBADE", -52, "invalid exchange"],
      ["ENOLINK", -67, "link has been severed"],
      ["ETIME", -62, "timer expired"],
      ["EUCLEAN", -117, "structure needs cleaning"],
    ] as const) {
      await using device = await withRules({ operation: "read", error: code });
      const failure = await device.readAt(target, 0).catch((error: IoError) => error);
      expect(failure).toMatchObject({ code, errno });
      expect((failure as IoError).message).toContain(`${code}: ${reason}, read`);
    }
  });

  test("a failed write moved nothing, and the sync that covers it fails, and all after", async () => {
    await using device = await withRules({ operation: "write", nth: 1, error: "EIO" });
    const write = codeOf(device.writeAt(buffer, 0));
    const sync = device.syncAll().catch((error: IoError) => error);
    expect(await write).toBe("EIO");
    expect(await sync).toMatchObject({ code: "EIO", cause: { syscall: "write" } });
    expect(await codeOf(device.syncAll())).toBe("EIO");
    const back = new Uint8Array(1);
    await device.readExactAt(back, 0);
    expect(back[0]).toBe(0);
  });

  test("short transfers are continued", async () => {
    await using device = await withRules(
      { operation: "write", short: 512 },
      { operation: "read", short: 1024 },
    );
    expect(await device.writeAt(buffer, 0)).toBe(4096);
    const back = allocBuffer(4096);
    expect(await device.readAt(back, 0)).toBe(4096);
    expect(back).toEqual(buffer);
    expect(device.ring.stats().continuations).toBe(7 + 3);
  });

  test("what is reported of a coalesced vector is its contiguous beginning", async () => {
    const half = 512 * 1024;
    const size = 4 * half;
    await using device = await simulatedDevice({ size });
    const pieces = [new Uint8Array(100).fill(1), new Uint8Array(size - 100).fill(1)];
    using _ = device.faults.add({
      operation: "any",
      offset: half + 512,
      length: 512,
      error: "EIO",
    });
    // Four requests at once, of which only the second fails.
    for (const call of [device.writevAt(pieces, 0), device.readvAt(pieces, 0)]) {
      const error: unknown = await call.catch((reason) => reason);
      expect(error).toMatchObject({ code: "EIO", offset: 0, length: size, transferred: half });
    }
  });

  test("torn writes leave their beginning", async () => {
    await using device = await withRules({ operation: "write", torn: 700, nth: 1 });
    expect(await codeOf(device.writeAt(buffer, 0))).toBe("EIO");
    const back = new Uint8Array(4096);
    await device.readExactAt(back, 0);
    expect(back.lastIndexOf(1)).toBe(699);
    using _ = device.faults.add({ operation: "write", torn: 512, error: "ENOSPC" });
    expect(await codeOf(device.writeAt(buffer, 8192))).toBe("ENOSPC");
  });

  test("of any operations only those that change the medium are torn", async () => {
    await using device = await withRules({ operation: "any", torn: 512 });
    expect(await codeOf(device.syncAll())).toBe("ok");
    expect(await codeOf(device.readAt(target, 0))).toBe("ok");
    expect(await codeOf(device.discard(0, 4096))).toBe("EIO");
    expect(await codeOf(device.writeAt(buffer, 0))).toBe("EIO");
    const back = new Uint8Array(4096);
    await device.readExactAt(back, 0);
    expect(back.lastIndexOf(1)).toBe(511);
  });

  test("latency takes its time, in order of the times due, and keeps the process alive", async () => {
    await using device = await withRules({
      operation: "read",
      offset: 0,
      length: 512,
      latency: 30,
    });
    const order: string[] = [];
    const started = performance.now();
    await Promise.all([
      device.readAt(new Uint8Array(512), 0).then(() => order.push("slow")),
      device.readAt(new Uint8Array(512), 512).then(() => order.push("fast")),
    ]);
    expect(order).toEqual(["fast", "slow"]);
    expect(performance.now() - started).toBeGreaterThan(28);
    expect(device.ring.stats().inFlight).toBe(0);
  });

  test("a request that is due soon does not wait for one that was due later before it", async () => {
    await using device = await withRules(
      { operation: "read", offset: 0, length: 512, latency: 60_000 },
      { operation: "read", offset: 512, length: 512, latency: 5 },
    );
    const late = codeOf(device.readAt(new Uint8Array(512), 0));
    await new Promise((resolve) => setImmediate(resolve));
    expect(await codeOf(device.readAt(new Uint8Array(512), 512))).toBe("ok");
    await device.crash();
    expect(await late).toBe("ERR_DEVICE_GONE");
  });

  test("unplugged: in flight and after, everything is ERR_DEVICE_GONE", async () => {
    await using device = await withRules(
      { operation: "read", latency: 60_000 },
      { operation: "write", nth: 2, unplug: true },
    );
    const pending = codeOf(device.readAt(target, 0));
    expect(await codeOf(device.writeAt(buffer, 0))).toBe("ok");
    expect(await codeOf(device.writeAt(buffer, 0))).toBe("ERR_DEVICE_GONE");
    expect(await pending).toBe("ERR_DEVICE_GONE");
    const after = [
      device.readAt(new Uint8Array(9), 1),
      device.writeAt(buffer, 0),
      device.readvAt([target, target], 0),
      device.syncAll(),
      device.discard(0, 512),
      device.writeZeroes(0, 512),
      device.invalidateCache(),
    ];
    for (const code of await Promise.all(after.map(codeOf))) expect(code).toBe("ERR_DEVICE_GONE");
    // Said once, with what the system said.
    const error: unknown = await device.readAt(target, 0).catch((reason) => reason);
    expect((error as IoError).cause).toMatchObject({ code: "ENXIO" });
  });
});

test("a closed device takes no rules, and those it had are let go of quietly", async () => {
  const device = await simulatedDevice({ size: 4096 });
  const rule = device.faults.add({ operation: "read", error: "EIO" });
  await device.close();
  await device.ring.close();
  expect(() => device.faults.add({ operation: "read", error: "EIO" })).toThrow("EBADF");
  rule[Symbol.dispose]();
});

describe("a hung request", () => {
  test("ends when its rule is removed, and not before: with its true outcome", async () => {
    await using device = await withRules();
    const rule = device.faults.add({ operation: "write", offset: 4096, length: 4096, hang: true });
    const controller = new AbortController();
    const writes = [
      device.writeAt(buffer, 4096),
      device.writeAt(buffer, 4096, { timeout: 25 }),
      device.writeAt(buffer, 4096, { signal: controller.signal }),
    ];
    const covering = device.syncAll();
    await turns();
    controller.abort();
    // What does not touch it goes on.
    expect(await device.writeAt(buffer, 0)).toBe(4096);
    expect(await device.readAt(target, 4096)).toBe(4096);
    expect(target[0]).toBe(0);
    expect(await settles(Promise.race([...writes, covering]), 75)).toBe(false);
    rule[Symbol.dispose]();
    expect(await Promise.all(writes)).toEqual([4096, 4096, 4096]);
    await covering;
    expect(await device.readAt(target, 4096)).toBe(4096);
    expect(target[0]).toBe(1);
    expect(await device.writeAt(buffer, 4096)).toBe(4096);
  });

  test("of several rules waits for all, and then meets their other effects", async () => {
    await using device = await withRules();
    const first = device.faults.add({ operation: "any", hang: true, times: 1 });
    const second = device.faults.add({ operation: "read", hang: true, nth: 1, error: "EIO" });
    const read = device.readAt(target, 0);
    expect(await device.readAt(target, 0)).toBe(4096);
    first[Symbol.dispose]();
    expect(await settles(read, 20)).toBe(false);
    second[Symbol.dispose]();
    expect(await codeOf(read)).toBe("EIO");
  });

  test("is let go however many there are, and whenever the rule is removed", async () => {
    await using device = await withRules();
    const depth = device.ring.queueDepth;
    const many = (): Promise<number>[] =>
      Array.from({ length: 3 * depth }, () => device.readAt(new Uint8Array(512), 0));
    const rule = device.faults.add({ operation: "read", hang: true });
    const hung = many();
    await turns();
    rule[Symbol.dispose]();
    expect((await Promise.all(hung)).length).toBe(3 * depth);
    // Added, met and removed before anything has reached the device.
    for (let round = 0; round < 3; round++) {
      using _ = device.faults.add({ operation: "read", hang: true });
      hung.push(...many());
    }
    expect(await device.readAt(target, 0)).toBe(4096);
    await Promise.all(hung);
    // The next rule at that place hangs again.
    const again = device.faults.add({ operation: "read", hang: true });
    const read = device.readAt(target, 0);
    expect(await settles(read, 20)).toBe(false);
    again[Symbol.dispose]();
    expect(await read).toBe(4096);
  });

  test("ends with a crash, and when its device is disposed of; close waits for it", async () => {
    const device = await withRules();
    const rule = device.faults.add({ operation: "write", hang: true });
    const write = codeOf(device.writeAt(buffer, 0));
    const closing = device.close();
    expect(await settles(closing, 20)).toBe(false);
    rule[Symbol.dispose]();
    expect(await write).toBe("ok");
    await closing;
    const crashed = await withRules({ operation: "write", hang: true });
    const lost = codeOf(crashed.writeAt(buffer, 0));
    await turns();
    await crashed.crash();
    expect(await lost).toBe("ERR_DEVICE_GONE");
    await crashed.close();
    const left = await withRules({ operation: "write", hang: true });
    const writes = Array.from({ length: 300 }, () => codeOf(left.writeAt(buffer, 0)));
    await turns();
    await left[Symbol.asyncDispose]();
    expect(new Set(await Promise.all(writes))).toEqual(new Set(["ok"]));
  });

  test("does not keep a worker from ending", async () => {
    const { end, stdout } = await runCode(
      `
      const worker = new Worker("data:text/javascript," + encodeURIComponent(\`
        import { simulatedDevice } from ${JSON.stringify(testingPath)};
        const device = await simulatedDevice({ faults: [{ operation: "read", hang: true }] });
        void device.readAt(new Uint8Array(512), 0);
        await new Promise(setImmediate);
        postMessage("hung");
      \`));
      await new Promise((resolve) => (worker.onmessage = resolve));
      const start = performance.now();
      await worker.terminate();
      console.log(performance.now() - start < 900);`,
      { bare: true },
    );
    expect([end, stdout]).toEqual([0, "true\n"]);
  });
});

test("a slow region slows down what touches it", async () => {
  await using device = await withRules();
  using _ = device.faults.add({ operation: "read", offset: 8192, length: 4096, latency: 60 });
  const start = performance.now();
  const slow = device.readAt(target, 8192);
  await device.readAt(new Uint8Array(8192), 0);
  await device.writeAt(buffer, 8192);
  expect(await settles(slow, 0)).toBe(false);
  expect(await slow).toBe(4096);
  expect(performance.now() - start).toBeGreaterThan(55);
});

describe("wrong rules", () => {
  const wrong: [string, unknown][] = [
    ["rule", undefined],
    ["rule", { operation: "read" }],
    ["rule", { operation: "read", latency: 0 }],
    ["rule.operation", { operation: "reads", error: "EIO" }],
    ["rule.eror", { operation: "read", eror: "EIO" }],
    ["rule.error", { operation: "read", error: "EI0" }],
    ["rule.error", { operation: "read", error: "toString" }],
    ["rule.error", { operation: "read", error: 5 }],
    ["rule.error", { operation: "read", error: "EAGAIN" }],
    ["rule.error", { operation: "read", error: "EIO", crash: true }],
    ["rule.nth", { operation: "read", error: "EIO", nth: 0 }],
    ["rule.every", { operation: "read", error: "EIO", every: 1.5 }],
    ["rule.times", { operation: "read", error: "EIO", times: -1 }],
    ["rule.probability", { operation: "read", error: "EIO", probability: 0 }],
    ["rule.probability", { operation: "read", error: "EIO", probability: 1.1 }],
    ["rule.offset", { operation: "read", error: "EIO", offset: 4096 }],
    ["rule.offset", { operation: "sync", error: "EIO", offset: 0 }],
    ["rule.length", { operation: "read", error: "EIO", offset: 512, length: 4096 }],
    ["rule.short", { operation: "read", short: 100 }],
    ["rule.short", { operation: "read", short: 512, error: "EIO" }],
    ["rule.short", { operation: "sync", short: 512 }],
    ["rule.torn", { operation: "read", torn: 512 }],
    ["rule.latency", { operation: "read", latency: -1 }],
    ["rule.latency", { operation: "read", latency: "5" }],
    ["rule.unplug", { operation: "read", unplug: 1 }],
    ["rule.hang", { operation: "read", hang: 1 }],
    ["rule", { operation: "read", hang: false }],
    ["rule", { operation: "read", unplug: true, crash: true }],
  ];
  test.each(wrong)("%s is named", async (name, rule) => {
    await using device = await simulatedDevice({ size: 4096 });
    const add = (): Disposable => device.faults.add(rule as FaultRule);
    expect(add).toThrow(`"${name}"`);
    // Nothing was added.
    expect(await codeOf(device.readAt(target, 0))).toBe("ok");
  });
});
