// The command line: parsed by node:util's parseArgs, then checked. An unknown option is an error that names the
// option probably meant.

import { parseArgs } from "node:util";
import { usage } from "./exit.ts";
import { parseSize } from "./units.ts";

/** The options of a command: those that take a value, and flags. */
export interface Spec {
  readonly values?: readonly string[];
  readonly flags?: readonly string[];
}

const COMMON_FLAGS: readonly string[] = ["help", "version"];
/** Options with a letter, the same in each command that has the option. */
const LETTERS: Readonly<Record<string, { readonly short: string }>> = {
  help: { short: "h" },
  quiet: { short: "q" },
  version: { short: "V" },
  yes: { short: "y" },
};

export class Arguments {
  readonly positionals: readonly string[];
  readonly #types = new Map<string, "string" | "boolean">();
  readonly #values = new Map<string, string | true>();

  constructor(
    readonly command: string,
    { values = [], flags = [] }: Spec,
    argv: readonly string[],
  ) {
    for (const name of values) this.#types.set(name, "string");
    for (const name of [...flags, ...COMMON_FLAGS]) this.#types.set(name, "boolean");
    const positionals: string[] = [];
    // Not strict: the messages below name the option probably meant.
    const { tokens } = parseArgs({
      args: [...argv],
      options: Object.fromEntries(
        [...this.#types].map(([name, type]) => [name, { type, ...LETTERS[name] }]),
      ),
      strict: false,
      tokens: true,
      allowPositionals: true,
    });
    for (const token of tokens) {
      if (token.kind === "positional") positionals.push(token.value);
      if (token.kind === "option") this.#take(token.name, token.rawName, token);
    }
    this.positionals = positionals;
  }

  flag(name: string): boolean {
    return this.#value(name) === true;
  }

  flags<Name extends string>(names: readonly Name[]): Record<Name, boolean> {
    const pairs = names.map((name) => [name, this.flag(name)]);
    return Object.fromEntries(pairs) as Record<Name, boolean>;
  }

  text(name: string): string | undefined {
    const value = this.#value(name);
    return value === true ? undefined : value;
  }

  choice(name: string, words: readonly string[], otherwise: string): string {
    const word = this.text(name) ?? otherwise;
    if (words.includes(word)) return word;
    throw usage(`--${name} must be one of ${words.join(", ")}; got "${word}"`, meant(word, words));
  }

  size(name: string, min = 0): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const bytes = parseSize(`--${name}`, text);
    if (bytes >= min) return bytes;
    throw usage(`--${name}: "${text}" is less than ${min}`);
  }

  integer(name: string, min: number, max: number): number | undefined {
    const value = this.number(name, min, max);
    if (value === undefined || Number.isInteger(value)) return value;
    throw usage(`--${name}: "${value}" is not a whole number`);
  }

  number(name: string, min: number, max: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (value >= min && value <= max) return value;
    throw usage(`--${name}: "${text}" is not a number from ${min} to ${max}`);
  }

  /** Exactly these operands, named as in the usage line; the last `optional` may be missing. */
  operands(names: readonly string[], optional = 0): string[] {
    const given = [...this.positionals];
    const missing = names.slice(given.length, names.length - optional);
    if (missing.length > 0) throw usage(`${missing.join(" and ")} missing`, this.#seeHelp());
    const extra = given.slice(names.length);
    if (extra.length > 0) throw usage(`unexpected argument "${extra[0]}"`, this.#seeHelp());
    const empty = names[given.indexOf("")];
    if (empty !== undefined) throw usage(`${empty} is empty`, "Is a shell variable unset?");
    return given;
  }

  #take(
    name: string,
    rawName: string,
    token: { value?: string | undefined; inlineValue?: boolean | undefined },
  ): void {
    const type = this.#types.get(name);
    if (type === undefined) throw this.#unknown(name, rawName);
    const { value } = token;
    if (type === "boolean") {
      if (value !== undefined) throw usage(`${rawName} takes no value; got "${value}"`);
      this.#values.set(name, true);
      return;
    }
    const looksLikeOption = token.inlineValue !== true && /^-./.test(value ?? "");
    if (value === undefined || looksLikeOption) throw usage(`${rawName} needs a value`);
    this.#values.set(name, value);
  }

  #unknown(name: string, rawName: string): Error {
    const close = name.length > 1 ? closest(name, [...this.#types.keys()]) : undefined;
    const hint = close === undefined ? this.#seeHelp() : `Did you mean --${close}?`;
    return usage(`unknown option ${rawName}`, hint);
  }

  #seeHelp(): string {
    return `See bun-aio ${this.command === "" ? "" : `${this.command} `}--help`;
  }

  #value(name: string): string | true | undefined {
    if (!this.#types.has(name)) throw new Error(`no option --${name} is declared`);
    return this.#values.get(name);
  }
}

/** Start offsets of both sides: `--from` sets both. */
export function startsOf(args: Arguments): { readonly skip: number; readonly seek: number } {
  const from = args.size("from");
  if (from !== undefined && (args.text("skip") ?? args.text("seek")) !== undefined) {
    throw usage("--from sets both --skip and --seek", "Give either --from or the other two");
  }
  return { skip: from ?? args.size("skip") ?? 0, seek: from ?? args.size("seek") ?? 0 };
}

export function meant(word: string, words: readonly string[]): string | undefined {
  const close = closest(word, words);
  return close === undefined ? undefined : `Did you mean ${close}?`;
}

/** The word probably meant: one with the same beginning, or few letters off. */
export function closest(word: string, words: readonly string[]): string | undefined {
  const lower = word.toLowerCase();
  const begun = words.filter((candidate) => lower.length > 1 && candidate.startsWith(lower));
  if (begun.length === 1) return begun[0];
  let best: string | undefined;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of words) {
    const letters = distance(lower, candidate);
    if (letters < least) [best, least] = [candidate, letters];
  }
  return best;
}

/** Number of letters to insert, delete or replace (Levenshtein distance). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
