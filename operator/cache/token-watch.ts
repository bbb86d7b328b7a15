/**
 * Notices that the Secret of a token has changed or is gone. The operator may not watch Secrets, so it gets them one by
 * one, round after round, evenly over a time that follows from their number: however many there are, the API server is
 * asked at a bounded rate.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Gauge, type Registry } from 'prom-client';
import { type Informer, keyOf, messageOf, type Ref, refOf, type Source } from '../runtime/index.ts';
import { isPaused } from './conditions.ts';
import { tokenSecretsOf } from './keys.ts';
import type { Secrets } from './secrets.ts';
import type { Cache } from './types.ts';

export interface TokenWatchInit {
  readonly caches: Informer<Cache>;
  readonly secrets: Secrets;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Of a round, unless the rate makes it longer. */
  readonly roundMs: number;
  /** Secrets asked for in a second at most. */
  readonly perSecond: number;
}

/** Questions side by side, where answers are slow. */
const AT_ONCE = 4;

export class TokenWatch {
  readonly #init: TokenWatchInit;
  readonly #listeners = new Set<(key: string) => void>();
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
      help: 'Time in which each of them is looked at once: how late a change is noticed.',
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
    const wholeMs = Math.max(roundMs, (users.size * 1000) / perSecond);
    this.#secrets.set(users.size);
    this.#round.set(wholeMs / 1000);
    const start = performance.now();
    const until = (ms: number) =>
      sleep(Math.max(0, start + ms - performance.now()), undefined, { signal }).catch(() => {});
    const asked = new Set<Promise<void>>();
    let index = 0;
    for (const [secret, caches] of users) {
      await until((index++ * wholeMs) / users.size);
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

/** Of each Secret of a token, by `namespace/name`, the caches that use it. */
function usersOf(caches: Iterable<Cache>): ReadonlyMap<string, readonly string[]> {
  const users = new Map<string, string[]>();
  for (const cache of caches) {
    const { namespace, deletionTimestamp } = cache.metadata;
    if (deletionTimestamp !== undefined || isPaused(cache)) continue;
    for (const name of tokenSecretsOf(cache)) {
      const secret = `${namespace}/${name}`;
      users.set(secret, [...(users.get(secret) ?? []), keyOf(cache.metadata)]);
    }
  }
  return users;
}
