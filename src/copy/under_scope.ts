// What surrounds the work of every copy.

import { onCancel } from "../cancellation/registry.ts";
import type { CancelReason, CancelScope } from "../cancellation/scope.ts";
import type { File } from "../file/file.ts";
import { openFileOf } from "../file/open_file.ts";

/**
 * Runs `work`, and calls `cancel` when the scope is cancelled: before it, if it is cancelled already. Meanwhile syncs
 * need not report failed writes to the targets, because the copy itself does.
 */
export async function underScope<T>(
  scope: CancelScope,
  targets: readonly File[],
  cancel: (reason: CancelReason) => void,
  work: () => Promise<T>,
): Promise<T> {
  // Registered before the operations are, so that the reason is known when they end.
  const registration = onCancel(scope, cancel);
  const states = targets.map((target) => openFileOf(target).state);
  for (const { reports } of states) reports.beginTeller(scope);
  try {
    const { reason } = scope;
    if (reason !== undefined) cancel(reason);
    return await work();
  } finally {
    registration.end();
    for (const { reports, order } of states) reports.endTeller(scope, order);
  }
}
