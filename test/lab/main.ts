// `npm run lab`: the device tests on another kernel, with emulated disks.

import { parseArgs } from "node:util";
import { KERNELS } from "./host/kernels.ts";
import { lab } from "./lab.ts";

const HELP = `npm run lab -- [options]

  --kernel NAME    ${Object.keys(KERNELS).join(", ")} (default: distribution)
  --arch ARCH      x64 (default) or arm64
  --only NAME      only the files of test/lab/guest/tests whose names contain NAME; may be repeated
  --backend NAME   io_uring or threads (default: both); may be repeated
  --keep           leaves a shell of the machine on this terminal when the tests have ended
`;

const { values } = parseArgs({
  options: {
    kernel: { type: "string", default: "distribution" },
    arch: { type: "string", default: "x64" },
    only: { type: "string", multiple: true, default: [] },
    backend: { type: "string", multiple: true, default: ["io_uring", "threads"] },
    keep: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

function refuse(text: string): never {
  console.error(text);
  process.exit(2);
}

if (values.help) refuse(HELP);
const { arch, kernel } = values;
if (!(kernel in KERNELS)) refuse(`no kernel is named ${kernel}\n\n${HELP}`);
if (arch !== "x64" && arch !== "arm64") refuse(`no architecture is named ${arch}\n\n${HELP}`);
const { only, keep, backend: backends } = values;
const counts = await lab({
  arch,
  kernel,
  only,
  keep,
  backends,
  say: (line) => console.error(line),
});
if (counts.failures.length > 0)
  console.error(`\n== What failed\n\n${counts.failures.join("\n\n")}`);
console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed === 0 ? 0 : 1);
