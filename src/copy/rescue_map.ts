// `RescueMap`: what has been rescued of a medium, and what has not. Its text is the map file of GNU ddrescue (manual,
// "Mapfile structure").

import { argumentRange, argumentType, argumentValue } from "../common/argument_errors.ts";
import { checkInteger } from "../common/arguments.ts";
import { type ByteRange, checkByteRange } from "../common/byte_range.ts";
import { type RescueStatus, StatusRanges } from "./status_ranges.ts";

const STATUSES: ReadonlySet<unknown> = new Set<RescueStatus>(["?", "*", "/", "-", "+"]);

const EVERYTHING: ByteRange = { offset: 0, length: Number.MAX_SAFE_INTEGER };

const contents = new WeakMap<RescueMap, StatusRanges>();

/** What a map holds. */
export function statusesOf(map: RescueMap): StatusRanges {
  const statuses = contents.get(map);
  if (statuses === undefined) throw new Error("bun-aio: internal error: no RescueMap");
  return statuses;
}

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
  readonly #statuses = new StatusRanges();
  readonly #grows: boolean;

  /**
   * A map whose bytes are all `?`.
   *
   * @param size Size of the source in bytes. Default: 0, and the map grows as ranges are set.
   */
  constructor(size?: number) {
    contents.set(this, this.#statuses);
    this.#grows = size === undefined;
    if (size !== undefined)
      this.#statuses.extend(checkInteger("size", size, 0, Number.MAX_SAFE_INTEGER));
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
    return this.#statuses.size;
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
    if (end > this.#statuses.size) {
      if (!this.#grows) {
        throw argumentRange("range", `within the ${this.#statuses.size} bytes of the map`, range);
      }
      this.#statuses.extend(end);
    }
    this.#statuses.assign(offset, end, status);
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
    return { [Symbol.iterator]: () => this.#statuses.between(offset, offset + length, status) };
  }

  /** The map file. Its status line makes ddrescue go on with what is left. */
  toString(): string {
    const lines = [
      "# Mapfile. Created by bun-aio",
      "# current_pos  current_status  current_pass",
      `${hex(this.#statuses.position)}     ${this.#statuses.phase}               1`,
      "#      pos        size  status",
    ];
    for (const { offset, length, status } of this.ranges()) {
      lines.push(`${hex(offset)}  ${hex(length)}  ${status}`);
    }
    return `${lines.join("\n")}\n`;
  }

  /** Adds the block of a line; returns what is wrong with it. */
  #append(line: string): string | undefined {
    const [, position = "", length = "", status] = BLOCK_LINE.exec(line) ?? [];
    if (!isStatus(status)) return "is not a block line: position, size, and one of ? * / - +";
    const offset = Number(numberOf(position));
    const isFirst = this.#statuses.size === 0;
    if (isFirst ? !Number.isSafeInteger(offset) : offset !== this.#statuses.size) {
      return isFirst
        ? "begins above 2^53 - 1"
        : `must begin at ${hex(this.#statuses.size)}, without a gap`;
    }
    const end = numberOf(position) + numberOf(length);
    if (end > Number.MAX_SAFE_INTEGER && status !== "?") return "ends above 2^53 - 1";
    const size = Math.min(Number(end), Number.MAX_SAFE_INTEGER);
    if (size === offset) return undefined;
    this.#statuses.extend(size);
    this.#statuses.assign(offset, size, status);
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
