// RescueMap: a status for every byte, and the map file of GNU ddrescue. Its own programs are the witnesses.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { RescueMap, type RescueStatus } from "../../src/index.ts";
import { testUnless, without } from "../support/conditions.ts";
import { wrong } from "../support/expect.ts";
import { TempDir } from "../support/temp.ts";

const STATUSES: readonly RescueStatus[] = ["?", "*", "/", "-", "+"];

function blocks(map: RescueMap): [number, number, RescueStatus][] {
  return [...map.ranges()].map(({ offset, length, status }) => [offset, length, status]);
}

function thrownBy(run: () => unknown): Error & { code?: string } {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not throw");
}

/** Output of a program, which must succeed. */
function output(...command: string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command);
  expect(`${stderr}${exitCode}`).toBe("0");
  return stdout.toString();
}

describe("statuses", () => {
  test("a new map is not tried; ranges are set, split and joined", () => {
    const map = new RescueMap(1000);
    expect(map.size).toBe(1000);
    expect(blocks(map)).toEqual([[0, 1000, "?"]]);
    map.set({ offset: 100, length: 100 }, "+");
    map.set({ offset: 200, length: 10 }, "-");
    map.set({ offset: 210, length: 790 }, "+");
    map.set({ offset: 200, length: 0 }, "*");
    expect(blocks(map)).toEqual([
      [0, 100, "?"],
      [100, 100, "+"],
      [200, 10, "-"],
      [210, 790, "+"],
    ]);
    expect([...map.ranges("-")]).toEqual([{ offset: 200, length: 10, status: "-" }]);
    map.set({ offset: 200, length: 10 }, "+");
    expect(blocks(map)).toEqual([
      [0, 100, "?"],
      [100, 900, "+"],
    ]);
    expect([...map.ranges("/")]).toEqual([]);
  });

  test("without a size it grows; what lies between is not tried", () => {
    const map = new RescueMap();
    expect([map.size, blocks(map)]).toEqual([0, []]);
    map.set({ offset: 512, length: 512 }, "-");
    map.set({ offset: 4096, length: 512 }, "+");
    expect(map.size).toBe(4608);
    expect(blocks(map)).toEqual([
      [0, 512, "?"],
      [512, 512, "-"],
      [1024, 3072, "?"],
      [4096, 512, "+"],
    ]);
    const untried = new RescueMap();
    for (const offset of [0, 1024]) untried.set({ offset, length: 512 }, "?");
    expect(blocks(untried)).toEqual([[0, 1536, "?"]]);
  });

  test("parts of ranges within a range", () => {
    const map = new RescueMap(1000);
    map.set({ offset: 100, length: 100 }, "+");
    const within = { offset: 50, length: 100 };
    expect([...map.ranges(undefined, within)]).toEqual([
      { offset: 50, length: 50, status: "?" },
      { offset: 100, length: 50, status: "+" },
    ]);
    expect([...map.ranges("+", within)]).toEqual([{ offset: 100, length: 50, status: "+" }]);
    expect([...map.ranges("?", { offset: 900, length: 5000 })]).toEqual([
      { offset: 900, length: 100, status: "?" },
    ]);
    expect([...map.ranges(undefined, { offset: 5000, length: 10 })]).toEqual([]);
  });

  test("ranges may be changed while they are gone through", () => {
    const map = new RescueMap(8192);
    for (let offset = 0; offset < 8192; offset += 1024) map.set({ offset, length: 512 }, "-");
    const seen: number[] = [];
    for (const range of map.ranges("-")) {
      seen.push(range.offset);
      map.set(range, "?");
    }
    expect(seen).toEqual([0, 1024, 2048, 3072, 4096, 5120, 6144, 7168]);
    expect(blocks(map)).toEqual([[0, 8192, "?"]]);
  });

  test("any changes, against an array with a status for each byte", () => {
    const size = 40;
    const change = fc.record({
      offset: fc.nat(size - 1),
      length: fc.nat(size),
      status: fc.constantFrom(...STATUSES),
    });
    fc.assert(
      fc.property(fc.boolean(), fc.array(change, { maxLength: 30 }), (grows, changes) => {
        const map = grows ? new RescueMap() : new RescueMap(size);
        const model: RescueStatus[] = new Array(grows ? 0 : size).fill("?");
        for (const { offset, length: wanted, status } of changes) {
          const length = Math.min(wanted, size - offset);
          map.set({ offset, length }, status);
          if (length === 0) continue;
          while (model.length < offset + length) model.push("?");
          model.fill(status, offset, offset + length);
        }
        expect(map.size).toBe(model.length);
        const flat = blocks(map).flatMap(([, length, status]) => new Array(length).fill(status));
        expect(flat).toEqual(model);
        let at = 0;
        let before: RescueStatus | undefined;
        for (const [offset, length, status] of blocks(map)) {
          expect([offset, status === before, length > 0]).toEqual([at, false, true]);
          at += length;
          before = status;
        }
        for (const status of STATUSES) {
          const some = blocks(map).filter(([, , is]) => is === status);
          expect([...map.ranges(status)].map((r) => [r.offset, r.length, r.status])).toEqual(some);
        }
        expect(blocks(RescueMap.parse(map.toString()))).toEqual(blocks(map));
      }),
    );
  });

  test("wrong arguments are named", () => {
    const map = new RescueMap(1000);
    const calls: [() => unknown, string, string][] = [
      [() => new RescueMap(-1), "ERR_OUT_OF_RANGE", '"size"'],
      [() => new RescueMap(wrong("1")), "ERR_INVALID_ARG_TYPE", '"size"'],
      [() => map.set({ offset: 990, length: 11 }, "+"), "ERR_OUT_OF_RANGE", "1000 bytes"],
      [() => map.set({ offset: 0.5, length: 1 }, "+"), "ERR_OUT_OF_RANGE", '"range.offset"'],
      [() => map.set({ offset: 0, length: -1 }, "+"), "ERR_OUT_OF_RANGE", '"range.length"'],
      [
        () => new RescueMap().set({ offset: 1, length: Number.MAX_SAFE_INTEGER }, "+"),
        "ERR_OUT_OF_RANGE",
        '"range.length"',
      ],
      [() => map.set(wrong(null), "+"), "ERR_INVALID_ARG_TYPE", '"range"'],
      [() => map.set({ offset: 0, length: 1 }, wrong("x")), "ERR_INVALID_ARG_VALUE", '"status"'],
      [() => map.ranges(wrong("?*")), "ERR_INVALID_ARG_VALUE", '"status"'],
      [() => map.ranges("?", wrong(1)), "ERR_INVALID_ARG_TYPE", '"within"'],
      [() => RescueMap.parse(wrong(1)), "ERR_INVALID_ARG_TYPE", '"text"'],
    ];
    for (const [call, code, words] of calls) {
      const error = thrownBy(call);
      expect(error.code).toBe(code);
      expect(error.message).toContain(words);
    }
    expect(blocks(map)).toEqual([[0, 1000, "?"]]);
  });
});

describe("the map file", () => {
  test("comments, empty lines, and hexadecimal, octal and decimal numbers", () => {
    const text = [
      "# Mapfile. Created by GNU ddrescue version 1.27",
      "# Command line: ddrescue -d /dev/fd0 fdimage mapfile",
      "",
      "0x00120000     *               2   # the position",
      "#      pos        size  status",
      "0 0X100 +",
      "\t256\t0400   -\t# octal",
      "  0x200 00 /",
      "# between",
      "512 100 *\r",
      "612 0x1f /",
      "643 1 ?",
    ].join("\n");
    const map = RescueMap.parse(text);
    expect(map.size).toBe(644);
    expect(blocks(map)).toEqual([
      [0, 256, "+"],
      [256, 256, "-"],
      [512, 100, "*"],
      [612, 31, "/"],
      [643, 1, "?"],
    ]);
  });

  test("status lines of all phases, old and new", () => {
    for (const status of "?*/-FG+") {
      for (const pass of ["", " 1", "  12  # comment"]) {
        const map = RescueMap.parse(`0x10 ${status}${pass}\n0 512 +\n`);
        expect(blocks(map)).toEqual([[0, 512, "+"]]);
      }
    }
    expect(blocks(RescueMap.parse("0x0 ?\n"))).toEqual([]);
    expect(blocks(RescueMap.parse(new RescueMap().toString()))).toEqual([]);
  });

  test("blocks begin anywhere, and may end where nobody knows", () => {
    expect(blocks(RescueMap.parse("0 +\n0x200 0x200 +\n"))).toEqual([
      [0, 512, "?"],
      [512, 512, "+"],
    ]);
    const open = RescueMap.parse("0 +\n0 0x11170 +\n0x11170 0x7FFFFFFFFFFEEE8F ?\n");
    expect(open.size).toBe(Number.MAX_SAFE_INTEGER);
    expect(blocks(open)[0]).toEqual([0, 70_000, "+"]);
    const largest = Number.MAX_SAFE_INTEGER;
    expect(blocks(RescueMap.parse(`0 +\n0 ${largest} +\n`))).toEqual([[0, largest, "+"]]);
  });

  test("malformed text is refused, and the line is named", () => {
    const texts: [string, number][] = [
      ["", 1],
      ["# nothing but a comment\n", 2],
      ["0x0 0x100 ?\n", 1],
      ["#\n0x0 x 1\n", 2],
      ["0x0 ? 0\n", 1],
      ["0x0 ? -1\n", 1],
      ["0x0 ? 1 2\n", 1],
      ["0x0 ?\n\n0x0 0x100 x\n", 3],
      ["0x0 ?\n0x0 0x100 F\n", 2],
      ["0x0 ?\n0x0 0x100\n", 2],
      ["0x0 ?\n0x0 0x100 ?*\n", 2],
      ["0x0 ?\n0x0 1k ?\n", 2],
      ["0x0 ?\n0x0 089 ?\n", 2],
      ["0x0 ?\n0x0 -1 ?\n", 2],
      ["0x0 ?\n0x0 0x ?\n", 2],
      ["0x0 ?\n0x0 0x100#comment ?\n", 2],
      ["0x0 ?\n0x0 0x100 ?\n# gap\n0x200 0x100 +\n", 4],
      ["0x0 ?\n0x0 0x100 ?\n0x80 0x100 +\n", 3],
      ["0x0 ?\n0x0 0x100 ?\n0x0 0x0 +\n", 3],
      ["0x0 ?\n0x0 0x7FFFFFFFFFFFFFFF +\n", 2],
      ["0x0 ?\n0x7FFFFFFFFFFFFFFF 1 ?\n", 2],
    ];
    for (const [text, line] of texts) {
      const error = thrownBy(() => RescueMap.parse(text));
      expect(`${JSON.stringify(text)} ${error.message}`).toContain(` line ${line} `);
      expect(error.code).toBe("ERR_INVALID_ARG_VALUE");
    }
  });

  test("a map of many ranges", () => {
    const count = 50_000;
    const map = new RescueMap(count * 1024);
    for (let i = 0; i < count; i++) map.set({ offset: i * 1024, length: 512 }, "-");
    const again = RescueMap.parse(map.toString());
    expect([...again.ranges("-")].length).toBe(count);
    expect(again.toString()).toBe(map.toString());
  });
});

describe("ddrescue", () => {
  testUnless(without("ddrescuelog"), "its ddrescuelog reads ours, and counts the same", () => {
    using folder = new TempDir();
    const map = new RescueMap(1 << 20);
    for (const [index, status] of STATUSES.entries()) {
      map.set({ offset: index * 4096, length: 4096 - index * 512 }, status);
    }
    const path = folder.file("map", map.toString());
    for (const status of STATUSES) {
      const sectors = output("ddrescuelog", `--list-blocks=${status}`, path).trim().split("\n");
      let ours = 0;
      for (const { length } of map.ranges(status)) ours += length / 512;
      expect(sectors.length).toBe(ours);
    }
    expect(output("ddrescuelog", "-t", path)).toContain("current status: copying");
    expect(Bun.spawnSync(["ddrescuelog", "-D", path]).exitCode).toBe(1);
    map.set({ offset: 0, length: map.size }, "+");
    expect(output("ddrescuelog", "-D", folder.file("done", map.toString()))).toBe("");
  });

  testUnless(without("ddrescuelog"), "its ddrescuelog writes what we read", () => {
    using folder = new TempDir();
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(fc.nat(127), fc.integer({ min: 1, max: 64 }), fc.constantFrom(...STATUSES)),
        ),
        (changes) => {
          const map = new RescueMap(192 * 512);
          for (const [sector, count, status] of changes) {
            map.set({ offset: sector * 512, length: count * 512 }, status);
          }
          const path = folder.file("map", map.toString());
          // Annotated with comments, and with its own status line.
          const theirs = RescueMap.parse(output("ddrescuelog", "-A", path));
          expect(blocks(theirs)).toEqual(blocks(map));
        },
      ),
      { numRuns: 20 },
    );
  });

  testUnless(without("ddrescue"), "goes on with our map, and leaves alone what is rescued", () => {
    using folder = new TempDir();
    const source = folder.file("source", new Uint8Array(65_536).fill(7));
    const target = folder.file("target", new Uint8Array(65_536));
    const map = new RescueMap(65_536);
    map.set({ offset: 0, length: 4096 }, "+");
    map.set({ offset: 8192, length: 4096 }, "/");
    map.set({ offset: 16_384, length: 512 }, "*");
    map.set({ offset: 20_480, length: 512 }, "-");
    const path = folder.file("map", map.toString());
    output("ddrescue", "-q", source, target, path);
    const after = RescueMap.parse(readFileSync(path, "utf8"));
    expect(blocks(after)).toEqual([
      [0, 20_480, "+"],
      [20_480, 512, "-"],
      [20_992, 44_544, "+"],
    ]);
    const copied = readFileSync(target);
    expect([copied[4095], copied[4096], copied[20_479], copied[20_480]]).toEqual([0, 7, 7, 0]);
    output("ddrescue", "-q", "-r1", source, target, path);
    expect(blocks(RescueMap.parse(readFileSync(path, "utf8")))).toEqual([[0, 65_536, "+"]]);
  });
});
