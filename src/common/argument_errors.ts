// Errors of wrong arguments: TypeError and RangeError with the codes of Node, which name the argument and the value.

import { shown } from "./shown.ts";

function withCode<T extends Error>(error: T, code: string): T {
  Object.defineProperty(error, "code", { value: code, enumerable: true });
  return error;
}

/** ERR_INVALID_ARG_TYPE */
export function argumentType(name: string, expected: string, value: unknown): TypeError {
  return withCode(
    new TypeError(`"${name}" must be ${expected}; got ${shown(value)} (${typeof value})`),
    "ERR_INVALID_ARG_TYPE",
  );
}

/** ERR_INVALID_ARG_VALUE, or a more specific code of Node. */
export function argumentValue(
  name: string,
  why: string,
  value: unknown,
  code = "ERR_INVALID_ARG_VALUE",
): TypeError {
  return withCode(new TypeError(`"${name}" ${why}; got ${shown(value)}`), code);
}

/** ERR_OUT_OF_RANGE */
export function argumentRange(name: string, range: string, value: unknown): RangeError {
  return withCode(
    new RangeError(`"${name}" must be ${range}; got ${shown(value)}`),
    "ERR_OUT_OF_RANGE",
  );
}
