/**
 * ConfigMaps of one purpose, one for each namespace: what one namespace has stands in the way of no other, whether it is
 * too large, refused, or fought over. What is there is known by a watch; it is written only over what is known.
 */
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { hashOfText, shardLabel, shardName } from '../../crds/index.ts';
import { MANAGER } from '../cache/index.ts';
import {
  type Api,
  ApiError,
  type ConfigMap,
  Contests,
  type Informer,
  kinds,
  type Obj,
  withoutManagedFields,
} from '../runtime/index.ts';

export type Data = Readonly<Record<string, string>>;

export interface ShardsInit {
  readonly api: Api;
  readonly logger: Logger;
  /** Where the ConfigMaps are. */
  readonly home: string;
  /** Name of the ConfigMap that is no namespace's, and first word of the others'. */
  readonly name: string;
  /** Of our ConfigMaps there. */
  readonly informer: Informer<ConfigMap>;
}

/** What is no namespace's. */
export const HEAD = '';

/** Writes side by side. */
const AT_ONCE = 8;

export class Shards {
  readonly #init: ShardsInit;
  /** The newest that is known of each. */
  readonly #known = new Map<string, ConfigMap>();
  /** What others have written since. */
  readonly #stale = new Set<string>();
  readonly #contests = new Contests();
  readonly #failures = new Contests();
  #isListed = false;

  constructor(init: ShardsInit) {
    this.#init = init;
    init.informer.onChange(({ type, object }) => {
      const shard = this.shardOf(object);
      if (shard === undefined) return;
      const { resourceVersion } = object.metadata;
      if (type === 'delete' || this.#known.get(shard)?.metadata.resourceVersion !== resourceVersion)
        this.#stale.add(shard);
    });
  }

  /** The namespace that a ConfigMap is about; undefined: it is none of these. */
  shardOf({ metadata }: Obj): string | undefined {
    const { name } = this.#init;
    if (metadata.name === name) return HEAD;
    return metadata.name.startsWith(`${name}.`) ? metadata.name.slice(name.length + 1) : undefined;
  }

  /** All that there are, by namespace; {@link HEAD} among them. */
  async all(signal: AbortSignal): Promise<ReadonlyMap<string, ConfigMap>> {
    const { api, home, name } = this.#init;
    if (!this.#isListed) {
      const query = { namespace: home, labelSelector: `${shardLabel}=${name}` };
      for (const object of (await api.list(kinds.ConfigMap, query, { signal })).items) {
        const shard = this.shardOf(object);
        if (shard !== undefined) this.#known.set(shard, withoutManagedFields(object));
      }
      // One that a version without shards wrote has no label.
      this.#stale.add(HEAD);
      this.#isListed = true;
    }
    await this.#lookAgain(signal);
    return this.#known;
  }

  /**
   * Makes them as they should be: those that are named, and of the others none but the head.
   * @returns of each that is not so yet, after how many milliseconds to try again
   */
  async make(wanted: ReadonlyMap<string, Data>, signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
    const gone = [...this.#known.keys()].filter((shard) => shard !== HEAD && !wanted.has(shard));
    const all = [...wanted, ...gone.map((shard) => [shard, undefined] as const)];
    const steps = all.filter(([shard, data]) => !isAs(this.#known.get(shard), data)).values();
    const waits = new Map<string, number>();
    const work = async () => {
      for (const [shard, data] of steps) {
        const waitMs = await this.#try(shard, data, signal);
        if (waitMs > 0) waits.set(shard, waitMs);
      }
    };
    // All of them have ended before somebody looks again.
    const ends = await Promise.allSettled(Array.from({ length: AT_ONCE }, work));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    return waits;
  }

  async #try(shard: string, data: Data | undefined, signal: AbortSignal): Promise<number> {
    const deed = data === undefined ? 'remove' : hashOfText(JSON.stringify(data));
    const holdMs = Math.max(this.#contests.holdMs(shard, deed), this.#failures.holdMs(shard, deed));
    if (holdMs > 0) return holdMs;
    const configMap = nameOf(this.#init.name, shard);
    try {
      this.#contests.done(shard, deed, await this.#write(shard, data, signal), configMap);
      if (this.#contests.notes(shard).length > 0)
        this.#init.logger.warn({ configMap }, 'something else undoes each write; writing ever more seldom');
      return 0;
    } catch (error) {
      // Where the API server is away all of them fail, and all wait for it.
      if (signal.aborted || !(error instanceof ApiError) || (error.transient && error.code === 0)) throw error;
      if (error.conflict) this.#stale.add(shard);
      this.#init.logger.error({ err: error, configMap }, 'a ConfigMap could not be written; it is tried again');
      this.#failures.done(shard, deed, randomUUID(), configMap);
      return Math.max(this.#failures.holdMs(shard, deed), RETRY_MS);
    }
  }

  /** The version that has come of it. */
  async #write(shard: string, data: Data | undefined, signal: AbortSignal): Promise<string> {
    const { api, home, name } = this.#init;
    const known = this.#known.get(shard);
    if (data === undefined) {
      if (known) await api.delete(kinds.ConfigMap, known.metadata, { signal });
      this.#known.delete(shard);
      return known?.metadata.uid ?? '';
    }
    const labels = { 'app.kubernetes.io/managed-by': MANAGER, [shardLabel]: name };
    const metadata = { namespace: home, name: nameOf(name, shard), labels };
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data };
    // Not applied: an administrator who removes an entry at this moment must win, and we must look again.
    const written = known
      ? await api.replace(
          kinds.ConfigMap,
          { ...object, metadata: { ...known.metadata, labels: { ...known.metadata.labels, ...labels } } },
          { signal },
        )
      : await api.create<ConfigMap>(kinds.ConfigMap, object, { signal });
    if (written === 'exists') throw new ApiError(409, 'Conflict', `ConfigMap ${metadata.name} exists already`);
    this.#known.set(shard, withoutManagedFields(written));
    return written.metadata.resourceVersion;
  }

  async #lookAgain(signal: AbortSignal): Promise<void> {
    const { api, home, name } = this.#init;
    for (const shard of [...this.#stale]) {
      this.#stale.delete(shard);
      try {
        const found = await api.get(kinds.ConfigMap, { namespace: home, name: nameOf(name, shard) }, { signal });
        if (found) this.#known.set(shard, withoutManagedFields(found));
        else this.#known.delete(shard);
      } catch (error) {
        this.#stale.add(shard);
        throw error;
      }
    }
  }
}

/** After a write that failed. */
const RETRY_MS = 1000;

const isAs = (known: ConfigMap | undefined, data: Data | undefined): boolean =>
  known && data ? isDeepStrictEqual(known.data ?? {}, data) : known === data;

const nameOf = (name: string, shard: string): string => (shard === HEAD ? name : shardName(name, shard));
