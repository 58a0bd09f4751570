// NVMe over TCP: the kernel's client, and the kernel's target in the same machine, which configfs sets up
// (drivers/nvme/target/configfs.c). Between them is a relay, whose end is that of the connection.

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { isSince, unless } from "../../support/conditions.ts";
import { attribute } from "./find_disk.ts";
import { until } from "./host.ts";
import type { NetworkDisk } from "./network_disk.ts";
import { sh, shQuietly, withoutModule } from "./shell.ts";

const NAME = "nqn.2026-11.lab:disk";
const FILE = "/tmp/nvme-tcp";
const SIZE = 32 << 20;
/** Of the target, and of the relay to it. */
const PORTS = { target: "4420", relay: "4421" };

const TARGET = "/sys/kernel/config/nvmet";
const SUBSYSTEM = `${TARGET}/subsystems/${NAME}`;
const NAMESPACE = `${SUBSYSTEM}/namespaces/1`;
const PORT = `${TARGET}/ports/1`;

/** Stays for the rest of the machine's life. */
function setUpTarget(): void {
  if (existsSync(PORT)) return;
  writeFileSync(FILE, "");
  truncateSync(FILE, SIZE);
  if (!existsSync(TARGET)) sh("mount -t configfs configfs /sys/kernel/config");
  mkdirSync(SUBSYSTEM);
  writeFileSync(`${SUBSYSTEM}/attr_allow_any_host`, "1");
  mkdirSync(NAMESPACE);
  writeFileSync(`${NAMESPACE}/device_path`, FILE);
  writeFileSync(`${NAMESPACE}/enable`, "1");
  mkdirSync(PORT);
  writeFileSync(`${PORT}/addr_adrfam`, "ipv4");
  writeFileSync(`${PORT}/addr_trtype`, "tcp");
  writeFileSync(`${PORT}/addr_traddr`, "127.0.0.1");
  writeFileSync(`${PORT}/addr_trsvcid`, PORTS.target);
  symlinkSync(SUBSYSTEM, `${PORT}/subsystems/${NAME}`);
}

function isOurs(folder: string): boolean {
  const file = `${folder}/subsysnqn`;
  return existsSync(file) && readFileSync(file, "utf8").trim() === NAME;
}

/** The node of the disk; undefined before it is there. With several paths to a disk, theirs have no node. */
function findNode(): string | undefined {
  return readdirSync("/sys/block").find(
    (node) => isOurs(`/sys/block/${node}/device`) && existsSync(`/dev/${node}`),
  );
}

/** In sysfs; undefined after it is gone. */
export function findController(): string | undefined {
  const folder = "/sys/class/nvme";
  return readdirSync(folder)
    .map((name) => `${folder}/${name}`)
    .find(isOurs);
}

async function connect(patience: number): Promise<string> {
  const options = {
    transport: "tcp",
    traddr: "127.0.0.1",
    trsvcid: PORTS.relay,
    nqn: NAME,
    // Seconds between attempts, and until the kernel gives up and removes the disk.
    reconnect_delay: 1,
    ctrl_loss_tmo: patience,
  };
  const text = Object.entries(options).map(([name, value]) => `${name}=${value}`);
  await until(() => shQuietly(`echo ${text} > /dev/nvme-fabrics`) === "");
  await until(() => findNode() !== undefined);
  const path = `/dev/${findNode()}`;
  await until(() => Number(attribute(path, "size")) * 512 === SIZE);
  return path;
}

/** Waits for the end of what is in flight. */
async function disconnect(): Promise<void> {
  const controller = findController();
  if (controller !== undefined) shQuietly(`echo 1 > ${controller}/delete_controller`);
  await until(() => findController() === undefined && findNode() === undefined);
}

const missing = withoutModule("nvmet_tcp") ?? withoutModule("nvme_tcp");
if (missing === undefined) setUpTarget();

export const nvmeTcp: NetworkDisk = {
  name: "NVMe over TCP",
  missing,
  // A null pointer in nvme_tcp_try_send(), for what nvme_requeue_work() sends to a controller that is being removed.
  fragile: unless(
    isSince(6, 1),
    "Linux 5.10 crashes when it gives up an NVMe/TCP controller with operations in flight",
  ),
  transport: "nvme",
  size: SIZE,
  file: FILE,
  server: [process.execPath, `${import.meta.dir}/relay.ts`, PORTS.relay, PORTS.target],
  connect,
  disconnect,
};
