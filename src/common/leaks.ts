// What is open, for `trackLeaks` of bun-aio/testing. While nothing tracks, each file, ring, lease, slab and watch costs
// one empty loop; operations cost nothing, because the rings count them anyway.

export type ResourceKind = "file" | "ring" | "lease" | "slab" | "watch" | "server";

/** Receives what is opened and closed. */
export interface Tracker {
  opened(kind: ResourceKind, resource: object, name: string): void;
  closed(resource: object): void;
  /** `holder`, a view or a pool, keeps `resource`, a slab, alive. */
  held(resource: object, holder: object): void;
}

/** A ring, as a source of operations. */
export interface OperationSource {
  /** Operations that have not settled: an identity that this ring never reuses, and a description. */
  pending(): Map<string, string>;
}

export const trackers: Set<Tracker> = new Set();
const sources: Set<WeakRef<OperationSource>> = new Set();

export function noteOpened(kind: ResourceKind, resource: object, name: () => string): void {
  for (const tracker of trackers) tracker.opened(kind, resource, name());
}

export function noteClosed(resource: object): void {
  for (const tracker of trackers) tracker.closed(resource);
}

export function noteHeld(resource: object, holder: object): void {
  for (const tracker of trackers) tracker.held(resource, holder);
}

/** Adds a ring; call the result to remove it. */
export function addSource(source: OperationSource): () => void {
  const reference = new WeakRef(source);
  sources.add(reference);
  return () => sources.delete(reference);
}

export function openSources(): OperationSource[] {
  const found: OperationSource[] = [];
  for (const reference of sources) {
    const source = reference.deref();
    if (source === undefined) sources.delete(reference);
    else found.push(source);
  }
  return found;
}
