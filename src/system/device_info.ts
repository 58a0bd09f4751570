// What is known of a block device, when it is opened or listed.

/** Sizes in bytes; null where the system does not say. */
export interface Geometry {
  /** Bytes of the medium; 0 without one. */
  readonly size: number;
  /** The unit of addressing: offsets and lengths must be multiples of it. */
  readonly logicalSectorSize: number | null;
  /** The unit in which the medium writes; smaller writes are slower. */
  readonly physicalSectorSize: number | null;
  /** The smallest request that is not slower than it need be. */
  readonly minimumIoSize: number | null;
  /** The request size that the device likes best, as the stripe of a RAID. */
  readonly optimalIoSize: number | null;
  /** The largest single request that the driver takes. Larger ones are split for you. */
  readonly maximumTransferSize: number | null;
  /** Bytes from the start to the first physical sector. */
  readonly alignmentOffset: number | null;
  /** Whether it is a disk that spins. */
  readonly rotational: boolean | null;
  /** Whether the device refuses writes. */
  readonly readOnly: boolean | null;
  /** The name that the maker gave it. */
  readonly model: string | null;
  /** The disk's own, or that of the USB device in which it is. */
  readonly serial: string | null;
}

/** A disk, or a partition of one. Sizes in bytes; null where the system does not say. */
export interface BlockDeviceInfo extends Geometry {
  /** For `BlockDevice.open`. */
  readonly path: string;
  /** The maker, as SCSI, ATA and USB disks name it: "ATA", "SanDisk". */
  readonly vendor: string | null;
  /**
   * Whether it has zones that want to be written from start to end (SMR disks, ZNS; `blkzone report`). A host-managed
   * one fails writes elsewhere in a zone with EIO; the library does not order writes.
   */
  readonly zoned: boolean | null;
  /** Whether the medium or the device is removable. */
  readonly removable: boolean | null;
  /** Whether there is a medium in the drive; true of disks that are one. */
  readonly hasMedium: boolean | null;
  /** "nvme", "usb", "ata", "virtio", "mmc", "scsi", "sas", "fc", "iscsi"; null for devices without a bus. */
  readonly transport: string | null;
  /**
   * Whether the system runs from it: `/`, `/boot`, `/efi`, `/etc`, `/usr`, `/usr/local`, `/var`, anything mounted below
   * `/boot` or `/etc`, or swap is on it, also through partitions, volumes and loop devices.
   */
  readonly system: boolean;
  /**
   * Its mount points, without those of its partitions. A byte that is not UTF-8 is a lone surrogate (U+DC80 to U+DCFF,
   * PEP 383), here and in `backingFile`.
   */
  readonly mounts: readonly string[];
  /** Its mount points and those of its partitions. Not those of `holders`. */
  readonly allMounts: readonly string[];
  /** Paths of devices built on it (device-mapper, RAID). */
  readonly holders: readonly string[];
  /**
   * The file behind a loop device or one of its partitions, as the kernel shows it: the path with which it was
   * attached, updated when the file is renamed, with " (deleted)" appended when the name is gone. Null for other
   * devices.
   */
  readonly backingFile: string | null;
  /** Its partitions, in order; empty for a partition. */
  readonly partitions: readonly BlockDeviceInfo[];
}

export const UNKNOWN_GEOMETRY: Geometry = {
  ...{ size: 0, logicalSectorSize: null, physicalSectorSize: null, minimumIoSize: null },
  ...{ optimalIoSize: null, maximumTransferSize: null, alignmentOffset: null, rotational: null },
  ...{ readOnly: null, model: null, serial: null },
};

export function unknownDevice(path: string): BlockDeviceInfo {
  return {
    ...{ path, ...UNKNOWN_GEOMETRY, vendor: null, zoned: null, removable: null, hasMedium: null },
    ...{ transport: null, system: false, mounts: [], allMounts: [], holders: [] },
    ...{ backingFile: null, partitions: [] },
  };
}
