/** The storages of a cache, and the objects that lie in them. */
import { Storages, type StoragesInit } from '../storages/index.ts';
import { Intents } from './intents.ts';
import { Objects, type ObjectsInit } from './objects.ts';

export type ObjectsRoomInit = Omit<StoragesInit, 'intents'> & Pick<ObjectsInit, 'isLost'>;

/** Nothing is read or written yet. */
export function openObjects(init: ObjectsRoomInit): { storages: Storages; intents: Intents; objects: Objects } {
  const { database, logger, isLost } = init;
  const intents: Intents = new Intents({ database, logger, storages: () => storages.list() });
  const storages = new Storages({ ...init, intents });
  return { storages, intents, objects: new Objects({ database, storages, intents, logger, isLost }) };
}
