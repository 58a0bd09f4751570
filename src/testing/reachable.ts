// Which buffers are really still referenced. After a collection a buffer may remain because a dead variable of a
// suspended function holds it (JavaScriptCore does not clear those), often one of the test that asks; it goes when
// that function returns. A heap snapshot tells the two apart. It takes a tenth of a second, so only what survived a
// collection is searched.

/** Nodes are id, size, class, flags; edges are from, to, type, data. */
interface HeapSnapshot {
  readonly nodes: readonly number[];
  readonly nodeClassNames: readonly string[];
  readonly edges: readonly number[];
}

const FIELDS = 4;
/** Nodes that hold variables of suspended functions, or values that live only as long as their key. */
const DEAD_ENDS: ReadonlySet<string> = new Set([
  "AsyncFunctionGenerator",
  "AsyncGenerator",
  "Generator",
  "WeakMap",
]);
const MARK: unique symbol = Symbol("bun-aio: trackLeaks");
const PREFIX = "BunAioTrackedBuffer";

let marks = 0;

/** A class name for one buffer, which identifies its holders in the snapshot. */
export function newMark(): string {
  return `${PREFIX}${++marks}`;
}

/** Marks a holder of the buffer: a view of it, or its pool. */
export function addMark(holder: object, mark: string): void {
  const properties = { value: { [Symbol.toStringTag]: mark }, configurable: true };
  if (Object.isExtensible(holder)) Object.defineProperty(holder, MARK, properties);
}

/** The marks that can be reached without passing through a suspended function. */
export function keptMarks(): Set<string> {
  const { nodes, nodeClassNames, edges } = Bun.generateHeapSnapshot() as unknown as HeapSnapshot;
  const places = new Map<number, number>();
  for (let at = 0; at < nodes.length; at += FIELDS) places.set(nodes[at] ?? 0, at / FIELDS);
  const nameOf = (place: number): string => nodeClassNames[nodes[place * FIELDS + 2] ?? 0] ?? "";
  const targets: (number[] | undefined)[] = [];
  for (let at = 0; at < edges.length; at += FIELDS) {
    const from = places.get(edges[at] ?? 0);
    const to = places.get(edges[at + 1] ?? 0);
    if (from === undefined || to === undefined) continue;
    const list = targets[from];
    if (list === undefined) targets[from] = [to];
    else list.push(to);
  }
  const kept = new Set<string>();
  const seen = new Uint8Array(nodes.length / FIELDS);
  const root = places.get(0) ?? 0;
  const waiting = [root];
  seen[root] = 1;
  while (true) {
    const place = waiting.pop();
    if (place === undefined) return kept;
    for (const to of targets[place] ?? []) {
      if (seen[to] === 1 || (place === root && isFaint(to))) continue;
      seen[to] = 1;
      const name = nameOf(to);
      if (name.startsWith(PREFIX)) kept.add(name);
      if (!DEAD_ENDS.has(name)) waiting.push(to);
    }
  }

  /**
   * Edges from the root include what merely looks like a pointer on the stack, and values of weak maps: here the
   * record of a slab, which references its pool.
   */
  function isFaint(place: number): boolean {
    const held = targets[place] ?? [];
    if (held.some(isMark)) return true;
    return nameOf(place) === "Object" && held.some((next) => (targets[next] ?? []).some(isMark));
  }

  function isMark(place: number): boolean {
    return nameOf(place).startsWith(PREFIX);
  }
}
