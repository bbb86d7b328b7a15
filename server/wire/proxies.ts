/** Proxies in front: what they say of a client counts only where the connection comes from one that is trusted. */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { Networks, plainAddress } from './networks.ts';

export type Scheme = 'http' | 'https';

export class TrustedProxies {
  readonly #networks: Networks;

  /** @param networks addresses, or networks as `10.0.0.0/8`. @throws AddressError */
  constructor(networks: readonly string[]) {
    this.#networks = new Networks('--trusted-proxies', networks);
  }

  /** Address of the client: the nearest one that no trusted proxy has. */
  remoteOf(request: IncomingMessage): string {
    let remote = plainAddress(request.socket.remoteAddress ?? '');
    if (!this.trusts(remote)) return remote;
    // Each proxy appends whom it heard; what stands further left may be a lie.
    const said = String(request.headers['x-forwarded-for'] ?? '').split(',');
    for (let next = said.pop(); next !== undefined && this.trusts(remote); next = said.pop()) {
      const address = plainAddress(next.trim());
      if (isIP(address) === 0) break;
      remote = address;
    }
    return remote;
  }

  /** How the client reached the proxy, if a trusted one says so. */
  schemeOf(request: IncomingMessage): Scheme | undefined {
    const said = String(request.headers['x-forwarded-proto'] ?? '')
      .split(',')
      .at(-1)
      ?.trim()
      .toLowerCase();
    if (said !== 'http' && said !== 'https') return undefined;
    return this.trusts(plainAddress(request.socket.remoteAddress ?? '')) ? said : undefined;
  }

  /** Whether what a connection from this address says of its client counts. */
  trusts(remoteAddress: string): boolean {
    return this.#networks.has(remoteAddress);
  }
}

/** IPv4 within IPv6: as sockets for both families write it (RFC 4291), and from where the two are translated (RFC 6052). */
const MAPPED = new Set(['0:0:0:0:0:ffff', '64:ff9b:0:0:0:0']);

/**
 * What counts as one client: an IPv4 address, or the /64 that a network of IPv6 gives to each customer, who has all of its
 * addresses. @param address as `remoteOf` has it
 */
export function clientNetwork(address: string): string {
  if (isIP(address) !== 6) return address;
  const groups = groupsOf(address);
  if (MAPPED.has(shortest(groups.slice(0, 6))))
    return groups
      .slice(6)
      .flatMap((group) => [group >> 8, group & 0xff])
      .join('.');
  return `${shortest(groups.slice(0, 4))}::/64`;
}

/** The eight groups of an IPv6 address. */
function groupsOf(address: string): number[] {
  const halves = address.replace(/%.*$/, '').split('::');
  const [before = [], after = []] = halves.map((half) =>
    half
      .split(':')
      .filter((it) => it !== '')
      .flatMap(numbersOf),
  );
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
}

/** The last group may be an IPv4 address, which stands for two. */
function numbersOf(group: string): number[] {
  if (!group.includes('.')) return [Number.parseInt(group, 16)];
  const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
  return [(a << 8) | b, (c << 8) | d];
}

function shortest(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(':');
}
