// `bun-aio bench`: plausible numbers, refusals, and the chart.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { latencyChart } from "../../src/cli/chart.ts";
import { bunAio } from "../support/command.ts";
import { backend, faulty, noLinux, testUnless } from "../support/conditions.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

interface Side {
  operations: number;
  iops: number;
  bytes: number;
  bytesPerSecond: number;
  latencyUs: Record<string, number>;
  histogram: { upTo: number; count: number }[];
}

function checkSide(side: Side, bs: number, seconds: number): void {
  expect(side.operations).toBeGreaterThan(0);
  expect(side.bytes).toBe(side.operations * bs);
  expect(side.iops).toBeCloseTo(side.operations / seconds, 3);
  expect(side.bytesPerSecond).toBeCloseTo(side.iops * bs, 0);
  const { p50 = 0, p90 = 0, p99 = 0, "p99.9": p999 = 0, max = 0 } = side.latencyUs;
  const rising = [0, p50, p90, p99, p999, max];
  expect(rising.toSorted((a, b) => a - b)).toEqual(rising);
  expect(p50).toBeGreaterThan(0);
  const counted = side.histogram.reduce((sum, { count }) => sum + count, 0);
  // Injected faults make the rest of a transfer an operation of its own.
  if (!faulty) expect(counted).toBe(side.operations);
}

describe("bench", () => {
  test("reads a file: JSON whose numbers agree", async () => {
    using dir = new TempDir();
    const path = dir.file("file", pattern(2 ** 20));
    const args = ["bench", path, "--seconds", "0.3", "--depth", "8", "--json", "-q"];
    const { end, stdout, stderr } = await bunAio(args);
    expect(end).toBe(0);
    expect(stderr.replace(/^warning: .*\n/, "")).toBe("");
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ rw: "randread", bs: 4096, depth: 8, backend, write: null });
    expect(result.seconds).toBeGreaterThan(0.29);
    checkSide(result.read, 4096, result.seconds);
  });

  test("reads and writes a file of its own, which it removes; a table and a chart", async () => {
    using dir = new TempDir();
    const path = dir.file("scratch");
    const svg = dir.file("latency.svg");
    const args = ["bench", path, "--rw", "randrw", "--size", "1M", "--seconds", "0.3"];
    const { end, stdout, stderr } = await bunAio([...args, "--svg", svg]);
    expect(end).toBe(0);
    expect(stderr).toContain("it is removed afterwards");
    expect(existsSync(path)).toBe(false);
    expect(stdout).toMatch(/^randrw .*: 4 KiB, depth 32, /);
    expect(stdout).toMatch(/IOPS +bandwidth +operations +p50 +p90 +p99 +p99.9 +max/);
    expect(stdout).toMatch(/^read +[\d,]+ +[\d.]+ \w+\/s/m);
    expect(stdout).toMatch(/^write +[\d,]+ +[\d.]+ \w+\/s/m);
    const drawn = readFileSync(svg, "utf8");
    expect(drawn).toStartWith("<svg ");
    expect(drawn.match(/<polyline /g)?.length).toBe(2);
    expect(drawn).not.toContain("NaN");
  });

  test("in order, through the page cache", async () => {
    using dir = new TempDir();
    const args = ["bench", dir.file("scratch"), "--rw", "write", "--bs", "64k", "--size", "1M"];
    const more = ["--seconds", "0.2", "--buffered", "--json", "-q"];
    const { end, stdout, stderr } = await bunAio([...args, ...more]);
    expect([end, stderr]).toEqual([0, ""]);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ rw: "write", direct: false, read: null, regionBytes: 2 ** 20 });
    checkSide(result.write, 65536, result.seconds);
    expect(result.syncMs).toBeGreaterThanOrEqual(0);
  });

  test("writes over nothing without --yes", async () => {
    using dir = new TempDir();
    const bytes = pattern(65536);
    const path = dir.file("file", bytes);
    for (const mode of ["write", "randwrite", "randrw"]) {
      const { end, stdout, stderr } = await bunAio(["bench", path, "--rw", mode]);
      expect([end, stdout]).toEqual([3, ""]);
      expect(stderr).toContain("destroys the contents");
    }
    expect(Buffer.compare(readFileSync(path), bytes)).toBe(0);
    const done = await bunAio([
      "bench",
      path,
      "--rw",
      "write",
      "--bs",
      "4k",
      "--seconds",
      "0.1",
      "-yq",
    ]);
    expect(done.end).toBe(0);
    expect(Buffer.compare(readFileSync(path), bytes)).not.toBe(0);
  });

  test("refuses what cannot be measured", async () => {
    using dir = new TempDir();
    const path = dir.file("small", "few bytes");
    const link = dir.file("link");
    symlinkSync(path, link);
    const cases: [string[], string][] = [
      [[path], "less than --bs 4096"],
      [["/dev/zero"], "neither a file nor a disk"],
      [[path, "--bs", "1G", "--depth", "2"], "too much memory"],
      [[path, "--svg", "/dev/null"], "is not a regular file"],
      [[path, "--svg", path], "is the same file as PATH"],
      [[path, "--svg", link], "is the same file as PATH"],
      [[dir.file("none"), "--svg", dir.file("none")], "is the same file as PATH"],
      [[path, "--svg", dir.file("no-folder/chart.svg")], "ENOENT"],
      [[path, "--seconds", "0"], '--seconds: "0" is not a number'],
    ];
    const results = await Promise.all(cases.map(([args]) => bunAio(["bench", ...args])));
    results.forEach(({ end, stdout, stderr }, index) => {
      expect([end, stdout]).toEqual([2, ""]);
      expect(stderr).toContain(cases[index]?.[1] ?? "?");
    });
    expect(readFileSync(path, "utf8")).toBe("few bytes");
    expect(existsSync(dir.file("none"))).toBe(false);
  });

  testUnless(
    noLinux,
    "a file that cannot be made is the error, not that it cannot be removed",
    async () => {
      const { end, stderr } = await bunAio(["bench", "/proc/bun-aio-none"]);
      expect(end).toBe(1);
      expect(stderr).toMatch(/^error: ENOENT: .*open '\/proc\/bun-aio-none'/);
    },
  );
});

describe("the latency chart", () => {
  test("is well-formed whatever the title, and stays inside its frame", () => {
    const buckets = [
      { upTo: 10, count: 900 },
      { upTo: 100, count: 99 },
      { upTo: 12_000, count: 1 },
    ];
    const drawn = latencyChart({
      title: 'read "a" & <b>\x1b',
      series: [{ name: "read", buckets, marks: [{ name: "p50", us: 10 }] }],
    });
    expect(drawn).toContain("read &quot;a&quot; &amp; &lt;b&gt;?");
    const points = /points="([^"]+)"/.exec(drawn)?.[1]?.split(/[ ,]/).map(Number) ?? [];
    expect(points.length).toBe(12);
    points.forEach((value, index) => {
      expect(value).toBeGreaterThanOrEqual(index % 2 === 0 ? 76 : 64);
      expect(value).toBeLessThanOrEqual(index % 2 === 0 ? 836 : 404);
    });
  });

  test("holds a single operation", () => {
    const series = [{ name: "read", buckets: [{ upTo: 0.3, count: 1 }], marks: [] }];
    expect(latencyChart({ title: "one", series })).not.toMatch(/NaN|Infinity/);
  });
});
