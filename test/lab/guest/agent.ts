// Runs in the machine what the host asks for, and tells what came of it.

import { existsSync, readFileSync, rmSync } from "node:fs";
import { release } from "node:os";
import { Port } from "./port.ts";

const REPORT = "/run/report.xml";
const library = `${process.cwd()}/native/linux-${process.arch}/libbun-aio.so`;

export interface Job {
  file: string;
  environment: Record<string, string>;
  /** Of each test. */
  timeoutMs: number;
}

const port = new Port("agent");

async function tell(stream: ReadableStream<Uint8Array>): Promise<void> {
  const decoder = new TextDecoder();
  for await (const bytes of stream) port.send({ output: decoder.decode(bytes, { stream: true }) });
}

/** A file of tests, or a program. */
async function work({ file, environment, timeoutMs }: Job): Promise<void> {
  rmSync(REPORT, { force: true });
  const reporter = [
    "--timeout",
    String(timeoutMs),
    "--reporter=junit",
    `--reporter-outfile=${REPORT}`,
  ];
  const isTests = file.includes("/tests/") || file.endsWith(".test.ts");
  const child = Bun.spawn(
    [process.execPath, ...(isTests ? ["test", ...reporter] : []), `./${file}`],
    {
      env: { ...process.env, BUN_AIO_LIBRARY: library, ...environment },
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  await Promise.all([tell(child.stdout), tell(child.stderr)]);
  const code = await child.exited;
  port.send({ ended: code, report: existsSync(REPORT) ? readFileSync(REPORT, "utf8") : undefined });
}

port.send({ up: release(), seconds: Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) });
for (;;) {
  const { job } = port.receive() as { job?: Job };
  if (job === undefined) break;
  await work(job);
}
process.exit(0);
