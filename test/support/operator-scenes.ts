/** Caches with something wrong, as status() is told of them: a cache that runs, and one thing changed. */

import type { Obstacle } from '../../operator/cache/desired/obstacles.ts';
import type { Observed } from '../../operator/cache/observe/observed.ts';
import type { Pod } from '../../operator/runtime/index.ts';
import type { Change } from './live-object.ts';
import type { Value } from './manifests.ts';
import {
  cacheOf,
  observedOf,
  podOf,
  reportOf,
  secretOf,
  secretsOf,
  secretsView,
  storageReport,
} from './operator-fixtures.ts';
import { DONE, type Scene, wellOf } from './operator-world.ts';

export const SHARED: Value = {
  storages: [{ name: 'nfs', local: { accessMode: 'ReadWriteMany' } }],
  database: { postgres: { secretRef: { name: 'pg' } } },
  rootSecretRef: { name: 'root' },
  signing: { secretRefs: [{ name: 'key' }] },
};

/** A cache that runs, with something wrong. */
export function but(change: (well: Scene) => Partial<Observed>, spec: Value = {}): () => Scene {
  return () => {
    const well = wellOf(cacheOf(spec));
    return { ...well, observed: { ...well.observed, ...change(well) } };
  };
}

/** The same, where something else than the observation is another. */
export function where(change: Partial<Scene>, spec: Value = {}): () => Scene {
  return () => ({ ...wellOf(cacheOf(spec)), ...change });
}

/** A new cache, of whose Secrets only these are there. */
export function fresh(spec: Value, names: readonly string[] = []): () => Scene {
  return () => {
    const cache = cacheOf(spec);
    const secrets = secretsOf(cache).filter(({ metadata }) => names.includes(metadata.name));
    return { ...wellOf(cache), observed: observedOf(cache, { secrets: secretsView(cache, secrets) }) };
  };
}

/** A cache that has lived, and one of its Secrets is gone. */
export const lacking = (name: string, spec: Value = {}) =>
  but(({ cache }) => {
    const secrets = secretsOf(cache).filter(({ metadata }) => metadata.name !== name);
    return { secrets: secretsView(cache, secrets) };
  }, spec);

/** The same, where the Secret has another content. */
export const holding = (name: string, content: Record<string, string>, spec: Value = {}) =>
  but(({ cache }) => ({ secrets: secretsView(cache, [...secretsOf(cache), secretOf(name, content)]) }), spec);

export const hindered = (obstacle: Obstacle) => but(() => ({ obstacles: [obstacle] }));

export const failed = (error: unknown) => where({ outcome: { ...DONE, error } });

/** The StatefulSet has another status. */
export const rolling = (status: Value, spec: Value = SHARED) =>
  child('StatefulSet/main', (it) => ({ ...it, status }), spec);

/** The volume of the only storage is another. */
export const disk = (change: Change) => child('PersistentVolumeClaim/main-disk', change);

const child = (key: string, change: Change, spec: Value = {}) =>
  but(({ observed: { children } }) => {
    const edited = [...children].map(([name, it]) => [name, name === key ? change(it) : it] as const);
    return { children: new Map(edited) };
  }, spec);

/** The only pod has another status. */
export const pod = (status: Value) =>
  but(({ cache }) => ({
    pods: [podOf(cache, 0, { status: status as NonNullable<Pod['status']> })],
    reports: new Map(),
  }));

export const container = (state: Value, lastState: Value = {}): Value => ({
  phase: 'Running',
  containerStatuses: [{ name: 'server', ready: false, restartCount: 4, image: 'i', imageID: 'i', state, lastState }],
});

/** The only server says something else. */
export const told = (more: Parameters<typeof reportOf>[2], hash?: string, spec: Value = {}) =>
  but(({ cache, observed: { reports } }) => {
    const [running] = reports.get('main-0')?.config.files ?? [];
    return { reports: new Map([['main-0', reportOf(cache, hash ?? running?.sha256 ?? '', more)]]) };
  }, spec);

export const storage = (more: Parameters<typeof storageReport>[1]) => told({ storages: [storageReport('disk', more)] });

/** With another answer to whose the public name is; without it, a cache has no URL of the gateway. */
export function named(publicName: Observed['publicName'], spec: Value = {}, more: Partial<Observed> = {}): () => Scene {
  return () => {
    const well = wellOf(cacheOf(spec), publicName?.holder === 'this cache' ? {} : { apiUrl: undefined });
    return { ...well, observed: { ...well.observed, publicName, ...more } };
  };
}

export const unnamed = (spec: Value, more: Partial<Observed> = {}) => named(undefined, spec, more);
