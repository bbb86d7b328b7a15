/** The doors of pins. `POST` is what `cachix pin` sends. */
import { parseName, parsePin, type Revision, storePathOf } from '../cache/index.ts';
import type { Door } from './door.ts';
import type { DoorAnswer } from './door-answer.ts';

/** Artifacts of which each byte is written as six, and all else. */
const PIN_JSON_BYTES = 128 * 1024;

const ALL = /^\/pin$/;
const ONE = /^\/pin\/(.+)$/;

export const pinDoors: readonly Door[] = [
  {
    name: 'pin',
    method: 'POST',
    pattern: ALL,
    needs: 'Write',
    bodyBytes: PIN_JSON_BYTES,
    answer: async (cache, { body, token }) => {
      await cache.pins.pin(parsePin(await body()), token);
      return undefined;
    },
  },
  {
    name: 'pins',
    method: 'GET',
    pattern: ALL,
    needs: 'Read',
    answer: async (cache, { isAdmin }) =>
      each(cache.pins.list(), (revision) => ({ name: revision.name, lastRevision: shown(revision, isAdmin) })),
  },
  {
    name: 'pin-history',
    method: 'GET',
    pattern: ONE,
    needs: 'Read',
    answer: async (cache, { name, isAdmin }) =>
      each(cache.pins.history(parseName(name)), (revision) => shown(revision, isAdmin)),
  },
  {
    name: 'unpin',
    method: 'DELETE',
    pattern: ONE,
    needs: 'Write',
    answer: async (cache, { name }) => {
      await cache.pins.unpin(parseName(name));
      return undefined;
    },
  },
];

/** A revision as `lastRevision` of Cachix has it, and what we know beside. */
export interface RevisionView {
  readonly revision: number;
  readonly storePath: string;
  readonly artifacts: readonly string[];
  readonly keep: Revision['keep'];
  readonly createdOn: string;
  readonly origin: Revision['origin'];
  /** Whether the path is published here. */
  readonly present: boolean;
  /** For administrators. */
  readonly token?: string | null;
}

function shown(revision: Revision, isAdmin: boolean): RevisionView {
  const { revision: number, artifacts, keep, createdAt, origin, isPresent, token } = revision;
  return {
    revision: number,
    storePath: storePathOf(revision),
    artifacts,
    keep,
    createdOn: new Date(createdAt).toISOString(),
    origin,
    present: isPresent,
    ...(isAdmin && { token }),
  };
}

function each<T>(pages: AsyncIterable<readonly T[]>, view: (item: T) => unknown): DoorAnswer {
  return { list: viewed(pages, view) };
}

async function* viewed<T>(pages: AsyncIterable<readonly T[]>, view: (item: T) => unknown): AsyncGenerator<unknown[]> {
  for await (const page of pages) yield page.map(view);
}
