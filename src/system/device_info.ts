// What is known of a block device, when it is opened or listed.

/** Sizes in bytes; null where the system does not say. */
export interface Geometry {
  readonly size: number;
  /** The unit of addressing: offsets and lengths are multiples of it. */
  readonly logicalSectorSize: number | null;
  /** The unit the medium writes in. Smaller writes are slower. */
  readonly physicalSectorSize: number | null;
  readonly minimumIoSize: number | null;
  readonly optimalIoSize: number | null;
  /** The largest single request of the driver. Larger ones are split for you. */
  readonly maximumTransferSize: number | null;
  /** From the start to the first physical sector. */
  readonly alignmentOffset: number | null;
  readonly rotational: boolean | null;
  readonly readOnly: boolean | null;
  readonly model: string | null;
  readonly serial: string | null;
}

/** A disk, or a partition of one. Sizes in bytes; null where the system does not say. */
export interface BlockDeviceInfo extends Geometry {
  /** For `BlockDevice.open`. */
  readonly path: string;
  /** Whether the medium, or the device, can be taken out. */
  readonly removable: boolean | null;
  /** "nvme", "usb", "ata", "virtio", "mmc", "scsi", "sas", "fc", "iscsi"; null for devices without a bus. */
  readonly transport: string | null;
  /** Whether `/`, `/boot` or swap are on it, also by way of partitions, volumes and loop devices. */
  readonly system: boolean;
  /** Where it is mounted itself, its partitions apart. */
  readonly mounts: readonly string[];
  /** Paths of devices built on it (device-mapper, RAID). */
  readonly holders: readonly string[];
  /**
   * What stands behind a loop device or a partition of one, as the kernel shows it: the path with which it was
   * attached, renamed with the file, and " (deleted)" behind a name that is gone. Null for other devices.
   */
  readonly backingFile: string | null;
  readonly partitions: readonly BlockDeviceInfo[];
}
