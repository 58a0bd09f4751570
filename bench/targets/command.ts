// Short helper commands of the system (losetup), as argument arrays, never through a shell.

export async function command(...words: string[]): Promise<string> {
  const child = Bun.spawn(words, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(`${words[0]}: ${stderr.trim()}`);
  return stdout.trim();
}
