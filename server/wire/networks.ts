/** Addresses and networks that a flag names. */
import { BlockList, isIP } from 'node:net';
import { AddressError } from './errors.ts';

export class Networks {
  readonly #networks = new BlockList();
  readonly #isNone: boolean;

  /** @param flag for errors. @param networks addresses, or networks as `10.0.0.0/8`. @throws AddressError */
  constructor(flag: string, networks: readonly string[]) {
    this.#isNone = networks.length === 0;
    for (const network of networks) {
      const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(network) ?? [];
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
      const most = family === 'ipv6' ? 128 : 32;
      if (isIP(address) === 0 || Number(bits ?? most) > most)
        throw new AddressError(`${flag}: expected an address or a network, got ${network}`);
      this.#networks.addSubnet(address, Number(bits ?? most), family);
    }
  }

  /** Whether it is one of them, or lies in one. @param remoteAddress as a socket has it */
  has(remoteAddress: string): boolean {
    const address = plainAddress(remoteAddress);
    if (this.#isNone || isIP(address) === 0) return false;
    return this.#networks.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  }
}

/** An IPv4 address as a socket for both families writes it. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '');
}
