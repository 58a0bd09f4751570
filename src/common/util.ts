// node:util, loaded at first use: it takes 4 ms of a program's start, and only errors need it.

const { getBuiltinModule } = process;

export function util(): typeof import("node:util") {
  return getBuiltinModule("node:util");
}
