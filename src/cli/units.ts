// Sizes, rates and times: parsing what users type, formatting what they read.

import { usage } from "./exit.ts";

const PREFIXES = "kmgtpe";

/**
 * Parses "4096", "4k", "4K", "4KiB" (1024 each) or "4kB" (1000 each) to bytes, as dd(1) and fio(1) do.
 *
 * @throws Stop that names the option.
 */
export function parseSize(option: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtpe]?)(i?b)?$/i.exec(text.trim());
  const [, digits = "", prefix = "", suffix = ""] = match ?? [];
  // "4iB" has no prefix for the i.
  if (match === null || (prefix === "" && suffix.toLowerCase() === "ib")) {
    throw usage(
      `${option}: "${text}" is not a size`,
      "Sizes look like 4096, 4k, 64KiB, 1M, 1.5G (powers of 1024) or 1MB (powers of 1000)",
    );
  }
  const base = suffix.toLowerCase() === "b" && prefix !== "" ? 1000 : 1024;
  const exponent = prefix === "" ? 0 : PREFIXES.indexOf(prefix.toLowerCase()) + 1;
  const bytes = Number(digits) * base ** exponent;
  if (Number.isSafeInteger(bytes)) return bytes;
  const why = Number.isInteger(bytes) ? "is too large" : "is not a whole number of bytes";
  throw usage(`${option}: "${text}" ${why}`);
}

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** "512 bytes", "4 KiB", "1.50 GiB": three digits, fewer where they would be zeroes. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  if (bytes === 1) return "1 byte";
  const digits = Number.isInteger(value) ? 0 : Math.max(0, 3 - String(Math.floor(value)).length);
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** "265/631 MiB": a part and the whole in the unit of the whole. */
export function formatPart(bytes: number, total: number): string {
  const whole = formatSize(total);
  const unit = UNITS.indexOf(whole.split(" ")[1] ?? "");
  if (unit <= 0) return `${bytes}/${whole}`;
  const value = bytes / 1024 ** unit;
  const digits = bytes === 0 ? 0 : Math.max(0, 3 - String(Math.floor(value)).length);
  return bytes === total ? `${whole.split(" ")[0]}/${whole}` : `${value.toFixed(digits)}/${whole}`;
}

/** A size, with the exact number of bytes if that says more. */
export function formatExactSize(bytes: number): string {
  return bytes < 1024 ? formatSize(bytes) : `${formatSize(bytes)} (${grouped(bytes)} bytes)`;
}

export function formatRate(bytesPerSecond: number): string {
  return `${formatSize(Math.round(bytesPerSecond))}/s`;
}

/** "0.42 s", "12.3 s", "2 min 05 s", "1 h 02 min". */
export function formatSeconds(seconds: number): string {
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** "33.4 s, 18.9 MiB/s" */
export function pace(bytes: number, ms: number): string {
  const time = formatSeconds(ms / 1000);
  return bytes > 0 && ms > 0 ? `${time}, ${formatRate((bytes / ms) * 1000)}` : time;
}

/** "2:05", "1:02:05". */
export function formatClock(seconds: number): string {
  const whole = Math.round(seconds);
  const [minutes, rest] = [Math.floor(whole / 60), two(whole % 60)];
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${rest}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** Formats microseconds: "850 ns", "12.4 us", "3.10 ms", "1.20 s". */
export function formatMicroseconds(us: number): string {
  const digits = (value: number): string => value.toPrecision(value >= 100 ? 3 : 2);
  const plain = (value: number): string => String(Number(digits(value)));
  if (us < 1) return `${plain(us * 1000)} ns`;
  if (us < 999.5) return `${plain(us)} us`;
  if (us < 999_500) return `${plain(us / 1000)} ms`;
  return `${plain(us / 1e6)} s`;
}

/** "1,234,567", whatever the locale. */
export function grouped(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}
