/**
 * The transactions that make paths and NARs visible. Each may run twice (its answer may be lost on the way from the
 * database), beside the same or another one on another server: what is true is asked of the rows, in statements that
 * lock them, never remembered from one statement for the next.
 */
import type { Database, Sql, Statement } from '../../metadata/index.ts';
import { isConstraint } from '../../metadata/index.ts';
import { mustBeAllowed } from '../blocks/index.ts';
import { waitStatements, wantedBy } from '../closures/index.ts';
import { CacheError } from '../errors.ts';
import type { NarFacts, NewObject } from '../objects/index.ts';
import {
  healNar,
  insertObject,
  insertTombstone,
  isPointedAt,
  keepNar,
  objectStatements,
  replaceLost,
  tombstone,
} from '../objects/index.ts';
import { activeRun, markNeeded, NEEDED_BY_NONE } from '../retired/index.ts';
import type { Weighed } from '../signing/index.ts';

/** A path that is ready to be published: everything checked, signatures made. */
export interface NewPath {
  readonly hashPart: string;
  readonly name: string;
  /** Basenames, sorted. */
  readonly references: readonly string[];
  readonly deriver: string | undefined;
  readonly ca: string | undefined;
  readonly signatures: readonly string[];
  readonly narHash: string;
  readonly narSize: number;
}

/** Where its NAR is: an object that is there, or durable bytes that get their row in the same transaction. */
export type NarSource = { readonly key: string } | { readonly object: NewObject; readonly facts: NarFacts };

export type PublishOutcome =
  /**
   * `isNewNar`: its NAR is the object that came with it, not one that was there. `leftOut`: signatures that found no room,
   * where there were such.
   */
  | { readonly kind: 'published'; readonly isNewNar: boolean; readonly leftOut?: readonly string[] }
  /** It was there with the same NAR and references; signatures were merged. */
  | { readonly kind: 'present'; readonly leftOut?: readonly string[] }
  /** The same, and its NAR was lost: that is here again. */
  | { readonly kind: 'healed'; readonly leftOut?: readonly string[] }
  /** It was there with other content, which stays. */
  | { readonly kind: 'differs'; readonly narHash: string }
  /** The NAR that it should point at is gone. */
  | { readonly kind: 'no-nar' };

/** What a transaction has done. */
export interface Published {
  readonly outcome: PublishOutcome;
  /** Hash parts of paths whose lost NAR is here again. */
  readonly healed: readonly string[];
}

export interface PathRow {
  hash_part: string;
  name: string;
  refs: string;
  deriver: string | null;
  ca: string | null;
  signatures: string;
  nar_hash: string;
  nar_size: number;
}

/** What is in the way may be given up between two of our statements, by another server: then it is tried again. */
const ATTEMPTS = 5;

/** Words of a text that rows hold: no words make no text. */
export function splitWords(text: string): string[] {
  return text === '' ? [] : text.split(' ');
}

/**
 * The statements of the usual push, of which one tells other servers: path and NAR are both new. The constraints of the
 * tables tell where it is not so.
 * A NAR that is there is locked even where it is no orphan, so that nothing can remove it before the path points at it.
 */
export function publishStatements(database: Database, path: NewPath, source: NarSource): Statement[] {
  const nar = 'object' in source ? objectStatements(source.object, source.facts) : [claimStatement(source.key)];
  const [text, ...values] = pathStatement(path, 'object' in source ? source.object.key : source.key);
  return [...nar, [`${text}${database.announcing}`, ...values], ...waitStatements(database, path)];
}

function claimStatement(key: string): Statement {
  return [`UPDATE objects SET orphan_since = NULL WHERE key = ? AND state = 'verified' AND nar_hash IS NOT NULL`, key];
}

/**
 * Inserts a path whose NAR is the object called `key`; fails where the path is there or the object is not.
 * @param needed the number of the collection that is under way, 0 where none is and the path is not blocked. Absent: fails
 *   where it is otherwise
 */
function pathStatement(path: NewPath, key: string, needed?: number): Statement {
  return [
    `INSERT INTO paths (hash_part, name, refs, deriver, ca, signatures, published_at, closure_checked, needed, object_id)
     VALUES (?, ?, ?, ?, ?, ?, ?, 1, ${needed ?? NEEDED_BY_NONE}, (SELECT id FROM objects WHERE key = ? AND state = 'verified' AND nar_hash IS NOT NULL))`,
    path.hashPart,
    path.name,
    path.references.join(' '),
    path.deriver ?? null,
    path.ca ?? null,
    path.signatures.join(' '),
    Date.now(),
    ...(needed === undefined ? [path.hashPart, path.narHash] : []),
    key,
  ];
}

/**
 * Publishes step by step, where the path or its NAR may be there already: the old row decides then.
 * @param merge weighs the signatures of the row and those of the path
 * @throws CacheError Conflict (it was there with other content, which is lost), Forbidden (it is blocked)
 */
export async function insertPath(
  database: Database,
  sql: Sql,
  path: NewPath,
  source: NarSource,
  merge: (stored: readonly string[]) => Weighed,
): Promise<Published> {
  await mustBeAllowed(sql, path);
  const nar =
    'object' in source
      ? await insertNar(sql, source.object, source.facts, null)
      : { id: await claimNar(sql, source.key), isNew: false, healed: [] };
  const { healed } = nar;
  if (nar.id === undefined) return { outcome: { kind: 'no-nar' }, healed };
  const run = await activeRun(sql);
  // What a push needs, new or not, a collection that is under way must not take.
  if (run !== undefined) await markNeeded(database, sql, [path.hashPart, ...wantedBy(path)], run);
  const [text, ...values] = pathStatement(path, 'object' in source ? source.object.key : source.key, run ?? 0);
  let row: (PathRow & { id: number; storage: string; state: string }) | undefined;
  for (let attempt = 0; row === undefined; attempt++) {
    if (attempt === ATTEMPTS)
      throw new CacheError('Unavailable', `${path.hashPart} is being removed by other requests`);
    const inserted = await sql.query(`${text} ON CONFLICT (hash_part) DO NOTHING RETURNING hash_part`, values);
    if (inserted.length > 0) {
      await sql.run(waitStatements(database, path));
      return { outcome: { kind: 'published', isNewNar: nar.isNew }, healed };
    }
    [row] = await sql.query(
      `SELECT p.hash_part, p.name, p.refs, p.deriver, p.ca, p.signatures, o.nar_hash, o.nar_size, o.id, o.storage, o.state
       FROM paths p JOIN objects o ON o.id = p.object_id WHERE p.hash_part = ?`,
      [path.hashPart],
    );
  }
  const isSame = same(row, path);
  const isLost = row.state === 'lost';
  // Nobody can get what is published: a client must not take that for a push that was too late.
  if (isLost && !isSame)
    throw differs(
      row.nar_hash,
      ' and is lost: push that NAR, or have an administrator run "narwhal-server check --repair"',
    );
  const replaced = isLost ? await replaceLost(sql, row, nar.id) : [];
  await releaseNar(sql, nar.id, nar.isNew);
  if (!isSame) return { outcome: { kind: 'differs', narHash: row.nar_hash }, healed };
  const { kept, leftOut } = merge(splitWords(row.signatures));
  const merged = kept.join(' ');
  if (merged !== row.signatures)
    await sql.query('UPDATE paths SET signatures = ? WHERE hash_part = ?', [merged, path.hashPart]);
  const all = [...healed, ...replaced];
  const kind = all.includes(path.hashPart) ? 'healed' : 'present';
  return { outcome: leftOut.length === 0 ? { kind } : { kind, leftOut }, healed: all };
}

/** @param more what there is to know about it */
export function differs(narHash: string, more = ''): CacheError {
  return new CacheError(
    'Conflict',
    `this path is published with NarHash ${narHash} and its own references${more}; a published path is never replaced`,
  );
}

function same(row: PathRow, path: NewPath): boolean {
  return (
    row.name === path.name &&
    row.nar_hash === path.narHash &&
    row.nar_size === path.narSize &&
    row.refs === path.references.join(' ')
  );
}

/**
 * Gives a NAR without a path its row. Not new where its key is taken: the bytes lose and wait for their removal. Where the
 * object with its key is lost, they take its place. @param look marks the object of a key where it is lost
 * @param synced the bytes are on disk then: paths that were lost must not point at them before
 */
export async function storeNar(
  database: Database,
  object: NewObject,
  facts: NarFacts,
  look: (key: string) => Promise<void>,
  synced?: Promise<void>,
): Promise<{ isNew: boolean; healed: readonly string[] }> {
  try {
    // Where the bytes may be lost with the power, so may the row.
    await database.script(objectStatements(object, facts, Date.now()), synced === undefined ? 'disk' : 'process');
    return { isNew: true, healed: [] };
  } catch (error) {
    if (!isConstraint(error)) throw error;
    await synced;
    await look(object.key);
    return database.write(async (sql) => {
      await mustBeAllowed(sql, { hashPart: '', narHash: facts.narHash });
      const { isNew, healed } = await insertNar(sql, object, facts, Date.now());
      await sql.run(database.announce(healed));
      return { isNew, healed };
    });
  }
}

/** Gives a NAR its row; where the key is taken the new bytes lose, unless those of the key are lost. The object that stays. */
async function insertNar(
  sql: Sql,
  object: NewObject,
  facts: NarFacts,
  orphanSince: number | null,
): Promise<{ id: number; isNew: boolean; healed: readonly string[] }> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const id = await insertObject(sql, object, facts, orphanSince);
    if (id !== undefined) return { id, isNew: true, healed: [] };
    const lost = await healNar(sql, object, facts, orphanSince);
    if (lost !== undefined) return { id: lost.id, isNew: true, healed: lost.paths };
    const there = orphanSince === null ? await claimNar(sql, object.key) : await findNar(sql, object.key, orphanSince);
    if (there === undefined) continue;
    await insertTombstone(sql, object);
    return { id: there, isNew: false, healed: [] };
  }
  throw new CacheError('Unavailable', `${object.key} is being removed and stored by other requests`);
}

/** The NAR called `key`, which waits for a path from now on if it has none. */
async function findNar(sql: Sql, key: string, now: number): Promise<number | undefined> {
  const [row] = await sql.query<{ id: number }>(`SELECT id FROM objects WHERE key = ? AND state = 'verified'`, [key]);
  return row !== undefined && (await keepNar(sql, row.id, now)) ? row.id : undefined;
}

/** The NAR called `key`, no longer an orphan: a path is about to point at it. */
async function claimNar(sql: Sql, key: string): Promise<number | undefined> {
  const [text, ...values] = claimStatement(key);
  const rows = await sql.query<{ id: number }>(`${text} RETURNING id`, values);
  return rows[0]?.id;
}

/** A NAR that no path took after all: bytes that came with it go at once, others wait as orphans again. */
async function releaseNar(sql: Sql, id: number, isNew: boolean): Promise<void> {
  if (await isPointedAt(sql, id)) return;
  if (isNew) await tombstone(sql, id);
  else await sql.query('UPDATE objects SET orphan_since = ? WHERE id = ?', [Date.now(), id]);
}
