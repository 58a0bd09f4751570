// What the kernel announces of disks: uevents on Linux (lib/kobject_uevent.c), what devd(8) passes on on FreeBSD.
// Where neither is to be had, as in some sandboxes, "something may have changed" every second.

import { readFileSync } from "node:fs";
import { Timer } from "../native/clock.ts";
import { connectFd } from "../native/descriptor_socket.ts";
import { library } from "../native/library.ts";

/** One message about a disk or one of its partitions. */
export interface Announcement {
  /** The disk's name in /sys/block. */
  readonly disk: string;
  /** Of the disk; what happens to a partition changes its disk. */
  readonly action: "add" | "remove" | "change";
  readonly isPartition: boolean;
}

export interface Listener {
  heard(announcement: Announcement): void;
  /** Announcements may have been lost: everything must be looked at. */
  lost(): void;
}

const POLL_MS = 1000;

/** Listens from the moment that it is made. Keeps the process alive only while `isAwaited`. */
export class Announcements {
  readonly #listener: Listener;
  #socket: Bun.Socket<undefined> | undefined;
  #isListening = false;
  #isAwaited = false;
  #isOver = false;
  #timer: Timer | undefined;

  constructor(listener: Listener) {
    this.#listener = listener;
    this.#listen();
  }

  set isAwaited(isAwaited: boolean) {
    this.#isAwaited = isAwaited;
    if (isAwaited) this.#socket?.ref();
    else this.#socket?.unref();
    this.#poll();
  }

  close(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#socket?.terminate();
  }

  #listen(): void {
    const fd = library().ba_watch_devices();
    if (fd < 0) return;
    this.#isListening = true;
    const connecting = connectFd(fd, {
      data: (_, bytes) => this.#take(bytes),
      // ENOBUFS, or devd has ended.
      close: () => this.#listenAgain(),
    });
    connecting.then(
      (connected) => {
        this.#socket = connected;
        if (this.#isOver) connected.terminate();
        else this.isAwaited = this.#isAwaited;
      },
      () => {
        this.#isListening = false;
        this.#poll();
      },
    );
  }

  #take(bytes: Uint8Array): void {
    if (process.platform !== "linux") {
      this.#listener.lost();
      return;
    }
    const announcement = parseUevent(bytes);
    if (announcement !== undefined) this.#listener.heard(announcement);
  }

  #listenAgain(): void {
    this.#socket = undefined;
    this.#isListening = false;
    if (this.#isOver) return;
    this.#listen();
    this.#poll();
    this.#listener.lost();
  }

  /** Looks from time to time, while somebody waits and nothing is announced. */
  #poll(): void {
    const wanted = this.#isAwaited && !this.#isOver && (!this.#isListening || isDeaf());
    if (!wanted) {
      this.#timer?.cancel();
      this.#timer = undefined;
    }
    if (!wanted || this.#timer !== undefined) return;
    const look = (): void => {
      this.#timer = undefined;
      if (!this.#isListening) this.#listen();
      this.#poll();
      this.#listener.lost();
    };
    this.#timer = new Timer(POLL_MS, look, { keepsAlive: true });
  }
}

let deaf: boolean | undefined;

/** The kernel announces nothing to user namespaces but the first (uevent_net_broadcast_untagged()). */
function isDeaf(): boolean {
  deaf ??= process.platform === "linux" && !/^\s*0\s+0\s+4294967295\s*$/.test(userMap());
  return deaf;
}

/** user_namespaces(7) */
function userMap(): string {
  try {
    return readFileSync("/proc/self/uid_map", "latin1");
  } catch {
    return "";
  }
}

/** "add@/devices/...", then variables, each ended by a NUL. Undefined for anything but a disk or partition. */
export function parseUevent(bytes: Uint8Array): Announcement | undefined {
  const variables = new Map<string, string>();
  for (const variable of Buffer.from(bytes).toString().split("\0").slice(1)) {
    const at = variable.indexOf("=");
    variables.set(variable.slice(0, at), variable.slice(at + 1));
  }
  const [disk, parent] = (variables.get("DEVPATH") ?? "").split("/").reverse();
  if (variables.get("SUBSYSTEM") !== "block" || disk === undefined) return undefined;
  const isPartition = variables.get("DEVTYPE") === "partition";
  if (isPartition) return { disk: parent ?? "", action: "change", isPartition };
  // Whoever writes to /sys/block/*/uevent (udevadm-trigger(8)) may name any action: nothing has come or gone.
  const action = variables.has("SYNTH_UUID") ? undefined : variables.get("ACTION");
  return { disk, action: action === "add" || action === "remove" ? action : "change", isPartition };
}
