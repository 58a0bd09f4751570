// A script that imports bun-aio, as the package has it, and reads 4 KiB.
import type * as api from "../../src/api.ts";

// `require`: its declarations are those of the sources.
const { allocBuffer, File }: typeof api = require("../../dist/index.js");

await using file = await File.open(process.argv[2] ?? "");
if ((await file.readAt(allocBuffer(4096), 0)) !== 4096) throw new Error("a short read");
