/** The doors of what is in a cache: its paths, one of them, and sums. */
import {
  type BinaryCache,
  CacheError,
  type ListedPath,
  MOST_LISTED,
  type PathDetails,
  SORTS,
  type Sort,
  soon,
} from '../cache/index.ts';
import { STORE_DIR } from '../nix/index.ts';
import type { Asking, Door } from './door.ts';
import { factsOf } from './facts.ts';
import { runShown } from './gc.ts';
import { type List, pageToken, parsePageToken } from './page-token.ts';
import { hashPartOf } from './path-doors.ts';

/** Paths of a page where nobody says how many. */
const LISTED = 100;

export const listingDoors: readonly Door[] = [
  {
    name: 'paths',
    method: 'GET',
    pattern: /^\/paths$/,
    needs: 'Read',
    answer: async (cache, { query }) => {
      const list: List = { cache: cache.name, sort: sortOf(query), search: searchOf(query) };
      const token = query.get('page');
      const after = token === undefined ? undefined : parsePageToken(token, list);
      const { paths, next } = await cache.listing.page({ ...list, limit: limitOf(query), after });
      return {
        status: 200,
        value: { paths: paths.map(listed), next: next === undefined ? null : pageToken(list, next) },
      };
    },
  },
  {
    name: 'path',
    method: 'GET',
    pattern: /^\/path\/([^/]+)$/,
    needs: 'Read',
    answer: async (cache, { name, signal }) => {
      const hashPart = hashPartOf(name);
      const path = await cache.listing.find(hashPart);
      if (path === undefined) throw new CacheError('NotFound', 'no such path');
      const { isCut, ...closure } = await cache.listing.closureSize(hashPart, signal);
      return { status: 200, value: { ...detailed(path), closure: { ...closure, cut: isCut } } };
    },
  },
  {
    name: 'stats',
    method: 'GET',
    pattern: /^\/stats$/,
    needs: 'Read',
    answer: async (cache, { isAdmin }) => ({ status: 200, value: await stats(cache, isAdmin) }),
  },
];

type Query = Asking['query'];

/** @throws CacheError Invalid */
function sortOf(query: Query): Sort {
  const text = query.get('sort') ?? 'hash';
  const sort = SORTS.find((it) => it === text);
  if (sort === undefined) throw new CacheError('Invalid', `sort: expected one of ${SORTS.join(', ')}`);
  return sort;
}

/** As long as a name may be, of the characters that one may have. */
const SEARCH = /^[0-9A-Za-z+\-._?=]{0,211}$/;

/** @throws CacheError Invalid */
function searchOf(query: Query): string {
  const text = query.get('search') ?? '';
  if (!SEARCH.test(text)) throw new CacheError('Invalid', 'search: expected the beginning of a hash part or of a name');
  return text;
}

/** @throws CacheError Invalid */
function limitOf(query: Query): number {
  const text = query.get('limit');
  if (text === undefined) return LISTED;
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > MOST_LISTED)
    throw new CacheError('Invalid', `limit: expected a whole number from 1 to ${MOST_LISTED}`);
  return limit;
}

const dateOf = (milliseconds: number) => new Date(milliseconds).toISOString();

function listed({ storePath, narSize, fileSize, publishedAt, usedAt, isPinned, waits, isLost }: ListedPath) {
  return {
    ...{ storePath, narSize, fileSize },
    ...{ publishedAt: dateOf(publishedAt), usedAt: dateOf(usedAt) },
    ...{ pinned: isPinned, waiting: waits, lost: isLost },
  };
}

function detailed(path: PathDetails) {
  const { narHash, fileHash, compression, narUrl, signatures, deriver, ca, pins } = path;
  const full = (basename: string) => `${STORE_DIR}/${basename}`;
  return {
    ...listed(path),
    references: path.references.map(full),
    deriver: deriver === undefined ? null : full(deriver),
    ca: ca ?? null,
    ...{ signatures, narHash, fileHash, compression, narUrl, pins },
  };
}

async function stats(cache: BinaryCache, isAdmin: boolean) {
  const [facts, retired] = await Promise.all([factsOf(cache), soon(cache.listing.retired())]);
  const { paths, storages, waiting, lostObjects, pins, usage } = facts;
  const objects = await soon(cache.listing.objectCounts(storages.map(({ name }) => name)));
  const { usedBytes, quotaBytes = null, softBytes = null } = cache.storages.quota;
  const lastGC = usage?.lastGC ?? null;
  return {
    paths,
    storages: storages.map(({ name, usedBytes, capacityBytes = null }) => ({
      ...{ name, usedBytes, capacityBytes },
      objects: objects?.get(name) ?? null,
    })),
    quota: { maxBytes: quotaBytes, softBytes, usedBytes },
    waiting,
    retired: retired ?? null,
    lostObjects,
    pins: pins?.names ?? null,
    lastGC: lastGC && runShown(lastGC, isAdmin),
  };
}
