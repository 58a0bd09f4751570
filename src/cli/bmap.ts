// Block maps: which blocks of an image hold data, with a SHA-256 of each range. `bmaptool create` makes them
// (bmap-tools, format 2.0).

import { readFile } from "node:fs/promises";
import { totalLength } from "../common/byte_range.ts";
import type { CopyRange } from "../copy/ranges.ts";
import type { Job } from "./copy_job.ts";
import { Exit, failure, Stop, usage } from "./exit.ts";
import { pathOf, statOf } from "./raw_words.ts";
import type { Source } from "./source.ts";
import { printable, say } from "./terminal.ts";
import { formatSize, grouped } from "./units.ts";

export interface BlockMap {
  readonly path: string;
  readonly size: number;
  readonly ranges: readonly CopyRange[];
}

/** Names that say how a file is packed: image.wic.gz has the block map image.wic.bmap, too. */
const PACKED_NAME = /\.(gz|zst|xz|bz2|zip)$/i;

/**
 * The block map that was given, or stands beside the source.
 *
 * @throws Stop if it cannot be read, is damaged, or is that of another image.
 */
export async function blockMapFor(job: Job, { end }: Source): Promise<BlockMap | undefined> {
  const path = job.bmap ?? (await pathBeside(job));
  if (path === undefined) return undefined;
  const map = { path, ...parseBlockMap(await readFile(pathOf(path), "utf8"), printable(path)) };
  if (end !== undefined && end !== map.size) {
    throw unfit(
      path,
      `describes an image of ${map.size} bytes, but ${printable(job.source)} has ${end}`,
    );
  }
  refuseCut(job, map);
  if (!job.quiet) {
    const shares = `${formatSize(totalLength(map.ranges))} of ${formatSize(map.size)}`;
    say(`copying the ranges in ${printable(path)}: ${shares}; --no-bmap copies everything`);
  }
  return map;
}

async function pathBeside({ source, ...job }: Job): Promise<string | undefined> {
  const isPart = job.skip > 0 || job.seek > 0 || job.length !== undefined;
  if (job.noBmap || job.raw || job.rescue || isPart || source === "-") return undefined;
  const names = [`${source}.bmap`];
  if (PACKED_NAME.test(source)) names.push(source.replace(PACKED_NAME, ".bmap"));
  for (const name of names) {
    if ((await statOf(name))?.isFile() === true) return name;
  }
  return undefined;
}

/** A checksum is of a whole range. */
function refuseCut({ skip, length = Infinity }: Job, { path, ranges }: BlockMap): void {
  for (const edge of [skip, skip + length]) {
    const cut = ranges.find((range) => range.offset < edge && edge < range.offset + range.length);
    if (cut === undefined) continue;
    const range = `${grouped(cut.offset)} to ${grouped(cut.offset + cut.length)}`;
    throw usage(`a copy that begins or ends at ${grouped(edge)} cuts a range of ${path}: ${range}`);
  }
}

function unfit(path: string, why: string): Stop {
  return new Stop(
    Exit.differs,
    `${printable(path)} ${why}`,
    "Make it again with bmaptool create, or copy everything with --no-bmap",
  );
}

// The file -------------------------------------------------------------------------------------------------

/**
 * The ranges of a file, which is XML. `name` appears in errors.
 *
 * @throws Stop
 */
function parseBlockMap(text: string, name: string): Omit<BlockMap, "path"> {
  const xml = text.replace(/<!--.*?-->/gs, "");
  const version = /<bmap\s[^>]*version="(\d+)\.(\d+)"/.exec(xml);
  if (version === null) throw failure(`${name} is not a block map`);
  if (version[1] !== "2" || fieldOf(xml, "ChecksumType", name) !== "sha256") {
    throw unfit(name, "does not have the format bmap 2.0 with SHA-256");
  }
  const sum = fieldOf(xml, "BmapFileChecksum", name);
  const bytes = text.replace(sum, "0".repeat(sum.length));
  if (new Bun.CryptoHasher("sha256").update(bytes).digest("hex") !== sum.toLowerCase()) {
    throw unfit(name, "is damaged: its checksum does not match");
  }
  const number = (field: string): number => Number(fieldOf(xml, field, name));
  const [size, block, blocks] = [number("ImageSize"), number("BlockSize"), number("BlocksCount")];
  const ranges: CopyRange[] = [];
  let next = 0;
  for (const [, attributes = "", content = ""] of xml.matchAll(
    /<Range\b([^>]*)>([^<]*)<\/Range>/g,
  )) {
    const [first = Number.NaN, last = first] = content.split("-").map(Number);
    if (!(first >= next && last >= first && last < blocks)) {
      throw unfit(name, `has an invalid range: ${content.trim()}`);
    }
    next = last + 1;
    const offset = first * block;
    const length = Math.min(next * block, size) - offset;
    ranges.push({ offset, length, sha256: /\bchksum="([^"]*)"/.exec(attributes)?.[1] });
  }
  const mapped = ranges.reduce((sum, { length }) => sum + Math.ceil(length / block), 0);
  if (mapped !== number("MappedBlocksCount") || blocks !== Math.ceil(size / block)) {
    throw unfit(name, "has ranges that do not match its block counts");
  }
  return { size, ranges };
}

function fieldOf(xml: string, field: string, name: string): string {
  const found = new RegExp(`<${field}>\\s*([^<\\s]+)\\s*</${field}>`).exec(xml)?.[1];
  if (found === undefined) throw unfit(name, `has no ${field}`);
  return found;
}
