// A socket that was made by native code, read by Bun's event loop.

export interface DescriptorHandlers {
  /** A datagram. */
  data(socket: unknown, bytes: Uint8Array): void;
  /** It was closed, here or because reading failed. */
  close(): void;
}

/**
 * Takes over the descriptor: it is closed with the socket. `fd` is missing in bun-types; test/device/watch.test.ts
 * shows that datagrams arrive whole, and that a failed read closes it.
 */
export function connectFd(fd: number, socket: DescriptorHandlers): Promise<Bun.Socket<undefined>> {
  return Bun.connect({ fd, socket } as unknown as Bun.UnixSocketOptions<undefined>);
}
