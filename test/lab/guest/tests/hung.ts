// A disk that does not answer: what is known of `timeout` then (README, Limits).

import { expect } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { allocBuffer, BlockDevice, type IoError } from "../../../../src/index.ts";
import { testUnless } from "../../../support/conditions.ts";
import { until } from "../host.ts";
import { sh, shQuietly, withoutModule } from "../shell.ts";

const MODULE = "/sys/bus/pseudo/drivers/scsi_debug";
/** Drops commands without an answer, as `every_nth` says (drivers/scsi/scsi_debug.c). */
const DROP = "4";
const TIMEOUT_SECONDS = 3;

testUnless(
  withoutModule("scsi_debug"),
  "a timeout settles when the kernel gives the command up, and says ERR_TIMEOUT or what became of it",
  async () => {
    shQuietly("rmmod scsi_debug");
    const before = new Set(readdirSync("/sys/block"));
    sh("modprobe scsi_debug dev_size_mb=16");
    const added = (): string | undefined =>
      readdirSync("/sys/block").find((node) => !before.has(node));
    await until(() => added() !== undefined);
    const node = added() ?? "";
    // Of the kernel, by default 30 s; then come aborts and resets, which this driver answers.
    writeFileSync(`/sys/block/${node}/device/timeout`, String(TIMEOUT_SECONDS));
    const device = await BlockDevice.open(`/dev/${node}`);
    try {
      writeFileSync(`${MODULE}/every_nth`, "1");
      writeFileSync(`${MODULE}/opts`, DROP);
      const begin = performance.now();
      const read = device.readAt(allocBuffer(4096), 0, { timeout: 300 });
      const outcome = read.then(
        () => "done",
        (error: IoError) => error.code,
      );
      const early = await Promise.race([outcome, Bun.sleep(1000).then(() => "late")]);
      expect(early).toBe("late");
      writeFileSync(`${MODULE}/opts`, "0");
      writeFileSync(`${MODULE}/every_nth`, "0");
      expect(["done", "ERR_TIMEOUT", "EIO", "ETIMEDOUT"]).toContain(await outcome);
      expect(performance.now() - begin).toBeGreaterThan(TIMEOUT_SECONDS * 1000 - 500);
    } finally {
      writeFileSync(`${MODULE}/opts`, "0");
      writeFileSync(`${MODULE}/every_nth`, "0");
      await device.close();
      await until(() => shQuietly("rmmod scsi_debug") === "");
    }
  },
);
