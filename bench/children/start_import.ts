// A script that only imports bun-aio.
import "../../src/index.ts";
