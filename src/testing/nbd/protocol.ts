// The numbers of the NBD protocol, as the project NetworkBlockDevice/nbd describes it, and how they go over the wire.

export function u16(value: number): Buffer {
  const out = Buffer.alloc(2);
  out.writeUInt16BE(value);
  return out;
}

export function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
}

export function u64(value: number | bigint): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(value));
  return out;
}

export const MAGIC = 0x4e42_444d_4147_4943n; // "NBDMAGIC"
export const OPTION_MAGIC = 0x4948_4156_454f_5054n; // "IHAVEOPT"
export const OPTION_REPLY_MAGIC = 0x0003_e889_0455_65a9n;
export const REQUEST_MAGIC = 0x2560_9513;
export const SIMPLE_REPLY_MAGIC = 0x6744_6698;
export const CHUNK_MAGIC = 0x668e_33ef;

/** Of the handshake, both ways: the fixed newstyle, and no 124 zeroes after `Option.exportName`. */
export const Handshake = { fixed: 1, noZeroes: 2 } as const;

export const Option = {
  exportName: 1,
  abort: 2,
  list: 3,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const OptionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  unsupported: 0x8000_0001,
  invalid: 0x8000_0003,
} as const;

/** What `OptionReply.info` tells. */
export const Info = { export: 0, blockSize: 3 } as const;

export const ExportFlag = {
  hasFlags: 1,
  readOnly: 2,
  flush: 4,
  fua: 8,
  rotational: 16,
  trim: 32,
  writeZeroes: 64,
  df: 128,
  multiConn: 256,
} as const;

export const Command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const CommandFlag = {
  /** The command's own changes are on the medium when it is answered. */
  fua: 1,
  /** `writeZeroes`: the space stays allocated. */
  noHole: 2,
  /** `read`: one chunk. */
  df: 4,
  /** `blockStatus`: one extent. */
  reqOne: 8,
} as const;

export const Chunk = { none: 0, data: 1, blockStatus: 5, error: 0x8001 } as const;
export const CHUNK_DONE = 1;

/** Of an extent in `base:allocation`: not allocated, and reads as zeroes. */
export const HOLE_AND_ZERO = 3;
export const ALLOCATION = "base:allocation";
/** The number that this server gives that context. */
export const ALLOCATION_ID = 1;

export const NbdError = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

/** Data of one request in bytes: what clients take for granted. */
export const PAYLOAD_BYTES_MAX: number = 32 * 1024 * 1024;
