// A script that only loads bun-aio, as the package has it. `require`: in a checkout there may be no such file yet.
require("../../dist/index.js");

export {};
