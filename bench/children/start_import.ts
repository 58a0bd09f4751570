// A script that only imports bun-aio, as the package has it.
import "../../dist/index.js";
