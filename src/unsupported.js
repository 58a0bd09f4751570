// The same as unsupported.cjs, for `import`.
throw Object.assign(
  new Error(
    "bun-aio needs Bun 1.4.1 or later (it is built on bun:ffi): run this with `bun`. " +
      "For other runtimes, node:fs has positioned reads and writes.",
  ),
  { code: "ERR_BUN_AIO_RUNTIME" },
);
