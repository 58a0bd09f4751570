// The disks of FreeBSD, from the XML that GEOM writes into the sysctl kern.geom.confxml, the mount table and the
// swap list. Nothing goes through a shell. Run on FreeBSD 15.0 by hand; the suite parses a recorded tree
// (test/device/list_devices.test.ts).

import { naturalOrder } from "../common/natural_order.ts";
import { type BlockDeviceInfo, unknownDevice } from "./device_info.ts";
import { isSystemMount, unescapedPath } from "./mounts.ts";

export interface FreebsdAnswers {
  readonly confxml: string;
  /** `mount -p` */
  readonly mounts: string;
  /** `swapctl -l` */
  readonly swaps: string;
}

export async function listFreebsdDevices(): Promise<BlockDeviceInfo[]> {
  const [confxml, mounts, swaps] = await Promise.all([
    printed(["/sbin/sysctl", "-b", "kern.geom.confxml"]),
    printed(["/sbin/mount", "-p"]),
    printed(["/sbin/swapctl", "-l"]),
  ]);
  return parseFreebsd({ confxml, mounts, swaps });
}

export async function printed(command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "ignore", stdin: "ignore" });
  return (await new Response(child.stdout).text()).replaceAll("\0", "");
}

interface Provider {
  readonly name: string;
  readonly geom: string;
  readonly fields: ReadonlyMap<string, string>;
}

export function parseFreebsd(answers: FreebsdAnswers): BlockDeviceInfo[] {
  const classes = new Map<string, Provider[]>();
  for (const [, body = ""] of answers.confxml.matchAll(/<class id=[^>]*>([\s\S]*?)<\/class>/g)) {
    const name = field(body, "name");
    if (name !== null) classes.set(name, providersOf(body));
  }
  const sources = [...lines(answers.mounts), ...lines(answers.swaps)];
  const context: Context = {
    partitions: classes.get("PART") ?? [],
    mounts: lines(answers.mounts),
    system: systemNodes(sources),
  };
  const disks = [...(classes.get("DISK") ?? []), ...(classes.get("MD") ?? [])];
  return inOrder(disks.map((disk) => describe(context, disk)));
}

/** GEOM lists the last one made first. */
function inOrder(devices: BlockDeviceInfo[]): BlockDeviceInfo[] {
  return devices.sort((a, b) => naturalOrder(a.path, b.path));
}

interface Context {
  readonly partitions: readonly Provider[];
  readonly mounts: readonly string[][];
  readonly system: ReadonlySet<string>;
}

function describe(context: Context, provider: Provider): BlockDeviceInfo {
  const path = `/dev/${provider.name}`;
  const number = (name: string): number | null => {
    const text = provider.fields.get(name);
    return text === undefined || !Number.isFinite(Number(text)) ? null : Number(text);
  };
  const text = (name: string): string | null => provider.fields.get(name) || null;
  const parts = context.partitions.filter(({ geom }) => geom === provider.name);
  const partitions = inOrder(parts.map((part) => describe(context, part)));
  const mounts = context.mounts.filter(([source]) => source === path).map(([, at = ""]) => at);
  const rotation = number("rotationrate");
  // GEOM puts the physical sector size there; 0 means that the driver does not report it.
  const stripe = number("stripesize") || null;
  const size = number("mediasize") ?? 0;
  return {
    ...unknownDevice(path),
    size,
    logicalSectorSize: number("sectorsize"),
    physicalSectorSize: stripe,
    // It is of a stripe.
    alignmentOffset: stripe === null ? null : number("stripeoffset"),
    rotational: rotation === null ? null : rotation > 1,
    model: text("descr"),
    serial: text("ident"),
    // A drive without a medium is listed with 0 bytes.
    hasMedium: size > 0,
    system: context.system.has(path) || partitions.some(({ system }) => system),
    mounts,
    allMounts: [...new Set([...mounts, ...partitions.flatMap((part) => part.allMounts)])],
    // Present for md(4) over a file.
    backingFile: text("file"),
    partitions,
  };
}

function systemNodes(entries: readonly string[][]): Set<string> {
  const nodes = new Set<string>();
  for (const [source = "", target = ""] of entries) {
    const isSystem = !target.startsWith("/") || isSystemMount(target);
    if (source.startsWith("/dev/") && isSystem) nodes.add(source);
  }
  return nodes;
}

function lines(text: string): string[][] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => line.trim().split(/\s+/).map(unescapedPath));
}

function providersOf(classBody: string): Provider[] {
  const found: Provider[] = [];
  for (const [, geomBody = ""] of classBody.matchAll(/<geom id=[^>]*>([\s\S]*?)<\/geom>/g)) {
    const geom = field(geomBody, "name") ?? "";
    for (const [, body = ""] of geomBody.matchAll(/<provider id=[^>]*>([\s\S]*?)<\/provider>/g)) {
      const fields = new Map<string, string>();
      for (const [, name = "", value = ""] of body.matchAll(/<(\w+)>([^<]*)<\/\1>/g)) {
        fields.set(name, unescaped(value.trim()));
      }
      found.push({ name: fields.get("name") ?? "", geom, fields });
    }
  }
  return found.filter(({ name }) => name !== "");
}

function field(body: string, name: string): string | null {
  const match = new RegExp(`<${name}>([^<]*)</${name}>`).exec(body);
  return match === null ? null : unescaped((match[1] ?? "").trim());
}

function unescaped(text: string): string {
  return text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&amp;", "&");
}
