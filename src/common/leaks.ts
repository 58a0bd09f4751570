// What is open, for `trackLeaks` of bun-aio/testing. While nothing tracks, each file, ring, lease and slab costs one
// empty loop; operations cost nothing, because the rings count them anyway.

export type ResourceKind = "file" | "ring" | "lease" | "slab";

/** Somebody who wants to know. */
export interface Tracker {
  opened(kind: ResourceKind, resource: object, name: string): void;
  closed(resource: object): void;
  /** `holder`, a view or a pool, keeps `resource`, a slab, alive. */
  held(resource: object, holder: object): void;
}

/** The operations of one ring. */
export interface OperationSource {
  /** Those that have not settled: an identity that is never used twice on this ring, and words. */
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

/** Announces a ring; the result takes it back. */
export function addSource(source: OperationSource): () => void {
  const reference = new WeakRef(source);
  sources.add(reference);
  return () => sources.delete(reference);
}

/** The rings that are open. */
export function openSources(): OperationSource[] {
  const found: OperationSource[] = [];
  for (const reference of sources) {
    const source = reference.deref();
    if (source === undefined) sources.delete(reference);
    else found.push(source);
  }
  return found;
}
