/** The storages of a cache, and the objects that lie in them. */
import { Storages, type StoragesInit } from '../storages/index.ts';
import { Intents } from './intents.ts';
import { Objects, type ObjectsInit } from './objects.ts';
import { Unproven } from './unproven.ts';
import { Unsynced } from './unsynced.ts';

export type ObjectsRoomInit = Omit<StoragesInit, 'intents'> & Pick<ObjectsInit, 'isLost'>;

export interface ObjectsRoom {
  readonly storages: Storages;
  readonly intents: Intents;
  readonly objects: Objects;
  readonly unsynced: Unsynced;
  readonly unproven: Unproven;
}

/** Nothing is read or written yet. */
export function openObjects(init: ObjectsRoomInit): ObjectsRoom {
  const { database, logger, isLost } = init;
  const intents: Intents = new Intents({ database, logger, storages: () => storages.list() });
  const storages = new Storages({ ...init, intents });
  const objects = new Objects({ database, storages, intents, logger, isLost });
  const unsynced = new Unsynced({ database, storages, objects, logger });
  return { storages, intents, objects, unsynced, unproven: new Unproven({ database, logger }) };
}
