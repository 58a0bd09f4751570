// The options of `copy`, `copyToAll`, `compare` and `scan`: each name means the same, and is checked, in one way.

import { argumentType, argumentValue } from "../common/argument_errors.ts";
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkIoOptions,
  checkOffset,
  checkOptions,
} from "../common/arguments.ts";
import { checkHashName } from "../common/digest.ts";
import { checkRanges } from "./ranges.ts";
import { RescueMap } from "./rescue_map.ts";

const CHUNK_BYTES_MAX = 2 ** 30;
const CONCURRENCY_MAX = 1024;
const RETRIES_MAX = 2 ** 31 - 1;

/** Returns the value in the form that the rest of the code uses. */
type Check = (name: string, value: unknown) => unknown;

function integerUpTo(max: number, min = 0): Check {
  return (name, value) => checkInteger(name, value, min, max);
}

const CHECKS: Readonly<Record<string, Check>> = {
  sourceOffset: checkOffset,
  targetOffset: checkOffset,
  start: (name, value) => checkInteger(name, checkOffset(name, value), 0, Number.MAX_SAFE_INTEGER),
  end: checkOffset,
  length: integerUpTo(Number.MAX_SAFE_INTEGER),
  expectedLength: integerUpTo(Number.MAX_SAFE_INTEGER),
  ranges: checkRanges,
  chunkSize: integerUpTo(CHUNK_BYTES_MAX, 1),
  concurrency: integerUpTo(CONCURRENCY_MAX, 1),
  all: checkBoolean,
  sparse: checkBoolean,
  sync: checkBoolean,
  verify: checkBoolean,
  hash: checkHashName,
  onReadError: checkOnReadError,
  map: checkMap,
  retries: integerUpTo(RETRIES_MAX),
  signal: (_, value) => checkIoOptions({ signal: value as AbortSignal }).signal,
  onProgress: checkFunction,
  onBad: checkFunction,
};

/** The options as they were checked; each is read once, since a getter may return something else next time. */
export function checkedOptions<T extends object>(
  where: string,
  options: T,
  names: readonly string[],
): T {
  checkOptions(where, options, names);
  const given = options as Readonly<Record<string, unknown>>;
  const checked: Record<string, unknown> = {};
  for (const name of names) {
    const [value, check] = [given[name], CHECKS[name]];
    if (check === undefined) throw new Error(`nothing checks the option ${name}`);
    if (value !== undefined) checked[name] = check(`options.${name}`, value);
  }
  return checked as T;
}

function checkOnReadError(name: string, value: unknown): unknown {
  if (value === "fail" || value === "skip") return value;
  throw argumentValue(name, 'must be "fail" or "skip"', value);
}

function checkMap(name: string, value: unknown): RescueMap {
  if (value instanceof RescueMap) return value;
  throw argumentType(name, "a RescueMap", value);
}
