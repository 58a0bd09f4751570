// Memory disks of FreeBSD (md(4)) over an image file, by mdconfig(8). Not yet run on a real system: the commands are
// tested with one that records them (test/testing/image.test.ts).

import { IoError } from "../errors/io_error.ts";

/** Runs a command; resolves with what it printed. */
export type Run = (command: readonly string[]) => Promise<{
  readonly code: number;
  readonly out: string;
  readonly complaint: string;
}>;

export const MDCONFIG = "/sbin/mdconfig";

const run: Run = async (command) => {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, complaint, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out, complaint };
};

export interface AttachedImage {
  readonly path: string;
  /** Call when nothing has it open any more. */
  detach(): Promise<void>;
}

/** Attaches the file `image` as a disk. Its name may be removed afterwards: the disk keeps the file. */
export async function attachMd(
  image: string,
  sectorSize: number,
  runner: Run = run,
): Promise<AttachedImage> {
  const kind = ["-a", "-t", "vnode", "-S", `${sectorSize}`];
  const name = (await mdconfig(runner, [...kind, "-f", image])).trim();
  const unit = /^md(\d+)$/.exec(name)?.[1];
  if (unit === undefined) throw failure(`mdconfig answers '${name}' instead of a name`);
  const detach = async (): Promise<void> => {
    await mdconfig(runner, ["-d", "-u", unit]);
  };
  return { path: `/dev/${name}`, detach };
}

async function mdconfig(runner: Run, options: readonly string[]): Promise<string> {
  const { code, out, complaint } = await runner([MDCONFIG, ...options]);
  if (code === 0) return out;
  throw failure(`mdconfig ${options.join(" ")} exits with ${code}: ${complaint.trim()}`);
}

function failure(reason: string): IoError {
  return new IoError("EIO", { reason, syscall: "mdconfig", path: "/dev/mdctl" });
}
