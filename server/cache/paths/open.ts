/** What a cache publishes, and what it has lost of it. */
import type { Unproven, Unsynced } from '../objects/index.ts';
import type { Settings } from '../settings.ts';
import { Lost, type LostInit } from './lost.ts';
import { Paths, type PathsInit } from './paths.ts';
import { Realisations } from './realisations.ts';

export interface PathsRoomInit
  extends Omit<LostInit, 'paths'>,
    Required<Pick<PathsInit, 'keys' | 'maxNarInfoBytes' | 'closures' | 'uses'>> {
  readonly settings: Settings;
  readonly unsynced: Unsynced;
  readonly unproven: Unproven;
}

/** Nothing is read yet. */
export function openPaths(init: PathsRoomInit): { paths: Paths; lost: Lost; realisations: Realisations } {
  const { database, closures, uses, objects, unsynced, unproven, keys, settings, maxNarInfoBytes } = init;
  const look = async (key: string) => {
    const object = await objects.find(key);
    if (object !== undefined) await objects.isThere(object);
  };
  const syncOf = (key: string) => unsynced.of(key) ?? unproven.of(key);
  const paths = new Paths({
    ...{ database, closures, uses, keys, maxNarInfoBytes, look, syncOf },
    enforcesClosures: () => settings.enforcesClosures,
    cacheBytes: settings.narinfoCacheBytes,
  });
  closures.start(
    (hashParts) => paths.forget(hashParts),
    (hashParts) => paths.bringBack(hashParts, ['unused', 'maxSize']),
  );
  // Used at the moment at which they were taken away as unused, perhaps on another server.
  uses.follow((hashParts) => paths.bringBack(hashParts, ['unused']));
  return { paths, lost: new Lost({ ...init, paths }), realisations: new Realisations({ objects, paths, keys }) };
}
