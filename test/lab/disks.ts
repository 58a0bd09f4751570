// The disks of the lab: what the machine is given, and what tests in it expect to find.

const MiB = 1 << 20;

export type DiskName =
  | "nvme-512"
  | "nvme-4096"
  | "virtio-512"
  | "virtio-4096"
  | "scsi-512e"
  | "scsi-4096n"
  | "scsi-thin"
  | "scsi-read-only"
  | "scsi-bad"
  | "scsi-no-flush"
  | "usb-stick"
  | "uas"
  | "sd-card"
  | "ata"
  | "volatile-virtio"
  | "volatile-scsi";

export interface Described {
  size: number;
  logicalSectorSize: number;
  /** What the disk says; null: nothing that tells it from others. */
  serial: string | null;
  /** A healthy disk that takes writes and keeps them. */
  writable: boolean;
}

function described(
  serial: string | null,
  mebibytes: number,
  rest: Partial<Described> = {},
): Described {
  return { size: mebibytes * MiB, logicalSectorSize: 512, serial, writable: true, ...rest };
}

export const disks: Record<DiskName, Described> = {
  "nvme-512": described("NVME-512", 64),
  "nvme-4096": described("NVME-4096", 64, { logicalSectorSize: 4096 }),
  "virtio-512": described("VIRTIO-512", 64),
  "virtio-4096": described("VIRTIO-4096", 64, { logicalSectorSize: 4096 }),
  "scsi-512e": described("SCSI-512E", 64),
  "scsi-4096n": described("SCSI-4096N", 64, { logicalSectorSize: 4096 }),
  "scsi-thin": described("SCSI-THIN", 64),
  "scsi-read-only": described("SCSI-RO", 16, { writable: false }),
  "scsi-bad": described("SCSI-BAD", 64, { writable: false }),
  "scsi-no-flush": described("SCSI-NOFLUSH", 16, { writable: false }),
  "usb-stick": described("USB-STICK", 32),
  uas: described("UAS-1", 32),
  "sd-card": described(null, 32),
  ata: described("ATA-1", 32),
  "volatile-virtio": described("VOLATILE-V", 16, { writable: false }),
  "volatile-scsi": described("VOLATILE-S", 16, { writable: false }),
};

export const diskNames: readonly DiskName[] = Object.keys(disks) as DiskName[];
export const writableDisks: readonly DiskName[] = diskNames.filter((name) => disks[name].writable);
