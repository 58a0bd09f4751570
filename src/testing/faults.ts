// The fault plan of a simulated device: checks the rules that users write and encodes them for the native side.
// Rules travel in the same queue as operations, so they apply to exactly the operations called after them.

import { constants } from "node:os";
import { getSystemErrorMap } from "node:util";
import { argumentRange, argumentType, argumentValue } from "../common/argument_errors.ts";
import { checkBoolean, checkInteger, checkOptions } from "../common/arguments.ts";
import { IoError } from "../errors/io_error.ts";
import { LINUX_ERRORS } from "../errors/linux_errors.ts";
import { closedError } from "../errors/status.ts";
import * as abi from "../native/abi.gen.ts";
import type { Proactor } from "../ring/proactor.ts";
import { deviceCommand } from "./device_commands.ts";

/**
 * What goes wrong, and when. `operation`, `offset` and `length` say which requests match the rule; `nth`, `every`,
 * `probability` and `times`, which of those it affects; the rest, how it affects them.
 *
 * A request is what reaches the device: a transfer larger than 2 MiB is several, and the rest of a short transfer
 * is another.
 */
export interface FaultRule {
  /** `write` includes `writeZeroes`; `any` is all four. */
  operation: "read" | "write" | "sync" | "discard" | "any";
  /** Only requests that touch the range from here on, in bytes. Syncs have no range and never match one. */
  offset?: number | undefined;
  /** Length of that range in bytes; default: up to the end of the device. */
  length?: number | undefined;
  /** The nth matching request, counted from 1. */
  nth?: number | undefined;
  /** Every n-th matching request. */
  every?: number | undefined;
  /** Probability, more than 0, up to 1; drawn from the seed of the device. */
  probability?: number | undefined;
  /** The most requests that it affects. */
  times?: number | undefined;
  /** Fails with this system error: "EIO", "ENOSPC", ... No bytes are transferred, unless with `torn`. */
  error?: string | undefined;
  /** Transfers at most this many bytes, without an error: the library must continue by itself. */
  short?: number | undefined;
  /** Duration of the request, in milliseconds. With `offset` and `length`: a slow region. */
  latency?: number | undefined;
  /** A write stops after this many bytes and fails with `error`, or EIO. */
  torn?: number | undefined;
  /** Unplugs the device, like `crash`: requests in flight, and all later ones, fail with `ERR_DEVICE_GONE`. */
  unplug?: boolean | undefined;
  /** Cuts the power with this request in flight. See `SimulatedDevice.crash`. */
  crash?: boolean | undefined;
  /**
   * The request does not end while the rule is there, like one of a disk that no longer answers: not by `signal` or
   * `timeout` either (unlike one with a long `latency`), and `close` waits for it. Once the rule is removed it is
   * carried out, with what else the rule says. Unplugging or crashing the device ends it, too; `await using` of the
   * device removes the rule.
   */
  hang?: boolean | undefined;
}

/** The fault rules of a simulated device, which may change while it is used. */
export interface FaultPlan {
  /**
   * Adds a rule for the operations called from now on. Dispose of the result to remove it.
   *
   * @throws TypeError, RangeError that name what is wrong; IoError `ENOSPC` above 64 rules.
   */
  add(rule: FaultRule): Disposable;
}

const RULE_NAMES = [
  ...["operation", "offset", "length", "nth", "every", "probability", "times"],
  ...["error", "short", "latency", "torn", "unplug", "crash", "hang"],
];
const OPERATIONS: readonly string[] = ["read", "write", "sync", "discard", "any"];
const COUNT_MAX = 2 ** 32 - 1;
const LATENCY_MS_MAX = 2 ** 31 - 1;
/** Codes that only libuv knows (EOF, EAI_...) are numbered from here down. */
const LIBUV_OWN = -3000;
const PROBABILITY_ONE = 65536;

/** The limits of a rule. */
export interface RuleLimits {
  /** Bytes of the device. */
  readonly size: number;
  /** Alignment of the device's requests, in bytes. */
  readonly alignment: number;
}

/** The native form of a valid rule; throws for any other. */
export function nativeRule(name: string, rule: FaultRule, limits: RuleLimits): Uint8Array {
  if (typeof rule !== "object" || rule === null) throw argumentType(name, "a fault rule", rule);
  checkOptions("a fault rule", rule, RULE_NAMES, name);
  const { operation } = rule;
  if (!OPERATIONS.includes(operation)) {
    throw argumentValue(`${name}.operation`, `must be one of ${OPERATIONS.join(", ")}`, operation);
  }
  checkEffects(name, rule);
  const bytes = new Uint8Array(abi.FaultRule.SIZE);
  const view = new DataView(bytes.buffer);
  const { FaultRule: R } = abi;
  view.setUint32(R.operation, abi.FaultOperation[operation], true);
  const { offset, length } = range(name, rule, limits);
  view.setFloat64(R.offset, offset, true);
  view.setFloat64(R.length, length, true);
  for (const field of ["nth", "every", "times"] as const) {
    const value = rule[field];
    if (value === undefined) continue;
    view.setUint32(R[field], checkInteger(`${name}.${field}`, value, 1, COUNT_MAX), true);
  }
  view.setUint32(R.probability, probability(name, rule.probability), true);
  view.setInt32(R.errno, errno(name, rule.error), true);
  view.setFloat64(R.short, short(name, rule, limits), true);
  view.setFloat64(R.torn, torn(name, rule), true);
  view.setFloat64(R.latencyMs, latency(name, rule.latency), true);
  view.setUint32(R.flags, flags(rule), true);
  return bytes;
}

function checkEffects(name: string, rule: FaultRule): void {
  for (const field of ["unplug", "crash", "hang"] as const) {
    if (rule[field] !== undefined) checkBoolean(`${name}.${field}`, rule[field]);
  }
  const { error, short, torn, latency, hang } = rule;
  const waits = hang === true || (latency !== undefined && latency !== 0);
  const ends = rule.unplug === true || rule.crash === true;
  if (!ends && !waits && error === undefined && short === undefined && torn === undefined) {
    throw argumentValue(
      name,
      "needs an effect: error, short, latency, torn, unplug, crash or hang",
      rule,
    );
  }
  if (rule.unplug === true && rule.crash === true) {
    throw argumentValue(name, "cannot both unplug and crash", rule);
  }
  if (ends && error !== undefined) {
    throw argumentValue(`${name}.error`, "cannot be combined with unplug or crash", error);
  }
  if (short !== undefined && (error !== undefined || torn !== undefined || ends)) {
    throw argumentValue(
      `${name}.short`,
      "is not a failure and can be combined only with latency and hang",
      short,
    );
  }
}

function range(
  name: string,
  rule: FaultRule,
  limits: RuleLimits,
): { offset: number; length: number } {
  if (rule.offset === undefined && rule.length === undefined) return { offset: 0, length: 0 };
  if (rule.operation === "sync") {
    throw argumentValue(
      `${name}.offset`,
      "and length do not apply to syncs, which have no range",
      rule,
    );
  }
  const offset = checkInteger(`${name}.offset`, rule.offset ?? 0, 0, limits.size - 1);
  const length = checkInteger(
    `${name}.length`,
    rule.length ?? limits.size - offset,
    1,
    limits.size - offset,
  );
  return { offset, length };
}

function probability(name: string, value: unknown): number {
  if (value === undefined) return 0;
  if (typeof value !== "number") throw argumentType(`${name}.probability`, "a number", value);
  if (!(value > 0 && value <= 1)) {
    throw argumentRange(`${name}.probability`, "more than 0 and at most 1", value);
  }
  return Math.max(1, Math.round(value * PROBABILITY_ONE));
}

function errno(name: string, value: unknown): number {
  if (value === undefined) return 0;
  const number = typeof value === "string" ? numberOf(value) : undefined;
  if (number === undefined) {
    throw argumentValue(
      `${name}.error`,
      "is not an error code of this system, such as EIO or ENOSPC",
      value,
    );
  }
  // The library repeats requests that fail so, as with a real kernel.
  if (value === "EAGAIN" || value === "EINTR") {
    throw argumentValue(
      `${name}.error`,
      "never reaches a caller: the library retries the operation",
      value,
    );
  }
  return number;
}

/** node:os has the codes of POSIX; libuv's table adds some of Linux (EREMOTEIO), and ours the rest (ENOMEDIUM). */
function numberOf(code: string): number | undefined {
  const numbers: Readonly<Record<string, number>> = constants.errno;
  if (Object.hasOwn(numbers, code)) return numbers[code];
  for (const [negative, [name]] of getSystemErrorMap()) {
    if (name === code && negative > LIBUV_OWN) return -negative;
  }
  for (const [number, [name]] of LINUX_ERRORS) if (name === code) return number;
  return undefined;
}

function short(name: string, rule: FaultRule, limits: RuleLimits): number {
  if (rule.short === undefined) return 0;
  if (rule.operation === "sync" || rule.operation === "discard") {
    throw argumentValue(`${name}.short`, "applies only to reads and writes", rule.operation);
  }
  const unit = limits.alignment;
  const bytes = checkInteger(`${name}.short`, rule.short, unit, Number.MAX_SAFE_INTEGER);
  if (bytes % unit === 0) return bytes;
  const expected = `a multiple of the sector size (${unit}), as with any device`;
  throw argumentRange(`${name}.short`, expected, bytes);
}

function torn(name: string, rule: FaultRule): number {
  if (rule.torn === undefined) return 0;
  if (rule.operation === "read" || rule.operation === "sync") {
    throw argumentValue(`${name}.torn`, "applies only to writes", rule.operation);
  }
  return checkInteger(`${name}.torn`, rule.torn, 0, Number.MAX_SAFE_INTEGER);
}

function latency(name: string, value: unknown): number {
  if (value === undefined) return 0;
  if (typeof value !== "number") throw argumentType(`${name}.latency`, "a number", value);
  if (value >= 0 && value <= LATENCY_MS_MAX) return value;
  throw argumentRange(`${name}.latency`, `from 0 to ${LATENCY_MS_MAX} ms`, value);
}

function flags(rule: FaultRule): number {
  const { FaultFlag } = abi;
  return (
    (rule.short === undefined ? 0 : FaultFlag.short) |
    (rule.torn === undefined ? 0 : FaultFlag.torn) |
    (rule.unplug === true ? FaultFlag.unplug : 0) |
    (rule.crash === true ? FaultFlag.crash : 0) |
    (rule.hang === true ? FaultFlag.hang : 0)
  );
}

/** The rules of one device. */
export class Faults implements FaultPlan {
  readonly #proactor: Proactor;
  readonly #limits: RuleLimits;
  readonly #free: number[] = [];
  /** Rules added so far at each place. */
  readonly #added: number[] = new Array(abi.FAULT_RULES_MAX).fill(0);

  constructor(proactor: Proactor, limits: RuleLimits) {
    this.#proactor = proactor;
    this.#limits = limits;
    for (let place = abi.FAULT_RULES_MAX - 1; place >= 0; place--) this.#free.push(place);
  }

  add(rule: FaultRule): Disposable {
    if (this.#proactor.closing) throw closedError({ syscall: "faults.add", path: undefined });
    return this.addNative(nativeRule("rule", rule, this.#limits));
  }

  /** Adds what `nativeRule` has made. */
  addNative(bytes: Uint8Array): Disposable {
    const place = this.#free.pop();
    if (place === undefined) {
      throw new IoError("ENOSPC", {
        reason: `a device holds at most ${abi.FAULT_RULES_MAX} fault rules`,
        hint: "Dispose of rules that are no longer needed",
      });
    }
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(abi.FaultRule.place, place, true);
    const added = (this.#added[place] ?? 0) + 1;
    this.#added[place] = added;
    this.#command({
      argument: abi.DeviceCommand.addRule,
      blockBytes: bytes.byteLength,
      fill: (memory) => memory.set(bytes),
    });
    let over = false;
    return {
      [Symbol.dispose]: () => {
        if (over) return;
        over = true;
        // The requests that hang may leave no room for the command.
        this.#proactor.deviceLift(place, added);
        this.#command({ argument: abi.DeviceCommand.removeRule, mode: place });
        this.#free.push(place);
      },
    };
  }

  /** Ends all hangs, at the next request. */
  lift(): void {
    this.#added.forEach((added, place) => {
      if (added > 0) this.#proactor.deviceLift(place, added);
    });
  }

  #command(command: Parameters<typeof deviceCommand>[1]): void {
    const proactor = this.#proactor;
    if (proactor.closing) return;
    void deviceCommand(proactor, command).then(({ block }) => proactor.releaseBlock(block));
  }
}
