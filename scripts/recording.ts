// Draws docs/copy.svg: what a terminal shows of `bun-aio copy` onto a disk, from a real run on a loop device. Needs
// root, Linux and mkfs.ext4:
//
//   bun scripts/recording.ts

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Session } from "../test/support/command.ts";
import { LoopDevice } from "../test/support/control.ts";
import { TempDir } from "../test/support/temp.ts";

const COLUMNS = 100;
const IMAGE_BYTES = 512 << 20;
const DISK_BYTES = 1 << 30;
const TEXT_X = 16;
const LINE_PX = 20;
const CHARACTER_PX = 8.43;

/** Answers the question with yes; returns everything that was drawn. */
async function record(folder: string): Promise<string> {
  const image = join(folder, "image.img");
  const bytes = new Uint8Array(IMAGE_BYTES);
  for (let at = 0; at < IMAGE_BYTES; at += 65536)
    crypto.getRandomValues(bytes.subarray(at, at + 65536));
  writeFileSync(image, bytes);
  const disk = join(folder, "disk");
  Bun.spawnSync(["truncate", "-s", String(DISK_BYTES), disk]);
  Bun.spawnSync(["mkfs.ext4", "-q", "-L", "photos", disk]);
  using loop = new LoopDevice(disk);
  // As on a disk, what is read back does not come from memory.
  Bun.spawnSync(["losetup", "--direct-io=on", loop.path]);
  await using session = new Session(
    ["copy", "image.img", loop.path, "--verify"],
    {},
    ["env", "-C", folder],
    COLUMNS,
  );
  await session.until(/Type "yes" to go on: /);
  session.type("yes\n");
  const code = await session.end();
  if (code !== 0) throw new Error(`the copy ended with ${code}:\n${session.screen}`);
  const shown = session.screen.replaceAll(`${folder}/`, "");
  return `$ bun-aio copy image.img ${loop.path} --verify\n${shown}`;
}

/** The lines that are there in the end. */
function lines(screen: string): string[] {
  return Bun.stripANSI(screen.replaceAll("\x1b[1G", "\r"))
    .split(/\r?\n/)
    .map((line) =>
      (
        line
          .split("\r")
          .filter((part) => part !== "")
          .at(-1) ?? ""
      ).trimEnd(),
    )
    .join("\n")
    .trim()
    .split("\n");
}

function classOf(line: string): string {
  if (line.startsWith("$")) return "command";
  if (line.includes("█")) return "bar";
  if (/^(Overwrite|copied)/.test(line)) return "strong";
  return "plain";
}

function svg(shown: readonly string[]): string {
  const longest = Math.max(...shown.map((line) => line.length));
  const width = Math.ceil(longest * CHARACTER_PX + 2 * TEXT_X);
  const height = shown.length * LINE_PX + 2 * TEXT_X;
  const texts = shown.map((line, index) => {
    const y = TEXT_X + (index + 0.75) * LINE_PX;
    return `<text class="${classOf(line)}" x="${TEXT_X}" y="${y}">${Bun.escapeHTML(line)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>bun-aio copy shows what would be overwritten, asks, copies, and verifies</title>
<style>
rect { fill: #f6f8fa; stroke: #d0d7de }
text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre; fill: #1f2328 }
.command { fill: #0550ae; font-weight: 600 }
.bar { fill: #116329 }
.strong { font-weight: 600 }
@media (prefers-color-scheme: dark) {
rect { fill: #161b22; stroke: #30363d }
text { fill: #e6edf3 }
.command { fill: #79c0ff }
.bar { fill: #7ee787 }
}
</style>
<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>
${texts.join("\n")}
</svg>
`;
}

using folder = new TempDir();
const shown = lines(await record(folder.path));
writeFileSync(join(import.meta.dir, "..", "docs", "copy.svg"), svg(shown));
console.log(shown.join("\n"));
