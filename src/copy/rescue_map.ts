// `RescueMap`: what has been rescued of a medium, and what has not. Its text is the map file of GNU ddrescue (manual,
// "Mapfile structure").

import { argumentRange, argumentType, argumentValue } from "../common/argument_errors.ts";
import { checkInteger } from "../common/arguments.ts";
import { type ByteRange, checkByteRange } from "../common/byte_range.ts";

/**
 * State of a range, in the characters of ddrescue: `?` not tried, `*` failed and not trimmed, `/` failed and not
 * scraped (the read of a larger block failed; its sectors were not tried one by one), `-` bad, `+` rescued.
 */
export type RescueStatus = "?" | "*" | "/" | "-" | "+";

const STATUSES: ReadonlySet<unknown> = new Set<RescueStatus>(["?", "*", "/", "-", "+"]);
/** What is left to do, in the order in which it is done. */
const PHASES: readonly RescueStatus[] = ["?", "*", "/"];

const EVERYTHING: ByteRange = { offset: 0, length: Number.MAX_SAFE_INTEGER };

/** For `copy`: makes the map larger; what is new is `?`. */
export let extendMap: (map: RescueMap, size: number) => void;

/**
 * A map of the source of a rescue: a status for every byte.
 *
 * ```ts
 * const map = RescueMap.parse(await Bun.file("disk.map").text());
 * for (const { offset, length } of map.ranges("-")) console.log(offset, length);
 * await Bun.write("disk.map", map.toString());
 * ```
 */
export class RescueMap {
  /** Where ranges begin, ascending from 0; neighbours differ in status. Empty if the size is 0. */
  readonly #starts: number[] = [];
  readonly #statuses: RescueStatus[] = [];
  #size = 0;
  readonly #grows: boolean;

  static {
    extendMap = (map, size) => map.#extend(size);
  }

  /**
   * A map whose bytes are all `?`.
   *
   * @param size Size of the source in bytes. Default: 0, and the map grows as ranges are set.
   */
  constructor(size?: number) {
    this.#grows = size === undefined;
    if (size !== undefined) this.#extend(checkInteger("size", size, 0, Number.MAX_SAFE_INTEGER));
  }

  /**
   * Reads a map file of ddrescue or of `toString`. Comments are left out, and so is the status line: that says where
   * a run of ddrescue stood. Bytes before the first block are `?`. A block `?` that ends beyond 2^53 - 1, as ddrescue
   * writes for sources of unknown size, is cut there.
   *
   * @throws TypeError that names the first wrong line.
   */
  static parse(text: string): RescueMap {
    if (typeof text !== "string") throw argumentType("text", "a string", text);
    const map = new RescueMap(0);
    let hasStatusLine = false;
    for (const [index, whole] of text.split("\n").entries()) {
      const line = whole.replace(COMMENT, "").trim();
      if (line === "") continue;
      const problem = hasStatusLine ? map.#append(line) : problemOfStatusLine(line);
      if (problem !== undefined) throw malformed(index + 1, problem, line);
      hasStatusLine = true;
    }
    if (!hasStatusLine) {
      const line = text.split("\n").length;
      throw malformed(line, "is the last one, and there was no status line (`0x0 ?`)", "");
    }
    return map;
  }

  /** Size of the source in bytes, as far as the map knows it. */
  get size(): number {
    return this.#size;
  }

  /**
   * Sets the status of a range.
   *
   * @throws RangeError if the range ends beyond the map and the size was given, or read from a file.
   */
  set(range: ByteRange, status: RescueStatus): void {
    const { offset, length } = checkByteRange("range", range);
    checkStatus(status);
    if (length === 0) return;
    const end = offset + length;
    if (end > this.#size) {
      if (!this.#grows) {
        throw argumentRange("range", `within the ${this.#size} bytes of the map`, range);
      }
      this.#extend(end);
    }
    this.#assign(offset, end, status);
  }

  /**
   * The ranges of one status, or all ranges, ascending; with `within`, the parts of them in there. Neighbours of the
   * same status are one range. The map may be changed while they are gone through.
   */
  ranges(
    status?: RescueStatus,
    within?: ByteRange,
  ): Iterable<
    ByteRange & {
      /** That of every byte of the range. */
      readonly status: RescueStatus;
    }
  > {
    if (status !== undefined) checkStatus(status);
    const { offset, length } = within === undefined ? EVERYTHING : checkByteRange("within", within);
    return { [Symbol.iterator]: () => this.#ranges(offset, offset + length, status) };
  }

  /** The map file. Its status line makes ddrescue go on with what is left. */
  toString(): string {
    const lines = [
      "# Mapfile. Created by bun-aio",
      "# current_pos  current_status  current_pass",
      `${hex(this.#position())}     ${this.#phase()}               1`,
      "#      pos        size  status",
    ];
    for (const { offset, length, status } of this.ranges()) {
      lines.push(`${hex(offset)}  ${hex(length)}  ${status}`);
    }
    return `${lines.join("\n")}\n`;
  }

  *#ranges(
    start: number,
    limit: number,
    wanted: RescueStatus | undefined,
  ): Generator<ByteRange & { status: RescueStatus }, void, undefined> {
    // By position, not by index: the map may have changed since the last one.
    for (let offset = start; offset < Math.min(limit, this.#size); ) {
      const index = this.#indexAt(offset);
      const status = this.#statuses[index] ?? "?";
      const end = Math.min(this.#starts[index + 1] ?? this.#size, limit);
      if (wanted === undefined || status === wanted) yield { offset, length: end - offset, status };
      offset = end;
    }
  }

  #phase(): RescueStatus {
    if (this.#size === 0) return "?";
    return PHASES.find((status) => this.#statuses.includes(status)) ?? "+";
  }

  /** Where ddrescue is to go on: the first range of its phase. */
  #position(): number {
    return this.#starts[this.#statuses.indexOf(this.#phase())] ?? 0;
  }

  /** Index of the range with this position, which is below the size. */
  #indexAt(position: number): number {
    let low = 0;
    for (let high = this.#starts.length; high - low > 1; ) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] ?? Infinity) <= position) low = middle;
      else high = middle;
    }
    return low;
  }

  #extend(size: number): void {
    if (size <= this.#size) return;
    const from = this.#size;
    this.#size = size;
    if (this.#statuses.at(-1) === "?") return;
    this.#starts.push(from);
    this.#statuses.push("?");
  }

  /** Sets a range of at least one byte, within the size. */
  #assign(offset: number, end: number, status: RescueStatus): void {
    let first = this.#indexAt(offset);
    let last = this.#indexAt(end - 1);
    const before = this.#statuses[first];
    const after = this.#statuses[last];
    if (first === last && before === status) return;
    const starts: number[] = [];
    const statuses: RescueStatus[] = [];
    const add = (start: number, is: RescueStatus | undefined): void => {
      if (is === undefined || is === statuses.at(-1)) return;
      starts.push(start);
      statuses.push(is);
    };
    const start = this.#starts[first] ?? 0;
    const next = this.#starts[last + 1] ?? this.#size;
    if (start < offset) {
      add(start, before);
    } else if (first > 0) {
      // The neighbour may have the same status.
      first--;
      add(this.#starts[first] ?? 0, this.#statuses[first]);
    }
    add(offset, status);
    if (end < next) {
      add(end, after);
    } else if (last + 1 < this.#starts.length) {
      last++;
      add(end, this.#statuses[last]);
    }
    this.#starts.splice(first, last - first + 1, ...starts);
    this.#statuses.splice(first, last - first + 1, ...statuses);
  }

  /** Adds the block of a line; returns what is wrong with it. */
  #append(line: string): string | undefined {
    const [, position = "", length = "", status] = BLOCK_LINE.exec(line) ?? [];
    if (!isStatus(status)) return "is not a block line: position, size, and one of ? * / - +";
    const offset = Number(numberOf(position));
    const isFirst = this.#size === 0;
    if (isFirst ? !Number.isSafeInteger(offset) : offset !== this.#size) {
      return isFirst ? "begins above 2^53 - 1" : `must begin at ${hex(this.#size)}, without a gap`;
    }
    const end = numberOf(position) + numberOf(length);
    if (end > Number.MAX_SAFE_INTEGER && status !== "?") return "ends above 2^53 - 1";
    const size = Math.min(Number(end), Number.MAX_SAFE_INTEGER);
    if (size === offset) return undefined;
    this.#extend(size);
    this.#assign(offset, size, status);
    return undefined;
  }
}

/** A comment begins at the start of a line or after white space. */
const COMMENT = /(^|\s)#.*$/;
/** An integer as in C++: hexadecimal, octal or decimal. */
const INTEGER = "(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)";
const BLOCK_LINE = new RegExp(`^${INTEGER}\\s+${INTEGER}\\s*([?*/+-])$`);
/** Position, phase (F: filling, G: generating) and, since ddrescue 1.20, pass. */
const STATUS_LINE = new RegExp(`^${INTEGER}\\s*[?*/FG+-](\\s+0*[1-9][0-9]*)?$`);

function problemOfStatusLine(line: string): string | undefined {
  if (STATUS_LINE.test(line)) return undefined;
  return "is not a status line: position, one of ? * / - F G +, and the number of the pass";
}

function malformed(number: number, problem: string, line: string): TypeError {
  return argumentValue("text", `is not a ddrescue map file: line ${number} ${problem}`, line);
}

function isStatus(value: unknown): value is RescueStatus {
  return STATUSES.has(value);
}

function checkStatus(status: unknown): void {
  if (!isStatus(status)) throw argumentValue("status", "must be one of ? * / - +", status);
}

function numberOf(digits: string): bigint {
  const isOctal = digits.length > 1 && /^0\d/.test(digits);
  return BigInt(isOctal ? `0o${digits.slice(1)}` : digits);
}

function hex(value: number): string {
  return `0x${value.toString(16).toUpperCase().padStart(8, "0")}`;
}
