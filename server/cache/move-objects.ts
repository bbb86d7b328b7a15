/** Moves objects from one storage to another because somebody asked for it, behind `narwhal-server move`. */
import { parseStorePath } from '../nix/index.ts';
import { StorageUnavailableError } from '../storage/index.ts';
import type { BinaryCache } from './binary-cache.ts';
import { CacheError } from './errors.ts';
import { MOVABLE, type Movable, movablesIn, sideBySide } from './moving/index.ts';

export interface MoveInit {
  readonly cache: Pick<BinaryCache, 'database' | 'storages' | 'objects' | 'leases' | 'mover'>;
  readonly from: string;
  readonly to: string;
  /** Only the NARs of these; undefined: everything. */
  readonly storePaths: readonly string[] | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number) => void;
}

export interface MoveReport {
  readonly objects: number;
  readonly bytes: number;
  /** NARs of the given paths that are in the target already. */
  readonly there: number;
  /** What could not be moved, and why. */
  readonly failures: readonly { readonly what: string; readonly why: string }[];
}

const PAGE = 500;

/** @throws CacheError Invalid (the storages), Conflict (a server moves objects now), StorageUnavailableError */
export async function moveObjects(init: MoveInit): Promise<MoveReport> {
  checkStorages(init);
  const { leases, database, objects } = init.cache;
  const lease = await leases.acquire('move');
  if (lease === undefined)
    throw new CacheError('Conflict', 'a server is moving objects of this cache now; try again when it is done');
  try {
    const report = await move(init, AbortSignal.any([init.signal, lease.signal]));
    if (!database.isShared) {
      objects.collect();
      await objects.idle();
    }
    return report;
  } finally {
    await lease.release();
  }
}

function checkStorages({ cache: { storages }, from, to }: MoveInit): void {
  for (const name of [from, to]) {
    const health = storages.find(name)?.health();
    if (health === undefined || !storages.has(name))
      throw new CacheError('Invalid', `the manifest has no storage ${name} that can be used`);
    if (health.state === 'Unavailable') throw new StorageUnavailableError(name, health.reason);
  }
  if (from === to) throw new CacheError('Invalid', `--from and --to are both ${from}; name two storages`);
  const mode = storages.modeOf(to);
  if (mode !== 'ReadWrite')
    throw new CacheError('Invalid', `storage ${to} has the mode ${mode}; objects are moved to one with ReadWrite only`);
}

async function move(init: MoveInit, signal: AbortSignal): Promise<MoveReport> {
  const { database, storages, mover } = init.cache;
  const failures: { what: string; why: string }[] = [];
  const wanted =
    init.storePaths === undefined
      ? { total: await countIn(init), there: 0, objects: movablesIn(database, init.from) }
      : await narsOf(init, init.storePaths, failures);
  let [done, objects, bytes] = [0, 0, 0];
  await sideBySide(wanted.objects, async (object) => {
    if (signal.aborted) return;
    try {
      const placement = await storages.hold(init.to, object.size);
      try {
        if (await mover.move(object, placement, { signal, isAlone: !database.isShared })) {
          objects++;
          bytes += object.size;
        }
      } finally {
        placement.release();
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof StorageUnavailableError) throw error;
      failures.push({ what: object.key, why: error instanceof Error ? error.message : String(error) });
    }
    init.onProgress(++done, wanted.total);
  });
  if (signal.aborted) failures.push({ what: 'the rest', why: 'it was stopped; start it again to go on' });
  return { objects, bytes, there: wanted.there, failures };
}

async function countIn({ cache: { database }, from }: MoveInit): Promise<number> {
  const rows = await database.query<{ n: number }>(
    `SELECT count(*) AS n FROM objects WHERE storage = ? AND state = 'verified'`,
    [from],
  );
  return Number(rows[0]?.n ?? 0);
}

async function narsOf(
  { cache: { database }, from, to }: MoveInit,
  storePaths: readonly string[],
  failures: { what: string; why: string }[],
): Promise<{ total: number; there: number; objects: Movable[] }> {
  const found = new Map<number, Movable>();
  let there = 0;
  const parsed = [...new Set(storePaths)].map((text) => ({ text, ...parseStorePath(text) }));
  for (let start = 0; start < parsed.length; start += PAGE) {
    const page = parsed.slice(start, start + PAGE);
    const rows = await database.query<Movable & { hash_part: string; path_name: string; state: string }>(
      `SELECT p.hash_part, p.name AS path_name, o.state, ${MOVABLE.replaceAll(/\w+/g, 'o.$&')}
       FROM paths p JOIN objects o ON o.id = p.object_id WHERE ${database.isOneOf('p.hash_part')}`,
      [database.list(page.map((path) => path.hashPart))],
    );
    const known = new Map(rows.map((row) => [`${row.hash_part}-${row.path_name}`, row]));
    for (const { text, hashPart, name } of page) {
      const row = known.get(`${hashPart}-${name}`);
      if (row === undefined) failures.push({ what: text, why: 'is not in this cache' });
      else if (row.state === 'lost') failures.push({ what: text, why: 'its NAR is lost; push it again' });
      else if (row.storage === from) found.set(row.id, row);
      else if (row.storage === to) there++;
      else failures.push({ what: text, why: `its NAR is in storage ${row.storage}, not in ${from}` });
    }
  }
  return { total: found.size, there, objects: [...found.values()] };
}
