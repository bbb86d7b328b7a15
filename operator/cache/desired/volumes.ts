/** The PersistentVolumeClaims: one for the database, one for each local storage. They outlive the pods, and the cache. */
import type { Desired } from '../../runtime/index.ts';
import { namesOf, reclaimedMetadata, STORAGE_LABEL, volumeName } from '../names.ts';
import type { Cache } from '../types.ts';

interface Volume {
  readonly name: string;
  /** The name of the storage, or DATABASE_VOLUME. */
  readonly storage: string;
  readonly size: string | number;
  readonly storageClassName?: string | undefined;
  readonly accessMode: string;
}

/** What stands for the database among the names of storages. */
export const DATABASE_VOLUME = 'db';

/** The volumes that a cache has. */
export function volumesOf(cache: Cache): Volume[] {
  const { database, storages } = cache.spec;
  const volumes: Volume[] = [];
  if (!database.postgres) {
    const { size = '10Gi', storageClassName } = database.sqlite ?? {};
    volumes.push({
      name: namesOf(cache).database,
      storage: DATABASE_VOLUME,
      size,
      storageClassName,
      // One writer: two pods on one SQLite file must not even be possible.
      accessMode: 'ReadWriteOnce',
    });
  }
  for (const { name, local } of storages) {
    if (!local) continue;
    const { size, storageClassName, accessMode } = local;
    volumes.push({ name: volumeName(cache, name), storage: name, size, storageClassName, accessMode });
  }
  return volumes;
}

export function volumes(cache: Cache): Desired[] {
  return volumesOf(cache).map(({ name, storage, size, storageClassName, accessMode }) => {
    const metadata = reclaimedMetadata(cache, name);
    return {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { ...metadata, labels: { ...metadata.labels, [STORAGE_LABEL]: storage } },
      spec: {
        accessModes: [accessMode],
        ...(storageClassName !== undefined && { storageClassName }),
        resources: { requests: { storage: String(size) } },
      },
    };
  });
}
