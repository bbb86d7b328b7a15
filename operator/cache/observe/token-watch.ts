/**
 * Notices that the Secret of a token has changed or is gone. The operator may not watch Secrets, so it gets them one by
 * one, round after round and evenly over each: however many there are, the API server is asked at a bounded rate, which
 * namespaces share.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Gauge, type Registry } from 'prom-client';
import { type Informer, keyOf, messageOf, type Ref, refOf, type Source } from '../../runtime/index.ts';
import { tokenSecretsOf } from '../desired/index.ts';
import type { Secrets } from '../secrets/index.ts';
import type { Cache } from '../types.ts';
import { isPaused } from '../types.ts';
import { RoundRobin, roundsOf } from './round-robin.ts';

export interface TokenWatchInit {
  readonly caches: Informer<Cache>;
  readonly secrets: Secrets;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Of a round, in which each is looked at, unless they are too many for the rate. */
  readonly roundMs: number;
  /** Secrets asked for in a second at most. */
  readonly perSecond: number;
}

/** A Secret of a token as `namespace/name`, and the keys of the caches that use it. */
interface User {
  readonly secret: string;
  readonly caches: readonly string[];
}

/** Questions side by side, where answers are slow. */
const AT_ONCE = 4;

export class TokenWatch {
  readonly #init: TokenWatchInit;
  readonly #listeners = new Set<(key: string) => void>();
  readonly #turns = new RoundRobin<User>();
  readonly #secrets: Gauge;
  readonly #round: Gauge;

  constructor(init: TokenWatchInit) {
    this.#init = init;
    const registers = [init.registry];
    this.#secrets = new Gauge({
      name: 'narwhal_operator_token_secrets',
      help: 'Secrets of tokens that are looked at again and again.',
      registers,
    });
    this.#round = new Gauge({
      name: 'narwhal_operator_token_round_seconds',
      help: 'Time in which each of them is looked at once, also in the namespace with most: how late a change is noticed.',
      registers,
    });
  }

  /** The key of each cache of which a token has changed. */
  source(): Source {
    return {
      synced: this.#init.caches.synced,
      keys: () => [],
      subscribe: (enqueue) => {
        this.#listeners.add(enqueue);
        return () => void this.#listeners.delete(enqueue);
      },
    };
  }

  /** Goes round until the signal is aborted. Fails never. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) await this.#goRound(signal);
  }

  async #goRound(signal: AbortSignal): Promise<void> {
    const { roundMs, perSecond } = this.#init;
    const users = usersOf(this.#init.caches.all());
    const most = Math.max(1, Math.floor((roundMs * perSecond) / 1000));
    const taken = this.#turns.take(users, most);
    const wholeMs = Math.max(roundMs, (taken.length * 1000) / perSecond);
    this.#secrets.set([...users.values()].reduce((sum, { length }) => sum + length, 0));
    this.#round.set((wholeMs * roundsOf(users, most)) / 1000);
    const start = performance.now();
    const until = (ms: number) =>
      sleep(Math.max(0, start + ms - performance.now()), undefined, { signal }).catch(() => {});
    const asked = new Set<Promise<void>>();
    for (const [index, { secret, caches }] of taken.entries()) {
      await until((index * wholeMs) / taken.length);
      if (asked.size >= AT_ONCE) await Promise.race(asked);
      if (signal.aborted) return;
      const question = this.#look(refOf(secret), caches, signal).finally(() => asked.delete(question));
      asked.add(question);
    }
    await Promise.all(asked);
    await until(wholeMs);
  }

  async #look({ namespace = '', name }: Ref, caches: readonly string[], signal: AbortSignal): Promise<void> {
    try {
      if (!(await this.#init.secrets.look(namespace, name, signal))) return;
      this.#init.logger.info({ secret: `${namespace}/${name}` }, 'the Secret of a token has changed');
      for (const listener of this.#listeners) for (const cache of caches) listener(cache);
    } catch (error) {
      // The next round asks again.
      if (!signal.aborted)
        this.#init.logger.warn({ secret: `${namespace}/${name}`, reason: messageOf(error) }, 'a Secret cannot be read');
    }
  }
}

/** Of each namespace, the Secrets of tokens. */
function usersOf(caches: Iterable<Cache>): ReadonlyMap<string, readonly User[]> {
  const users = new Map<string, Map<string, string[]>>();
  for (const cache of caches) {
    const { namespace = '', deletionTimestamp } = cache.metadata;
    if (deletionTimestamp !== undefined || isPaused(cache)) continue;
    const own = users.get(namespace) ?? new Map<string, string[]>();
    for (const name of tokenSecretsOf(cache)) {
      const secret = `${namespace}/${name}`;
      own.set(secret, [...(own.get(secret) ?? []), keyOf(cache.metadata)]);
    }
    users.set(namespace, own);
  }
  return new Map(
    [...users].map(([namespace, own]) => [namespace, [...own].map(([secret, of]) => ({ secret, caches: of }))]),
  );
}
