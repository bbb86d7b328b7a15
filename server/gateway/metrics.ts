/** Prometheus series. Requests only add to plain numbers; the series are made of them when somebody scrapes. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { CircuitState } from './circuit.ts';
import type { Tunnels } from './tunnels.ts';
import type { Upstreams } from './upstreams.ts';

export interface Traffic {
  /** Bytes of bodies from clients. */
  received: number;
  /** Bytes of bodies to clients. */
  sent: number;
}

export interface Observed {
  readonly upstreams: Upstreams;
  readonly tunnels: Tunnels;
  /** Connections of clients. */
  readonly connections: () => Promise<number>;
}

const STATES: readonly CircuitState[] = ['closed', 'half-open', 'open'];

export class GatewayMetrics {
  readonly registry = new Registry();
  readonly #answers = new Map<string, Map<string, number>>();
  readonly #traffic = new Map<string, Traffic>();

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    const self = this;
    new Counter({
      name: 'narwhal_gateway_requests_total',
      help: 'Answered requests by cache (empty: none) and class of their status; 0: the client left before an answer.',
      labelNames: ['cache', 'code'],
      registers,
      collect() {
        this.reset();
        for (const [cache, codes] of self.#answers) for (const [code, count] of codes) this.inc({ cache, code }, count);
      },
    });
    const bytes = (name: string, help: string, read: (traffic: Traffic) => number) =>
      new Counter({
        name,
        help,
        labelNames: ['cache'],
        registers,
        collect() {
          this.reset();
          for (const [cache, traffic] of self.#traffic) this.inc({ cache }, read(traffic));
        },
      });
    bytes('narwhal_gateway_received_bytes_total', 'Bytes of bodies from clients.', ({ received }) => received);
    bytes('narwhal_gateway_sent_bytes_total', 'Bytes of bodies to clients.', ({ sent }) => sent);
  }

  /** Series that are read off living things. */
  watch({ upstreams, tunnels, connections }: Observed): void {
    const registers = [this.registry];
    new Gauge({
      name: 'narwhal_gateway_connections',
      help: 'Connections of clients, WebSockets included.',
      registers,
      async collect() {
        this.set(await connections());
      },
    });
    new Gauge({
      name: 'narwhal_gateway_websockets',
      help: 'WebSockets that are open.',
      registers,
      collect() {
        this.set(tunnels.count);
      },
    });
    new Gauge({
      name: 'narwhal_gateway_active_requests',
      help: 'Requests under way to a cache.',
      labelNames: ['cache'],
      registers,
      collect() {
        this.reset();
        for (const [cache, { requests }] of upstreams.entries()) this.set({ cache }, requests.held);
      },
    });
    new Gauge({
      name: 'narwhal_gateway_waiting_requests',
      help: 'Reads that wait until there is a place among the requests to a cache.',
      labelNames: ['cache'],
      registers,
      collect() {
        this.reset();
        for (const [cache, { requests }] of upstreams.entries()) this.set({ cache }, requests.waiting);
      },
    });
    new Gauge({
      name: 'narwhal_gateway_stalled_requests',
      help: 'Requests that lost their place to others because they stood still, since the cache is in the table.',
      labelNames: ['cache'],
      registers,
      collect() {
        this.reset();
        for (const [cache, { requests }] of upstreams.entries()) this.set({ cache }, requests.revoked);
      },
    });
    new Gauge({
      name: 'narwhal_gateway_circuit',
      help: 'Whether the servers of a cache can be connected to: 1 for the state that its circuit is in.',
      labelNames: ['cache', 'state'],
      registers,
      collect() {
        this.reset();
        for (const [cache, { circuit }] of upstreams.entries())
          for (const state of STATES) this.set({ cache, state }, Number(circuit.state === state));
      },
    });
  }

  /** @param status 0: none was sent */
  answered(cache: string, status: number): void {
    const codes = this.#answers.get(cache) ?? new Map<string, number>();
    this.#answers.set(cache, codes);
    const code = status === 0 ? '0' : `${Math.floor(status / 100)}xx`;
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }

  /** To be added to. */
  traffic(cache: string): Traffic {
    let traffic = this.#traffic.get(cache);
    if (traffic === undefined) {
      traffic = { received: 0, sent: 0 };
      this.#traffic.set(cache, traffic);
    }
    return traffic;
  }
}
