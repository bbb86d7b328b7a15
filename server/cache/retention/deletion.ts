/**
 * Paths that a person takes away, one by one. Each is retired as by a collection, so that a mistake can be undone by the
 * next push; with `now`, for a secret that has leaked, its bytes go at once and it is blocked.
 */
import type { Logger } from 'pino';
import { STORE_DIR } from '../../nix/index.ts';
import { type Blocks, block, findPath } from '../blocks/index.ts';
import { referrersOf } from '../closures/index.ts';
import { CacheError } from '../errors.ts';
import type { Paths } from '../paths/index.ts';
import { retire } from '../retired/index.ts';
import { type ExpireInit, removeNow } from './expire.ts';

export interface Deletion {
  readonly hashPart: string;
  /** What becomes of paths that refer to it: they are in the way, go too, or wait for it. */
  readonly referrers: 'refuse' | 'delete' | 'leave';
  /** Whether a pin of what goes is in the way. */
  readonly pins: 'refuse' | 'ignore';
  /** Nobody may push it again, for this reason. */
  readonly block: string | undefined;
  /** Its bytes go at once; it is blocked then. */
  readonly now: boolean;
  /** Name of the token of who asks; null: somebody at the machine. */
  readonly actor: string | null;
}

export interface Deleted {
  /** Store paths. */
  readonly paths: readonly string[];
  /** Store paths, retired ones among them, that have the same NAR: with `now`, its bytes stay as long as they do. */
  readonly sharing: readonly string[];
  /** Storages that are away, where bytes of it still lie. */
  readonly remaining: readonly string[];
}

export interface DeletionInit extends ExpireInit {
  readonly paths: Pick<Paths, 'remove'>;
  readonly blocks: Blocks;
  /** Names of the pins of these paths. */
  readonly pinsOf: (hashParts: readonly string[]) => Promise<readonly string[]>;
  readonly logger: Logger;
}

/** Of a list that may be long a message has so many. */
const SHOWN = 5;
const BATCH = 200;
const NOW_REASON = 'it was deleted for good';

type Target = NonNullable<Awaited<ReturnType<typeof findPath>>>;

/** @throws CacheError NotFound, Conflict (something needs it, or pins it), TooLarge (too many blocks), AbortError */
export async function deletePath(init: DeletionInit, deletion: Deletion, signal: AbortSignal): Promise<Deleted> {
  const { database, paths, blocks, logger } = init;
  const { hashPart, actor, now } = deletion;
  const reason = deletion.block ?? (now ? NOW_REASON : undefined);
  const target = await findPath(database, hashPart);
  if (target === undefined && reason === undefined) throw new CacheError('NotFound', 'there is no such path here');
  const referrers = await referrersOf(database, hashPart, deletion.referrers === 'delete', signal);
  if (referrers.length > 0 && deletion.referrers === 'refuse')
    throw new CacheError(
      'Conflict',
      `${await some(init, referrers)} need it: delete them too (referrers=delete), or leave them without it (referrers=leave)`,
    );
  // The farthest first: what stays in between refers to nothing that has gone.
  const going = deletion.referrers === 'delete' ? [...referrers.toReversed(), hashPart] : [hashPart];
  const pins = deletion.pins === 'refuse' ? await init.pinsOf(going) : [];
  if (pins.length > 0)
    throw new CacheError(
      'Conflict',
      `${shorten(pins.map((name) => `pin ${name}`))} ${pins.length === 1 ? 'holds' : 'hold'} it: unpin first, or say pins=ignore`,
    );
  const earlier = now ? await retiredObjects(init, going) : [];
  const gone = new Set<string>();
  const takeAway = async (all: readonly string[]) => {
    for (let start = 0; start < all.length; start += BATCH) {
      const hashParts = all.slice(start, start + BATCH);
      const retired = await database.write(async (sql) => {
        if (reason !== undefined && hashParts.includes(hashPart))
          await block(sql, {
            ...{ hash_part: hashPart, name: target?.name ?? null, nar_hash: target?.nar_hash ?? null },
            ...{ reason, blocked_at: Date.now(), actor },
          });
        const rows = await retire(database, sql, {
          ...{ hashParts, reason: () => 'deleted', actor: actor ?? undefined, run: undefined, now: Date.now() },
        });
        await sql.run(database.announce(rows));
        return rows;
      });
      paths.remove(retired);
      for (const it of retired) gone.add(it);
    }
    if (!now) return [];
    return removeNow(init, { hashParts: [...gone, hashPart], earlier, narHash: target?.nar_hash }, signal);
  };
  let remaining = await takeAway(going);
  if (reason !== undefined) {
    await blocks.refresh();
    // Whoever looked before it was blocked may only now bring it back.
    await database.settled(signal);
    remaining = [...new Set([...remaining, ...(await takeAway([hashPart]))])].sort();
  }
  const sharing = target === undefined ? [] : await sharersOf(init, target.nar_hash, new Set([...gone, hashPart]));
  const names = await namesOf(init, [...gone], target, hashPart);
  logger.warn({ paths: names, actor, reason, now }, 'deleted');
  return { paths: names, sharing, remaining };
}

/** Objects of paths that had retired before. */
async function retiredObjects({ database }: DeletionInit, hashParts: readonly string[]): Promise<number[]> {
  const rows = await database.query<{ object_id: number }>(
    `SELECT object_id FROM retired WHERE ${database.isOneOf('hash_part')}`,
    [database.list(hashParts)],
  );
  return rows.map((row) => row.object_id);
}

async function some({ database }: DeletionInit, hashParts: readonly string[]): Promise<string> {
  const rows = await database.query<{ hash_part: string; name: string }>(
    `SELECT hash_part, name FROM paths WHERE ${database.isOneOf('hash_part')} ORDER BY hash_part`,
    [database.list(hashParts.slice(0, SHOWN))],
  );
  const more = hashParts.length - rows.length;
  const names = rows.map((row) => `${STORE_DIR}/${row.hash_part}-${row.name}`).join(', ');
  return more > 0 ? `${names} and ${more} more` : names;
}

function shorten(names: readonly string[]): string {
  const more = names.length - SHOWN;
  return more > 0 ? `${names.slice(0, SHOWN).join(', ')} and ${more} more` : names.join(', ');
}

/** @param gone paths that are none */
async function sharersOf({ database }: DeletionInit, narHash: string, gone: ReadonlySet<string>): Promise<string[]> {
  const rows = await database.query<{ hash_part: string; name: string }>(
    `SELECT p.hash_part, p.name FROM objects o JOIN paths p ON p.object_id = o.id WHERE o.nar_hash = ?
     UNION SELECT r.hash_part, r.name FROM objects o JOIN retired r ON r.object_id = o.id WHERE o.nar_hash = ?
     ORDER BY hash_part`,
    [narHash, narHash],
  );
  return rows.filter((row) => !gone.has(row.hash_part)).map((row) => `${STORE_DIR}/${row.hash_part}-${row.name}`);
}

/** The deletion of a path that was retired before takes nothing away, but it is what was asked for. */
async function namesOf(
  { database }: DeletionInit,
  gone: readonly string[],
  target: Target | undefined,
  hashPart: string,
): Promise<string[]> {
  const rows = await database.query<{ hash_part: string; name: string }>(
    `SELECT hash_part, name FROM retired WHERE ${database.isOneOf('hash_part')}
     UNION SELECT hash_part, name FROM removed WHERE ${database.isOneOf('hash_part')} ORDER BY hash_part`,
    [database.list(gone), database.list(gone)],
  );
  const names = rows.map((row) => `${STORE_DIR}/${row.hash_part}-${row.name}`);
  return names.length > 0 || target === undefined ? names : [`${STORE_DIR}/${hashPart}-${target.name}`];
}
