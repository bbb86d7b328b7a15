/** Conditions and checks of storages. Pure. */
import { DATABASE_VOLUME } from '../desired/index.ts';
import * as reasons from '../reasons.ts';
import { type Check, type Facts, type NewCondition, yes } from './facts.ts';
import { isResizing, storageReports, volumeOf } from './storages.ts';

export const notGrown: Check = ({ outcome }) => {
  const [entry] = outcome.notGrown;
  return entry && { reason: reasons.EXPANSION_NOT_ALLOWED, message: `storage ${entry[0]}: ${entry[1]}` };
};

export const illStorage: Check = ({ observed }) => {
  for (const { name, phase, reason, lastError } of storageReports(observed).values()) {
    if (phase === 'Unavailable')
      return {
        reason: reasons.STORAGE_UNAVAILABLE,
        message: `storage ${name}: ${reason ?? lastError ?? 'unavailable'}`,
      };
    if (phase === 'Paused')
      return {
        reason: reasons.DRAIN_PAUSED,
        message: `storage ${name} is not drained further (${reason ?? 'no reason'}): ${lastError ?? 'no text'}`,
      };
  }
  return undefined;
};

/** Names of the storages without room. Where pods differ, one that has found none is believed. */
const fullStorages = ({ observed }: Facts): string[] => {
  const told = [...observed.reports.values()].flatMap(({ caches }) => caches.flatMap(({ storages }) => storages));
  return [...new Set(told.flatMap((it) => (it.full ? [it.name] : [])))];
};

const hasRoomElsewhere = ({ cache }: Facts, names: readonly string[]): boolean =>
  cache.spec.storages.some(({ name, mode }) => mode === 'ReadWrite' && !names.includes(name));

export const full: Check = (facts) => {
  const names = fullStorages(facts);
  if (names.length === 0) return undefined;
  const what = names.length === 1 ? `storage ${names[0]} has` : `storages ${names.join(', ')} have`;
  const effect = hasRoomElsewhere(facts, names) ? 'pushes go to the others' : 'pushes are refused, pulls go on';
  const message = `${what} no room: ${effect}; let it grow, raise its capacity, or add a storage`;
  return { reason: reasons.STORAGE_FULL, message };
};

/** While there is room elsewhere the cache does all that it should. */
export const fullEverywhere: Check = (facts) =>
  hasRoomElsewhere(facts, fullStorages(facts)) ? undefined : full(facts);

export const resizing: Check = ({ cache, observed }) => {
  for (const { name } of [...cache.spec.storages, { name: DATABASE_VOLUME }]) {
    const volume = volumeOf(cache, observed, name);
    if (volume && isResizing(volume)) {
      const { spec, status } = volume;
      const sizes = `from ${status?.capacity?.storage} to ${spec.resources?.requests?.storage}`;
      return { reason: reasons.RESIZING, message: `volume ${volume.metadata.name} grows ${sizes}` };
    }
  }
  return undefined;
};

export function draining({ observed }: Facts): NewCondition[] {
  const moving = [...storageReports(observed).values()].filter(({ phase }) => phase === 'Draining');
  if (moving.length === 0) return [];
  const texts = moving.map(
    ({ name, objects = 0, movedObjects = 0 }) => `${name}: ${movedObjects} moved, ${objects} left`,
  );
  return [yes(reasons.DRAINING, reasons.MOVING, texts.join('; '))];
}

/** Where servers share a database all of them say the same, one a moment later. */
export function objectsLost({ observed }: Facts): NewCondition[] {
  const said = [...observed.reports.values()].flatMap(({ caches }) =>
    caches.map(({ lostObjects }) => lostObjects ?? 0),
  );
  const lost = Math.max(0, ...said);
  if (lost === 0) return [];
  const where = [...storageReports(observed).values()].flatMap(({ name, lostObjects = 0 }) =>
    lostObjects > 0 ? [`storage ${name}: ${lostObjects}`] : [],
  );
  const message = `${lost} ${lost === 1 ? 'object is' : 'objects are'} lost${where.length > 0 ? ` (${where.join(', ')})` : ''}: their paths are not served until they are pushed again; narwhal-server check --repair gives them up`;
  return [yes(reasons.OBJECTS_LOST, reasons.BYTES_MISSING, message)];
}
