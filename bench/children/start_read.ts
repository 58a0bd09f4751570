// A script that imports bun-aio and reads 4 KiB.
import { allocBuffer, File } from "../../src/index.ts";

await using file = await File.open(process.argv[2] ?? "");
if ((await file.readAt(allocBuffer(4096), 0)) !== 4096) throw new Error("a short read");
