/** The doors of single paths: why one is here or is not, taking one away, and what nobody may push. */
import { type Block, CacheError, type Deletion, type Explained } from '../cache/index.ts';
import { isHashPart, parseStorePath, STORE_DIR } from '../nix/index.ts';
import { NO_ACCESS } from '../wire/index.ts';
import type { Asking, Door } from './door.ts';

/** A line for people, kept and shown for ever. */
const REASON_CHARACTERS = 500;
const BLOCK_JSON_BYTES = 16 * 1024;

export const pathDoors: readonly Door[] = [
  {
    name: 'explain',
    method: 'GET',
    pattern: /^\/explain\/([^/]+)$/,
    needs: 'Read',
    isOpen: true,
    answer: async (cache, asking) => {
      const explained = await cache.explain(hashPartOf(asking.name));
      // That a path is published everybody can see; what was here once is for those who belong here.
      if (asking.isAnonymous && explained.explanation.state !== 'published')
        throw new CacheError('Unauthorized', NO_ACCESS.text);
      return { status: 200, value: shown(explained, asking.isAdmin) };
    },
  },
  {
    name: 'delete-path',
    method: 'DELETE',
    pattern: /^\/path\/([^/]+)$/,
    needs: 'Admin',
    answer: async (cache, asking) => {
      const deletion: Deletion = {
        hashPart: hashPartOf(asking.name),
        referrers: choice(asking, 'referrers', ['refuse', 'delete', 'leave']),
        pins: choice(asking, 'pins', ['refuse', 'ignore']),
        block: asking.query.has('block') ? reasonOf(asking.query.get('block')) : undefined,
        now: choice(asking, 'now', ['false', 'true']) === 'true',
        actor: asking.token,
      };
      return { status: 200, value: await cache.deletePath(deletion, asking.signal) };
    },
  },
  {
    name: 'blocks',
    method: 'GET',
    pattern: /^\/block$/,
    needs: 'Admin',
    answer: async (cache) => ({ status: 200, value: (await cache.blocks.list()).map(blockView) }),
  },
  {
    name: 'block',
    method: 'POST',
    pattern: /^\/block$/,
    needs: 'Admin',
    bodyBytes: BLOCK_JSON_BYTES,
    answer: async (cache, { body, token }) => {
      await cache.block(parseBlock(await body()), token);
      return undefined;
    },
  },
  {
    name: 'lift-block',
    method: 'DELETE',
    pattern: /^\/block\/([^/]+)$/,
    needs: 'Admin',
    answer: async (cache, { name }) => {
      await cache.blocks.lift(hashPartOf(name));
      return undefined;
    },
  },
];

/** What an explanation says, as JSON. */
export interface ExplanationView {
  readonly state: Explained['explanation']['state'];
  readonly storePath?: string;
  readonly publishedAt?: string;
  readonly usedAt?: string;
  /** Hash parts. */
  readonly waitsFor?: readonly string[];
  /** Why it is gone, and since when. */
  readonly reason?: string;
  readonly at?: string;
  /** For administrators: the token of who deleted it. */
  readonly actor?: string;
  readonly blocked?: { readonly at: string; readonly reason?: string; readonly actor?: string };
}

function shown({ explanation, block }: Explained, isAdmin: boolean): ExplanationView {
  const { state } = explanation;
  const blocked = block && {
    at: dateOf(block.blocked_at),
    ...(isAdmin && { reason: block.reason, ...(block.actor !== null && { actor: block.actor }) }),
  };
  const more = blocked === undefined ? {} : { blocked };
  if (state === 'unknown') return { state, ...more };
  const { storePath } = explanation;
  switch (state) {
    case 'published':
    case 'waiting': {
      const [publishedAt, usedAt] = [explanation.publishedAt.toISOString(), explanation.usedAt.toISOString()];
      const waits = state === 'waiting' ? { waitsFor: explanation.waitsFor } : {};
      return { state, storePath, publishedAt, usedAt, ...waits, ...more };
    }
    case 'lost':
      return { state, storePath, at: explanation.since.toISOString(), ...more };
    case 'retired':
    case 'removed': {
      const { reason, at, usedAt, actor } = explanation.gone;
      return {
        ...{ state, storePath, reason, at: at.toISOString(), usedAt: usedAt.toISOString() },
        ...(isAdmin && actor !== undefined && { actor }),
        ...more,
      };
    }
  }
}

/** PostgreSQL's driver may give 64-bit numbers as texts. */
const dateOf = (milliseconds: number) => new Date(Number(milliseconds)).toISOString();

export interface BlockView {
  readonly hash: string;
  readonly storePath: string | null;
  readonly reason: string;
  readonly at: string;
  /** Name of a token; null: somebody at the machine. */
  readonly actor: string | null;
}

function blockView({ hash_part: hash, name, reason, blocked_at: at, actor }: Block): BlockView {
  return { hash, storePath: name === null ? null : `${STORE_DIR}/${hash}-${name}`, reason, at: dateOf(at), actor };
}

/** The hash part of what names a path: itself, a base name, or a store path. @throws CacheError Invalid */
export function hashPartOf(text: string): string {
  const base = text.startsWith(`${STORE_DIR}/`) ? text.slice(STORE_DIR.length + 1) : text;
  const hashPart = base.slice(0, 32);
  if (!isHashPart(hashPart) || (base.length > 32 && base[32] !== '-'))
    throw new CacheError('Invalid', 'a path is named by the 32 characters of its hash, or as a store path');
  return hashPart;
}

/** @throws CacheError Invalid */
function choice<T extends string>({ query }: Asking, name: string, all: readonly [T, ...T[]]): T {
  const text = query.get(name);
  if (text === undefined) return all[0];
  const found = all.find((it) => it === text);
  if (found === undefined) throw new CacheError('Invalid', `${name}: expected ${all.join(', ')}`);
  return found;
}

/** @throws CacheError Invalid */
function reasonOf(value: unknown): string {
  const isLine = typeof value === 'string' && /^[^\p{Cc}]+$/u.test(value) && value.trim() !== '';
  if (!isLine || value.length > REASON_CHARACTERS)
    throw new CacheError('Invalid', `reason: expected a line of at most ${REASON_CHARACTERS} characters`);
  return value;
}

/** @throws CacheError Invalid */
function parseBlock(body: unknown): { hashPart: string; name: string | null; reason: string } {
  const { path, reason, ...rest } = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  if (typeof path !== 'string' || Object.keys(rest).length > 0)
    throw new CacheError('Invalid', 'expected {"path": "/nix/store/...", "reason": "..."}');
  const hashPart = hashPartOf(path);
  return { hashPart, name: nameIn(path), reason: reasonOf(reason) };
}

function nameIn(path: string): string | null {
  if (!path.startsWith(`${STORE_DIR}/`)) return null;
  try {
    return parseStorePath(path).name;
  } catch {
    throw new CacheError('Invalid', 'path: not a store path');
  }
}
