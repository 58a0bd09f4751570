// For a report to Bun, without anything of this library: on arm64 with SVE, emulated by QEMU 7.2, the process crashes or
// hangs in some runs (Bun 1.4.5, Linux; not known whether Bun or the emulator is at fault). Without SVE it does not.
//
//   bun test/lab/upstream/terminate_workers.ts [--runs 20] [--end terminate|exit] [--import nothing|builtins|PATH]
//
// Each run is a process of its own that starts and ends 6 workers, one after the other. It prints how many processes
// ended well, crashed (and by which signal) or hung.

import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "20" },
    /** By the parent, or by the worker itself when it is told to. */
    end: { type: "string", default: "terminate" },
    /** What the workers import; a path is that of a module. */
    import: { type: "string", default: "builtins" },
    child: { type: "boolean", default: false },
  },
});

const WORKERS = 6;
const HANGS_MS = 120_000;

const BUILTINS = [
  "bun:ffi",
  "node:fs",
  "node:fs/promises",
  "node:os",
  "node:path",
  "node:url",
  "node:util",
];

function source(): string {
  const modules =
    values.import === "builtins" ? BUILTINS : values.import === "nothing" ? [] : [values.import];
  const imports = modules.map((name, index) => `import * as m${index} from "${name}";`);
  const uses = modules.map((_, index) => `Object.keys(m${index}).length`);
  return `${imports.join("\n")}
    const timer = setInterval(() => {}, 5);
    self.onmessage = () => { clearInterval(timer); self.onmessage = null; process.exit(0); };
    postMessage([${uses.join(", ")}]);`;
}

async function startAndEnd(): Promise<void> {
  const url = URL.createObjectURL(new Blob([source()], { type: "text/javascript" }));
  for (let index = 0; index < WORKERS; index++) {
    const worker = new Worker(url);
    await new Promise((resolve, reject) => {
      worker.onmessage = resolve;
      worker.onerror = (event) => reject(new Error(event.message));
    });
    const ended = new Promise((resolve) => worker.addEventListener("close", resolve));
    if (values.end === "terminate") worker.terminate();
    else worker.postMessage("end");
    await ended;
  }
}

/** How a process with 6 workers ended. */
async function run(): Promise<string> {
  const { end, import: imported } = values;
  const command = [
    process.execPath,
    import.meta.path,
    "--child",
    "--end",
    end,
    "--import",
    imported,
  ];
  const child = Bun.spawn(command, { stdout: "ignore", stderr: "ignore", timeout: HANGS_MS });
  const code = await child.exited;
  if (code === 0) return "well";
  return child.signalCode === "SIGTERM" ? "hung" : String(child.signalCode ?? `exit ${code}`);
}

if (values.child) {
  await startAndEnd();
} else {
  const ends = new Map<string, number>();
  for (let index = 0; index < Number(values.runs); index++) {
    const end = await run();
    ends.set(end, (ends.get(end) ?? 0) + 1);
  }
  const counts = [...ends].map(([end, count]) => `${count} ${end}`).join(", ");
  console.log(`Bun ${Bun.version} ${process.arch}, ${values.end}, ${values.import}: ${counts}`);
}
