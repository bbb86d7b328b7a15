/**
 * Who is next where many want a share of one thing: first a cache, then one of its clients, each time the one that holds
 * the least; of several the one that was served longest ago. Where nobody else waits, one client may hold everything. Pure:
 * what is shared out, and when, is its user's.
 */
import type { Caller } from './caller.ts';

export interface Waiter<T> {
  readonly caller: Pick<Caller, 'cache' | 'client'>;
  /** Counted as if it were held already: of those who hold the same, the one who wants less goes first. */
  readonly wanted?: number;
  readonly item: T;
}

interface Client<T> {
  held: number;
  /** When it was served last, counted in servings. */
  servedAt: number;
  readonly waiting: Waiter<T>[];
}

interface Group<T> {
  held: number;
  servedAt: number;
  /** Waiters of all its clients. */
  waiting: number;
  readonly clients: Map<string, Client<T>>;
}

export class FairQueue<T> {
  readonly #groups = new Map<string, Group<T>>();
  /** Order of arrival, for those who hold the same. */
  readonly #arrival = new WeakMap<Waiter<T>, number>();
  #arrivals = 0;
  #servings = 0;
  #size = 0;

  /** Waiters. */
  get size(): number {
    return this.#size;
  }

  /** What a client holds of its cache's share, and the cache of all. */
  held({ cache, client }: Waiter<T>['caller']): { readonly cache: number; readonly client: number } {
    const group = this.#groups.get(cache);
    return { cache: group?.held ?? 0, client: group?.clients.get(client)?.held ?? 0 };
  }

  add(waiter: Waiter<T>): void {
    const { group, client } = this.#of(waiter.caller);
    this.#arrival.set(waiter, ++this.#arrivals);
    client.waiting.push(waiter);
    group.waiting++;
    this.#size++;
  }

  /** Takes a waiter out; false when it is not waiting. */
  remove(waiter: Waiter<T>): boolean {
    const { group, client } = this.#of(waiter.caller);
    const at = client.waiting.indexOf(waiter);
    if (at >= 0) {
      client.waiting.splice(at, 1);
      group.waiting--;
      this.#size--;
    }
    this.#tidy(waiter.caller);
    return at >= 0;
  }

  /** Notes that a caller holds so much more, or less. */
  hold(caller: Waiter<T>['caller'], units: number): void {
    const { group, client } = this.#of(caller);
    group.held += units;
    client.held += units;
    if (units > 0) {
      this.#servings++;
      group.servedAt = this.#servings;
      client.servedAt = this.#servings;
    }
    this.#tidy(caller);
  }

  /** Whose turn it is; it goes on waiting. */
  first(): Waiter<T> | undefined {
    let best: Waiter<T> | undefined;
    let bestRank: readonly number[] = [];
    for (const group of this.#groups.values()) {
      if (group.waiting === 0) continue;
      for (const client of group.clients.values()) {
        const waiter = client.waiting[0];
        if (waiter === undefined) continue;
        const { wanted = 0 } = waiter;
        const arrival = this.#arrival.get(waiter) ?? 0;
        const rank = [group.held + wanted, group.servedAt, client.held + wanted, client.servedAt, arrival];
        if (best === undefined || isBefore(rank, bestRank)) [best, bestRank] = [waiter, rank];
      }
    }
    return best;
  }

  #of({ cache, client: name }: Waiter<T>['caller']): { group: Group<T>; client: Client<T> } {
    const group = this.#groups.get(cache) ?? { held: 0, servedAt: 0, waiting: 0, clients: new Map() };
    const client = group.clients.get(name) ?? { held: 0, servedAt: 0, waiting: [] };
    this.#groups.set(cache, group);
    group.clients.set(name, client);
    return { group, client };
  }

  /** Forgets who neither holds nor waits: addresses are many. */
  #tidy({ cache, client: name }: Waiter<T>['caller']): void {
    const group = this.#groups.get(cache);
    const client = group?.clients.get(name);
    if (group === undefined || client === undefined || client.held > 0 || client.waiting.length > 0) return;
    group.clients.delete(name);
    if (group.clients.size === 0) this.#groups.delete(cache);
  }
}

function isBefore(one: readonly number[], other: readonly number[]): boolean {
  for (const [index, value] of one.entries()) {
    const against = other[index] ?? 0;
    if (value !== against) return value < against;
  }
  return false;
}
