// The CD drives of the machine, in the order in which it was given them.

import { readdirSync } from "node:fs";

export function drive(name: "cd-filled" | "cd-empty"): string {
  const nodes = readdirSync("/sys/block").filter((node) => node.startsWith("sr"));
  return `/dev/${nodes.sort()[name === "cd-filled" ? 0 : 1]}`;
}
