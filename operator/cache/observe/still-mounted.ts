/** What pods keep mounted although the manifest has nothing for it any more. Pure. */
import type { StatefulSet } from '../../runtime/index.ts';
import type { StillMounted } from '../desired/index.ts';
import { mountedSecrets, volumesOf } from '../desired/index.ts';
import { namesOf, volumeName } from '../names.ts';
import type { Cache } from '../types.ts';
import type { Observed } from './observed.ts';

interface Volume {
  readonly persistentVolumeClaim?: { readonly claimName: string };
  readonly secret?: { readonly secretName: string; readonly optional?: boolean };
}

/**
 * A server refuses to let go of a storage with something in it, whatever a status says, and goes on with the last good
 * manifest. For that it needs the volume and the credentials; without them a restart would end it. So the pods keep them
 * until the servers answer and know the storage no more.
 */
export function stillMounted(
  cache: Cache,
  { children, reports }: Pick<Observed, 'children' | 'reports'>,
): StillMounted {
  const workload = children.get(`StatefulSet/${namesOf(cache).workload}`) as StatefulSet | undefined;
  const mounted = (workload?.spec.template.spec.volumes ?? []) as readonly Volume[];
  const known = new Set(
    [...reports.values()].flatMap(({ caches }) => caches.flatMap(({ storages }) => storages.map(({ name }) => name))),
  );
  for (const { name } of cache.spec.storages) known.delete(name);
  const prefix = volumeName(cache, '');
  // The database's is no storage, also where the cache moves on to PostgreSQL.
  const claims = new Set([namesOf(cache).database, ...volumesOf(cache).map(({ name }) => name)]);
  const storages = mounted
    .flatMap(({ persistentVolumeClaim: { claimName } = { claimName: '' } }) =>
      claimName.startsWith(prefix) && !claims.has(claimName) ? [claimName.slice(prefix.length)] : [],
    )
    .filter((name) => reports.size === 0 || known.has(name));
  const names = new Set(mountedSecrets(cache).map(({ name }) => name));
  // Not where nobody answers: a Secret that is gone would keep the mended pod from starting.
  const secrets = mounted.flatMap(({ secret }) =>
    secret && known.size > 0 && !names.has(secret.secretName)
      ? [{ name: secret.secretName, optional: secret.optional ?? false }]
      : [],
  );
  return { storages, secrets };
}
