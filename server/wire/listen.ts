import type { AddressInfo, Server } from 'node:net';

export interface Listen {
  /** Undefined: every address of the machine, of both families where it has both. */
  readonly host: string | undefined;
  readonly port: number;
}

/** Begins to listen; the address that it got. */
export async function listenOn(server: Server, { host, port }: Listen): Promise<AddressInfo> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, ...(host !== undefined && { host }) }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  return address;
}

/** `host:port` as a URL has it. */
export function hostPort({ address, port }: AddressInfo): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
