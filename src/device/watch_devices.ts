// `watchBlockDevices`: disks that come, go and change. What is announced says where to look; what is told was looked at.

import { onCancel, type Registration } from "../cancellation/registry.ts";
import { type CancelReason, cancelError, cancelScope } from "../cancellation/scope.ts";
import { argumentType } from "../common/argument_errors.ts";
import { checkIoOptions, checkOptions } from "../common/arguments.ts";
import { noteClosed, noteOpened } from "../common/leaks.ts";
import { type Announcement, Announcements, type Listener } from "../system/announcements.ts";
import { type BlockDeviceInfo, unknownDevice } from "../system/device_info.ts";
import { nodeOf, SYSTEM_PATHS } from "../system/sysfs.ts";
import { allDevices, isListed } from "./list_devices.ts";

/** A disk that came, went or changed. */
export interface BlockDeviceEvent {
  /** `add`: it came; `remove`: it went; `change`: its medium, size or partitions are others. */
  readonly type: "add" | "remove" | "change";
  /** As `listBlockDevices` describes it; of "remove" as it was last. */
  readonly device: BlockDeviceInfo;
}

/** From when on, and how long, disks are watched. */
export interface WatchBlockDevicesOptions {
  /** Ends the watch: the iterator rejects with an AbortError. */
  signal?: AbortSignal | undefined;
  /**
   * What is known already, as `listBlockDevices` returned it: first come the differences to it. `[]`: first all disks
   * that there are, as "add". Default: the watch begins with what changes after the call.
   */
  since?: readonly BlockDeviceInfo[] | undefined;
}

/** For one reader. Ends with the loop that reads it, with `signal`, or when it is disposed of. */
export interface BlockDeviceWatch
  extends AsyncIterableIterator<BlockDeviceEvent, undefined>,
    AsyncDisposable {
  /** Waits for the next event. Done when the watch has ended. */
  next(): Promise<IteratorResult<BlockDeviceEvent, undefined>>;
  /** Ends the watch, and a `next` that waits. */
  return(): Promise<IteratorResult<BlockDeviceEvent, undefined>>;
  /** The watch itself, for `for await`. */
  [Symbol.asyncIterator](): BlockDeviceWatch;
}

/**
 * Tells of disks that come, go and change, from the call on: nothing that happens after it is missed, whenever the
 * iterator is read. To start with a list, pass it as `since`, or make it after this call; in the latter case an event
 * may tell of what is in the list already.
 *
 * Events are of disks; a partition that comes, goes or changes is a "change" of its disk. A device whose medium comes
 * or goes changes, too: a loop device when it is attached and detached, though `listBlockDevices` leaves it out while
 * it has none. That something is mounted or unmounted is not told. Changes that follow one another before they are
 * read are one event, and a disk that went and came back is a "remove" and an "add".
 *
 * The process stays alive while the iterator is awaited. Linux: uevents of the kernel; FreeBSD: devd(8); where neither
 * is to be had, the disks are compared every second. Rejects as `listBlockDevices` does, and then ends.
 *
 * @throws TypeError for wrong options.
 *
 * @example
 * ```ts
 * import { watchBlockDevices } from "bun-aio";
 *
 * const watch = watchBlockDevices();
 * setTimeout(() => watch.return(), 500);
 * for await (const { type, device } of watch) console.log(type, device.path);
 * ```
 */
export function watchBlockDevices(options: WatchBlockDevicesOptions = {}): BlockDeviceWatch {
  checkOptions("watchBlockDevices", options, ["signal", "since"]);
  const { signal, since } = options;
  return new DeviceWatch(checkIoOptions({ signal }).signal, checkSince(since));
}

/** The devices by path. Each is read once: a getter may return something else next time. */
function checkSince(since: unknown): Map<string, BlockDeviceInfo> | undefined {
  if (since === undefined) return undefined;
  if (!Array.isArray(since)) throw argumentType("options.since", "an array", since);
  const known = new Map<string, BlockDeviceInfo>();
  for (const [index, device] of [...since].entries()) {
    const copy: Partial<BlockDeviceInfo> = { ...device };
    if (typeof copy.path !== "string") {
      throw argumentType(`options.since[${index}]`, "a BlockDeviceInfo", device);
    }
    known.set(copy.path, copy as BlockDeviceInfo);
  }
  return known;
}

/** What was announced of one disk since it was last described. */
interface Pending {
  /** Whether it came first of all. */
  readonly isNew: boolean;
  wasRemoved: boolean;
  /** Whether the disk itself changed, not only a partition. */
  isOwn: boolean;
}

type Next = IteratorResult<BlockDeviceEvent, undefined>;

/** Watches that are awaited: nothing else refers to them but weakly. */
const awaited = new Set<DeviceWatch>();

class DeviceWatch implements BlockDeviceWatch, Listener {
  readonly #announcements: Announcements | undefined;
  readonly #readers: PromiseWithResolvers<Next>[] = [];
  #events: BlockDeviceEvent[] = [];
  /** Disks by path, as they were told of last. */
  #known = new Map<string, BlockDeviceInfo>();
  /** Those of the first look that may have come after the call: they may be listed before they are announced. */
  readonly #listed = new Set<string>();
  #pending = new Map<string, Pending>();
  /** The first look at the disks. */
  #start: Promise<void> | undefined;
  #isDoubtful = false;
  #isRunning = false;
  #isOver = false;
  /** For the next reader. */
  #failure: { readonly error: unknown } | undefined;
  #registration: Registration | undefined;

  constructor(signal: AbortSignal | undefined, since: Map<string, BlockDeviceInfo> | undefined) {
    const scope = cancelScope({ signal });
    if (scope?.reason !== undefined) {
      this.#abort(scope.reason);
      return;
    }
    this.#registration = scope && onCancel(scope, (reason) => this.#abort(reason));
    this.#announcements = announcementsFor(new WeakRef(this));
    noteOpened("watch", this, () => "of block devices");
    this.#start = this.#look(since);
    // The first reader is told.
    this.#start.catch(() => {});
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Next> {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) return Promise.reject(failure.error);
    if (this.#isOver) return Promise.resolve(END);
    const reader = Promise.withResolvers<Next>();
    this.#readers.push(reader);
    void this.#serve();
    return reader.promise;
  }

  return(): Promise<Next> {
    this.#failure = undefined;
    this.#end();
    return Promise.resolve(END);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  // Announcements ---------------------------------------------------------------------------------

  heard({ disk, action, isPartition }: Announcement): void {
    const first = { isNew: action === "add", wasRemoved: false, isOwn: false };
    const pending = this.#pending.get(disk) ?? first;
    pending.wasRemoved ||= action === "remove";
    pending.isOwn ||= !isPartition;
    this.#pending.set(disk, pending);
    void this.#serve();
  }

  lost(): void {
    this.#isDoubtful = true;
    void this.#serve();
  }

  // Looking ---------------------------------------------------------------------------------------

  async #look(since: Map<string, BlockDeviceInfo> | undefined): Promise<void> {
    const present = await allDevices();
    if (since === undefined) {
      this.#known = byPath(present);
      for (const path of this.#known.keys()) this.#listed.add(path);
      for (const [disk, { isNew }] of this.#pending) {
        // It came after the call.
        if (isNew) this.#known.delete(pathOf(disk));
      }
      return;
    }
    this.#known = since;
    // What a list leaves out is no news.
    for (const device of present) {
      if (!isListed(device) && !since.has(device.path)) since.set(device.path, device);
    }
    this.#compare(present);
  }

  #compare(present: readonly BlockDeviceInfo[]): void {
    const now = byPath(present);
    for (const device of this.#known.values()) {
      if (!now.has(device.path)) this.#tell("remove", device);
    }
    for (const device of present) {
      const before = this.#known.get(device.path);
      if (before === undefined) this.#tell("add", device);
      else if (!isSame(before, device)) this.#tell("change", device);
    }
    this.#known = now;
  }

  async #examine(): Promise<void> {
    const pending = this.#pending;
    this.#pending = new Map();
    const now = byPath(await allDevices([...pending.keys()]));
    for (const [disk, announced] of pending) {
      this.#settle(pathOf(disk), announced, now.get(pathOf(disk)));
    }
  }

  #settle(path: string, announced: Pending, device: BlockDeviceInfo | undefined): void {
    if (announced.wasRemoved) {
      const last = this.#known.get(path);
      if (last !== undefined || !announced.isNew) this.#tell("remove", last ?? unknownDevice(path));
      this.#known.delete(path);
    }
    // Its removal is still to be announced.
    if (device === undefined) return;
    const before = this.#known.get(path);
    // The partitions of a disk that is being removed go first.
    if (!announced.isOwn && device.size === 0 && (before?.size ?? 0) > 0) return;
    this.#known.set(path, device);
    const wasListed = this.#listed.delete(path);
    const came = before === undefined || (announced.isNew && wasListed);
    this.#tell(came ? "add" : "change", device);
  }

  #tell(type: BlockDeviceEvent["type"], device: BlockDeviceInfo): void {
    this.#events.push({ type, device });
  }

  // Readers ---------------------------------------------------------------------------------------

  async #serve(): Promise<void> {
    if (this.#isRunning || this.#readers.length === 0) return;
    this.#isRunning = true;
    this.#await(true);
    try {
      await this.#start;
      while (this.#readers.length > 0 && this.#hasNews) {
        const value = this.#events.shift();
        if (value !== undefined) this.#readers.shift()?.resolve({ done: false, value });
        else await this.#refill();
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#isRunning = false;
    this.#await(this.#readers.length > 0);
  }

  get #hasNews(): boolean {
    return this.#events.length > 0 || this.#isDoubtful || this.#pending.size > 0;
  }

  async #refill(): Promise<void> {
    if (!this.#isDoubtful) return this.#examine();
    this.#isDoubtful = false;
    this.#compare(await allDevices());
  }

  #await(isAwaited: boolean): void {
    if (this.#announcements === undefined || this.#isOver) return;
    this.#announcements.isAwaited = isAwaited;
    if (isAwaited) awaited.add(this);
    else awaited.delete(this);
  }

  // The end ---------------------------------------------------------------------------------------

  #abort(reason: CancelReason): void {
    this.#fail(cancelError(reason, { syscall: "watch" }));
  }

  #fail(error: unknown): void {
    const reader = this.#readers.shift();
    if (reader === undefined) this.#failure ??= { error };
    else reader.reject(error);
    this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events = [];
    this.#registration?.end();
    this.#announcements?.close();
    awaited.delete(this);
    noteClosed(this);
    for (const reader of this.#readers.splice(0)) reader.resolve(END);
  }
}

/** For a watch that is collected when nobody refers to it any more. */
function announcementsFor(watch: WeakRef<Listener>): Announcements {
  const tell = (what: (listener: Listener) => void): void => {
    const listener = watch.deref();
    if (listener === undefined) announcements.close();
    else what(listener);
  };
  const announcements = new Announcements({
    heard: (announcement) => tell((listener) => listener.heard(announcement)),
    lost: () => tell((listener) => listener.lost()),
  });
  return announcements;
}

const END: IteratorReturnResult<undefined> = { done: true, value: undefined };

function byPath(devices: readonly BlockDeviceInfo[]): Map<string, BlockDeviceInfo> {
  return new Map(devices.map((device) => [device.path, device]));
}

function pathOf(disk: string): string {
  return nodeOf(SYSTEM_PATHS, disk);
}

/** Apart from what is mounted, which is not announced either. */
function isSame(before: BlockDeviceInfo, now: BlockDeviceInfo): boolean {
  return Bun.deepEquals(withoutMounts(before), withoutMounts(now));
}

/** `device` may be the caller's. */
function withoutMounts(device: BlockDeviceInfo): object {
  const { partitions, ...rest }: Partial<BlockDeviceInfo> = { ...device };
  const parts = Array.isArray(partitions) ? partitions.map(withoutMounts) : [];
  return { ...rest, mounts: [], allMounts: [], system: false, partitions: parts };
}
