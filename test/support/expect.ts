// Expectations about promises that reject.

import { expect } from "bun:test";
import { IoError } from "../../src/index.ts";

/** The error of a promise that must reject. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  // A promise that was handed over resolved is a failure of the test, whatever its value.
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!("error" in outcome)) throw new Error(`resolved with ${Bun.inspect(outcome.value)}`);
  expect(outcome.error).toBeInstanceOf(Error);
  return outcome.error as Error;
}

/** The IoError with this code that a promise must reject with. */
export async function ioError(promise: Promise<unknown>, code: string): Promise<IoError> {
  const error = await rejection(promise);
  expect(`${error.code}: ${error.name}`).toStartWith(`${code}: `);
  expect(error).toBeInstanceOf(IoError);
  return error as IoError;
}

/** A value as wrong callers pass it. */
export function wrong<T>(value: unknown): T {
  return value as T;
}
