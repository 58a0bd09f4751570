// Makes a process forbid itself io_uring, for code run by `runCode`.

/** Defines `forbid()`, a filter of seccomp(2): from its call on io_uring_enter and io_uring_register,
 * or the calls of these numbers, give EPERM. */
export const FORBID: string = `
const { dlopen, ptr } = await import("bun:ffi");
const { symbols } = dlopen("libc.so.6", {
  prctl: { args: ["i32", "u64", "ptr", "u64", "u64"], returns: "i32" },
});
const step = (code, yes, no, value) => [code | (yes << 16) | (no << 24), value];
const forbid = (calls = [426, 427]) => {
  // Load the number; one of the calls: EPERM (SECCOMP_RET_ERRNO | 1), else allow (linux/seccomp.h, linux/filter.h).
  const steps = new Uint32Array([
    ...step(0x20, 0, 0, 0),
    ...calls.flatMap((call, i) => step(0x15, calls.length - i, 0, call)),
    ...step(0x06, 0, 0, 0x7fff0000),
    ...step(0x06, 0, 0, 0x00050001),
  ]);
  const program = new BigUint64Array([BigInt(steps.length / 2), BigInt(ptr(steps))]);
  if (symbols.prctl(38, 1, null, 0, 0) !== 0) throw new Error("PR_SET_NO_NEW_PRIVS");
  if (symbols.prctl(22, 2, program, 0, 0) !== 0) throw new Error("PR_SET_SECCOMP");
  if (steps.length === 0) throw new Error("its memory lives until here");
};
`;
