// The map file of a rescue (`--map`): read before the copy, saved every 30 seconds and at its end.

import { readFile, rename, writeFile } from "node:fs/promises";
import { totalLength } from "../common/byte_range.ts";
import { messageOf } from "../common/shown.ts";
import { RescueMap } from "../copy/rescue_map.ts";
import type { File } from "../file/file.ts";
import { failure, refused } from "./exit.ts";
import type { Place } from "./places.ts";
import { pathOf } from "./raw_words.ts";
import { printable, warn } from "./terminal.ts";

const SAVE_INTERVAL_MS = 30_000;

export class RescueFile {
  private constructor(
    readonly path: string,
    readonly map: RescueMap,
  ) {}

  /** The map in the file; a new one if there is no file. @throws Stop if it is no map. */
  static async open(path: string): Promise<RescueFile> {
    const text = await readFile(pathOf(path), "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (text === undefined) return new RescueFile(path, new RescueMap());
    try {
      return new RescueFile(path, RescueMap.parse(text));
    } catch (error) {
      const words = messageOf(error).replace('"text"', () => printable(path));
      throw failure(words);
    }
  }

  get bytesLeft(): number {
    return this.map.size - totalLength(this.map.ranges("+"));
  }

  /** Refuses a map of what is not there. */
  refuseWithout(target: Place): void {
    if (target.kind !== "missing" || [...this.map.ranges("+")].length === 0) return;
    throw refused(
      `${printable(this.path)} records data rescued to ${printable(target.path)}, which does not exist`,
      "Name the target of the earlier rescue, or another map",
    );
  }

  /** Saves from time to time until it is disposed of, and then once more. */
  saving(target: File): AsyncDisposable {
    let saving: Promise<void> = Promise.resolve();
    const timer = setInterval(() => {
      saving = saving
        .then(() => this.#saveSynced(target))
        .catch((error: Error) => warn(error.message));
    }, SAVE_INTERVAL_MS);
    return {
      [Symbol.asyncDispose]: async (): Promise<void> => {
        clearInterval(timer);
        await saving;
        await this.#save(this.map.toString());
      },
    };
  }

  /** What the map says was rescued is on the medium before the map is. */
  async #saveSynced(target: File): Promise<void> {
    const text = this.map.toString();
    await target.syncData();
    await this.#save(text);
  }

  async #save(text: string): Promise<void> {
    const whole = pathOf(`${this.path}.new`);
    await writeFile(whole, text, { flush: true });
    await rename(whole, pathOf(this.path));
  }
}
