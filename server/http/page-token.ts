/**
 * What a list is gone on with: where the last page ended, for the same list. Clients pass it on as it came; it is no secret,
 * and says nothing that the list does not.
 */
import { CacheError, type Position, type Sort } from '../cache/index.ts';
import { isHashPart, isStorePathName } from '../nix/index.ts';

/** Which list a token is of. */
export interface List {
  readonly cache: string;
  readonly sort: Sort;
  readonly search: string;
}

/** Two hundred characters of a name, as many of a search, and some. */
const MOST_CHARACTERS = 2048;

export function pageToken({ cache, sort, search }: List, { key, hashPart }: Position): string {
  return Buffer.from(JSON.stringify([cache, sort, search, key, hashPart])).toString('base64url');
}

/** @throws CacheError Invalid: it is of another list, or none */
export function parsePageToken(text: string, list: List): Position {
  const position = text.length > MOST_CHARACTERS ? undefined : positionOf(text, list.sort);
  // Written anew, it says whether it was of this list, and whether anything else was in it.
  if (position === undefined || pageToken(list, position) !== text)
    throw new CacheError('Invalid', 'page: this is no page of this list: begin without it');
  return position;
}

function positionOf(text: string, sort: Sort): Position | undefined {
  const [, , , key, hashPart] = listOf(Buffer.from(text, 'base64url').toString());
  if (typeof hashPart !== 'string' || !isHashPart(hashPart)) return undefined;
  return isKey(key, sort) ? { key, hashPart } : undefined;
}

function listOf(text: string): readonly unknown[] {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

function isKey(key: unknown, sort: Sort): key is Position['key'] {
  if (sort === 'published') return Number.isSafeInteger(key);
  return typeof key === 'string' && (sort === 'hash' ? key === '' : isStorePathName(key));
}
