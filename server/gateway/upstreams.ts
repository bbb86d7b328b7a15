/** The servers of all caches in the table. One that stays keeps its connections; one that leaves finishes what runs. */
import type { RoutingTable } from '../../crds/index.ts';
import type { BudgetInit } from '../shares/index.ts';
import type { CircuitState } from './circuit.ts';
import { Upstream } from './upstream.ts';

export interface UpstreamsInit {
  readonly connectTimeoutMs: number;
  /** For each cache. */
  readonly requests: BudgetInit;
  readonly onCircuit: (cache: string, state: CircuitState) => void;
}

export class Upstreams {
  readonly #init: UpstreamsInit;
  #byName: ReadonlyMap<string, Upstream> = new Map();

  constructor(init: UpstreamsInit) {
    this.#init = init;
  }

  get(cache: string): Upstream | undefined {
    return this.#byName.get(cache);
  }

  entries(): Iterable<[string, Upstream]> {
    return this.#byName.entries();
  }

  use({ caches }: RoutingTable): void {
    const before = this.#byName;
    const { connectTimeoutMs, requests, onCircuit } = this.#init;
    this.#byName = new Map(
      Object.entries(caches).map(([cache, { url }]) => {
        const same = before.get(cache);
        if (same?.url === url) return [cache, same];
        return [
          cache,
          new Upstream({ url, connectTimeoutMs, requests, onCircuit: (state) => onCircuit(cache, state) }),
        ];
      }),
    );
    for (const [cache, upstream] of before) if (this.#byName.get(cache) !== upstream) upstream.retire();
  }

  /** Lets go of connections that nobody uses. */
  close(): void {
    for (const upstream of this.#byName.values()) upstream.retire();
  }
}
