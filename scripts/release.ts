// `npm run release [-- --dry-run]`: checks that what is here can be released, packs and tests it, then
// tags and publishes. See docs/versioning.md. A dry run changes nothing but build output.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";

const root = dirname(import.meta.dir);
const { values } = parseArgs({ options: { "dry-run": { type: "boolean", default: false } } });
const dryRun = values["dry-run"];

function output(command: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], { cwd: root });
  if (exitCode === 0) return stdout.toString().trim();
  throw new Error(`${command.join(" ")} failed:\n${stdout}${stderr}`);
}

function run(command: readonly string[], environment: Record<string, string> = {}): void {
  console.log(`$ ${command.join(" ")}`);
  const { exitCode } = Bun.spawnSync([...command], {
    cwd: root,
    env: { ...process.env, ...environment },
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (exitCode !== 0) throw new Error(`${command.join(" ")} failed`);
}

const { name, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
const changelog = readFileSync(join(root, "CHANGELOG.md"), "utf8");
const tag = `v${version}`;

function unreleased(): string {
  return /^## \[Unreleased\]\n([\s\S]*?)(?=^## \[|(?![\s\S]))/m.exec(changelog)?.[1]?.trim() ?? "";
}

const checks: { what: string; problem: () => string | undefined }[] = [
  {
    what: "the tree is clean",
    problem: () => output(["git", "status", "--porcelain"]) || undefined,
  },
  {
    what: "the branch is main",
    problem: () => {
      const branch = output(["git", "branch", "--show-current"]);
      return branch === "main" ? undefined : `it is ${branch}`;
    },
  },
  {
    what: `the version ${version} is a version, and that of the lock file`,
    problem: () => {
      if (!/^\d+\.\d+\.\d+(-[0-9a-z.-]+)?$/.test(version)) return "it is none";
      return lock.version === version ? undefined : `package-lock.json says ${lock.version}`;
    },
  },
  {
    what: `${tag} does not exist`,
    problem: () => (output(["git", "tag", "--list", tag]) === "" ? undefined : "it does"),
  },
  {
    what: `CHANGELOG.md has an entry with a date for ${version}, and nothing unreleased`,
    problem: () => {
      const heading = new RegExp(
        `^## \\[${RegExp.escape(version)}\\] - \\d{4}-\\d{2}-\\d{2}$`,
        "m",
      );
      if (!heading.test(changelog)) return `there is no "## [${version}] - YYYY-MM-DD"`;
      return unreleased() === "" ? undefined : "there are entries under [Unreleased]";
    },
  },
];

let problems = 0;
for (const { what, problem } of checks) {
  const found = problem();
  if (found !== undefined) problems++;
  console.log(found === undefined ? `ok      ${what}` : `PROBLEM ${what}: ${found}`);
}

const tarball = `${name}-${version}.tgz`;
const publishing = [
  ["git", "tag", "--annotate", tag, "--message", `${name} ${version}`],
  ["npm", "publish", tarball],
  ["git", "push", "origin", "main", tag],
];
if (problems > 0 && !dryRun) process.exit(1);
run(["npm", "pack"]);
// What is tested is the very file that is published.
run([process.execPath, "test", "--timeout", "60000", "./test/once/package.ts"], {
  BUN_AIO_TARBALL: join(root, tarball),
});
if (dryRun) {
  console.log(`\nwould run, with ${problems} problems to solve before:`);
  for (const command of publishing) console.log(`$ ${command.join(" ")}`);
  process.exit(problems === 0 ? 0 : 1);
}
for (const command of publishing) run(command);
