// How `imageDevice` attaches images on FreeBSD: the commands, and what their answers mean. The devices
// of Linux are in block_device.test.ts.

import { expect, test } from "bun:test";
import { attachMd, type Run } from "../../src/testing/md_device.ts";
import { rejection } from "../support/devices.ts";

/** Answers each command in turn, and remembers it. */
function recorder(...answers: { code?: number; out?: string; complaint?: string }[]): {
  run: Run;
  commands: string[];
} {
  const commands: string[] = [];
  const run: Run = async (command) => {
    commands.push(command.join(" "));
    return { code: 0, out: "", complaint: "", ...answers.shift() };
  };
  return { run, commands };
}

test("a memory disk is attached by the next free number and detached by it", async () => {
  const { run, commands } = recorder({ out: "md12\n" });
  const image = await attachMd("/tmp/x/image", 4096, run);
  expect(image.path).toBe("/dev/md12");
  await image.detach();
  expect(commands).toEqual([
    "/sbin/mdconfig -a -t vnode -S 4096 -f /tmp/x/image",
    "/sbin/mdconfig -d -u 12",
  ]);
});

test("what mdconfig complains about is in the error", async () => {
  const complaint = "mdconfig: ioctl(/dev/mdctl): Permission denied\n";
  const refused = await rejection(
    attachMd("/tmp/image", 512, recorder({ code: 1, complaint }).run),
  );
  expect(refused.code).toBe("EIO");
  expect(refused.message).toContain("exits with 1: mdconfig: ioctl(/dev/mdctl): Permission denied");
  const odd = await rejection(attachMd("/tmp/image", 512, recorder({ out: "what?" }).run));
  expect(odd.message).toContain("answers 'what?'");
  const { run } = recorder({ out: "md0\n" }, { code: 1, complaint: "Device busy" });
  const image = await attachMd("/tmp/image", 512, run);
  expect((await rejection(image.detach())).message).toContain("Device busy");
});
