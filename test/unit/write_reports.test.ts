// Units of write_reports.ts: which sync has to tell of which write.

import { expect, test } from "bun:test";
import { CancelScope } from "../../src/cancellation/scope.ts";
import { IoError, wasAsked } from "../../src/errors/io_error.ts";
import { type FailedWrite, WriteReports } from "../../src/ring/write_reports.ts";

const aborted = (): IoError => new IoError("ABORT_ERR", {});
const broken = (): IoError => new IoError("EIO", {});

/** The write called at `order` has failed; it had begun unless `more` says otherwise. */
function failed(
  reports: WriteReports,
  order: number,
  error: IoError,
  more: Partial<FailedWrite> = {},
): void {
  reports.writeFailed({ order, error, hadBegun: true, scope: undefined, ...more });
}

/** What a sync that is called at `order`, and goes well, has to tell of. */
function told(reports: WriteReports, order: number): IoError[] {
  const sync = reports.beginSync(order);
  reports.endSync(sync);
  return [...sync.untold.values()];
}

test("what the caller asked for is no failure of the medium", () => {
  expect(wasAsked(aborted())).toBe(true);
  expect(wasAsked(new IoError("ERR_TIMEOUT", {}))).toBe(true);
  for (const code of ["EIO", "ERR_WRITE_ABORTED", "ECANCELED"]) {
    expect(wasAsked(new IoError(code, {}))).toBe(false);
  }
});

test("an aborted write: one sync, the one that waits for it or else the next", () => {
  const reports = new WriteReports();
  const [first, second] = [aborted(), aborted()];
  failed(reports, 1, first);
  failed(reports, 2, second);
  expect(told(reports, 3)).toEqual([first]);
  expect(told(reports, 4)).toEqual([]);
  const sync = reports.beginSync(6);
  failed(reports, 5, second);
  expect([...sync.untold.values()]).toEqual([second]);
  reports.endSync(sync);
  expect(told(reports, 7)).toEqual([]);
  expect(reports.lasting).toBeUndefined();
});

test("a write that was called after a sync is not that sync's to tell of", () => {
  const reports = new WriteReports();
  const sync = reports.beginSync(5);
  const [lost, error] = [aborted(), broken()];
  failed(reports, 6, lost);
  failed(reports, 7, error);
  expect([sync.untold.size, sync.failure]).toEqual([0, undefined]);
  reports.endSync(sync);
  expect(told(reports, 8)).toEqual([lost]);
  expect(reports.lasting).toBe(error);
});

test("every sync that waits hears of a write that it covers", () => {
  const reports = new WriteReports();
  const [early, one, other] = [1, 3, 4].map((order) => reports.beginSync(order));
  const error = aborted();
  failed(reports, 2, error, { hadBegun: false });
  expect([early, one, other].map((sync) => sync?.untold.size)).toEqual([0, 1, 1]);
  const failure = broken();
  failed(reports, 2, failure);
  expect([early, one, other].map((sync) => sync?.failure)).toEqual([undefined, failure, failure]);
});

test("a write that never began is told of once, one that had for good", () => {
  const reports = new WriteReports();
  const [never, failure] = [broken(), broken()];
  failed(reports, 1, never, { hadBegun: false });
  expect(reports.lasting).toBeUndefined();
  expect(told(reports, 2)).toEqual([never]);
  failed(reports, 3, failure);
  failed(reports, 4, broken());
  expect(reports.lasting).toBe(failure);
});

test("a sync that tells of something else hands on what it had taken over", () => {
  const reports = new WriteReports();
  const error = aborted();
  failed(reports, 1, error);
  const sync = reports.beginSync(2);
  reports.endSync(sync);
  reports.handOn(sync);
  expect(told(reports, 3)).toEqual([error]);
});

test("who tells of its own: no sync does after that, of others it does", () => {
  const reports = new WriteReports();
  const [copy, stranger] = [new CancelScope(undefined), new CancelScope(undefined)];
  reports.beginTeller(copy);
  const [ours, theirs] = [aborted(), aborted()];
  failed(reports, 1, ours, { scope: copy });
  failed(reports, 2, theirs, { scope: stranger });
  reports.endTeller(copy, 2);
  expect(told(reports, 3)).toEqual([theirs]);
  // While it runs nobody has been told yet.
  reports.beginTeller(copy);
  failed(reports, 4, ours, { scope: copy });
  expect(told(reports, 5)).toEqual([ours]);
  reports.endTeller(copy, 5);
  expect(told(reports, 6)).toEqual([]);
});

test("who has told before its writes have settled: syncs called before that hear of them, later ones do not", () => {
  const reports = new WriteReports();
  const stream = new CancelScope(undefined);
  reports.beginTeller(stream);
  const before = reports.beginSync(2);
  reports.endTeller(stream, 2);
  const after = reports.beginSync(3);
  const error = aborted();
  failed(reports, 1, error, { scope: stream });
  expect([...before.untold.values()]).toEqual([error]);
  expect(after.untold.size).toBe(0);
  reports.endSync(before);
  reports.endSync(after);
  // The one that was to tell is aborted: it is no news any more.
  reports.handOn(before);
  expect(told(reports, 4)).toEqual([]);
});

test("a copy does not keep the failure of the medium to itself", () => {
  const reports = new WriteReports();
  const copy = new CancelScope(undefined);
  reports.beginTeller(copy);
  const failure = broken();
  failed(reports, 1, failure, { scope: copy });
  reports.endTeller(copy, 1);
  expect(reports.lasting).toBe(failure);
});
