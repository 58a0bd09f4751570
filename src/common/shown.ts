// Formats a wrong argument for an error message: its kind and length, never the contents of a buffer or a list,
// which may be private. Runs none of the caller's code.

import { util } from "./util.ts";

const TEXT_LENGTH_MAX = 60;
const PROPERTIES_MAX = 6;

export function shown(value: unknown): string {
  try {
    return shownAt(value, true);
  } catch {
    // It must not fail with an error of its own.
    return "a value that cannot be shown";
  }
}

/** What an error says; anything may be thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function shownAt(value: unknown, isOutermost: boolean): string {
  if (typeof value === "string") return util().inspect(value, { maxStringLength: TEXT_LENGTH_MAX });
  if (typeof value === "function") return "[Function]";
  if (typeof value !== "object" || value === null) return util().inspect(value);
  if (util().types.isProxy(value)) return "[Proxy]";
  if (ArrayBuffer.isView(value)) return shownView(value);
  if (util().types.isArrayBuffer(value))
    return `ArrayBuffer(${get(ArrayBuffer, "byteLength", value)})`;
  if (util().types.isSharedArrayBuffer(value)) {
    return `SharedArrayBuffer(${get(SharedArrayBuffer, "byteLength", value)})`;
  }
  if (Array.isArray(value)) return `Array(${value.length})`;
  const name = className(value);
  if (name !== "Object") return name;
  return isOutermost ? shownProperties(value) : "{...}";
}

/** Calls the getter of the built-in class: an own property of the value could return anything. */
function get(of: { readonly prototype: object }, name: string | symbol, value: object): unknown {
  return Object.getOwnPropertyDescriptor(of.prototype, name)?.get?.call(value);
}

const TypedArray: { readonly prototype: object } = Object.getPrototypeOf(Uint8Array);

function shownView(view: ArrayBufferView): string {
  const name = get(TypedArray, Symbol.toStringTag, view);
  if (name !== undefined) return `${name}(${get(TypedArray, "length", view)})`;
  try {
    return `DataView(${get(DataView, "byteLength", view)})`;
  } catch {
    // It has lost its memory.
    return "DataView(0)";
  }
}

/** The name of the nearest constructor that has one. */
function className(value: object): string {
  let prototype: unknown = Object.getPrototypeOf(value);
  while (typeof prototype === "object" && prototype !== null && !util().types.isProxy(prototype)) {
    const made: unknown = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
    if (typeof made === "function" && !util().types.isProxy(made)) {
      const name: unknown = Object.getOwnPropertyDescriptor(made, "name")?.value;
      if (typeof name === "string" && name !== "") return name.slice(0, TEXT_LENGTH_MAX);
    }
    prototype = Object.getPrototypeOf(prototype);
  }
  return "Object";
}

function shownProperties(value: object): string {
  const all = Object.entries(Object.getOwnPropertyDescriptors(value));
  const some = all.filter(([, { enumerable }]) => enumerable === true).slice(0, PROPERTIES_MAX);
  const parts = some.map(([name, property]) => {
    const what = "value" in property ? shownAt(property.value, false) : "[Getter]";
    return `${name.slice(0, TEXT_LENGTH_MAX)}: ${what}`;
  });
  if (all.length > some.length) parts.push("...");
  return parts.length === 0 ? "{}" : `{ ${parts.join(", ")} }`;
}
