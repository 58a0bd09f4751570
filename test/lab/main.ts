// `npm run lab`: the device tests on another kernel, with emulated disks.

import { parseArgs } from "node:util";
import { add, noCounts } from "../../scripts/suite/counts.ts";
import { KERNELS } from "./host/kernels.ts";
import { type LabOptions, lab } from "./lab.ts";
import { Matrix } from "./matrix.ts";

const HELP = `npm run lab -- [options]

  --kernel NAME    ${Object.keys(KERNELS).join(", ")} (default: distribution);
                   may be repeated
  --arch ARCH      x64 (default) or arm64
  --only NAME      only the files of test/lab/guest/tests whose names contain NAME; may be repeated
  --suite PATH     not those, but the files of the suite whose paths contain PATH (test/api/); may be repeated
  --backend NAME   io_uring or threads (default: both); may be repeated
  --record         puts what came of it into the table of docs/platforms.md
  --keep           leaves a shell of the machine on this terminal when the tests have ended

In the environment: LAB_CUTS, power cuts of each kind (default 10); LAB_MINUTES of the soak (default 0.25); LAB_SEED
replays what another run chose.
`;

const { values } = parseArgs({
  options: {
    kernel: { type: "string", multiple: true, default: ["distribution"] },
    arch: { type: "string", default: "x64" },
    only: { type: "string", multiple: true, default: [] },
    suite: { type: "string", multiple: true, default: [] },
    backend: { type: "string", multiple: true, default: ["io_uring", "threads"] },
    keep: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

function refuse(text: string): never {
  console.error(text);
  process.exit(2);
}

if (values.help) refuse(HELP);
const { arch, kernel: kernels } = values;
for (const kernel of kernels)
  if (!(kernel in KERNELS)) refuse(`no kernel is named ${kernel}\n\n${HELP}`);
if (arch !== "x64" && arch !== "arm64") refuse(`no architecture is named ${arch}\n\n${HELP}`);
const { only, suite, keep, backend: backends } = values;
const environment: Record<string, string> = {};
for (const name of ["LAB_CUTS", "LAB_MINUTES", "LAB_SEED"]) {
  const value = process.env[name];
  if (value !== undefined) environment[name] = value;
}
const say = (line: string): void => console.error(line);
const matrix = new Matrix();
const hear: LabOptions["hear"] = (release, backend, { cases }) =>
  matrix.add(release.replace(/^(\d+\.\d+).*/, "$1"), backend, cases);
const counts = noCounts();
for (const kernel of kernels)
  add(counts, await lab({ arch, kernel, only, suite, keep, backends, environment, say, hear }));
if (values.record) matrix.record();
if (counts.failures.length > 0)
  console.error(`\n== What failed\n\n${counts.failures.join("\n\n")}`);
console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed === 0 ? 0 : 1);
