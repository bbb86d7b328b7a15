/**
 * What a crash can leave behind, removed when a storage is opened: staged files that no open upload knows, and bytes
 * that were renamed to their final name but never got a row. Only folders newer than the storage's settled mark are
 * compared with the rows, so a start does not list a million files. Safe because this process is the sole writer.
 */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import { folderAt, type LocalStorage } from '../../storage/index.ts';
import { endStatements, openUploads } from '../push/index.ts';

export interface LeftoversInit {
  readonly database: Database;
  readonly logger: Logger;
}

/** Brings a storage that was just opened in line with the rows. The names that it removed. */
export async function removeLeftovers(init: LeftoversInit, storage: LocalStorage): Promise<string[]> {
  const { database, logger } = init;
  const removed: string[] = [];
  const stagedFiles = (await storage.listStaged()).map((staged) => staged.id);
  const wanted = await abandonBroken(init, storage, new Set(stagedFiles));
  for (const staged of stagedFiles) {
    if (wanted.has(staged)) continue;
    await storage.stage(staged).discard();
    removed.push(staged);
  }
  removed.push(...(await removeUnknown(database, storage)));
  if (removed.length > 0)
    logger.info({ storage: storage.name, files: removed.length }, 'removed what an interrupted write left behind');
  await markSettled(database, storage);
  return removed;
}

/**
 * Gives up uploads whose bytes are not all there: their files had just been moved when the process ended. The client
 * hears that the upload is over and begins anew. The files of those that can go on: `<upload id>`, and
 * `<upload id>.<part>` of each part that waits; others are of attempts that broke off, or were copied.
 */
async function abandonBroken(
  { database, logger }: LeftoversInit,
  storage: LocalStorage,
  staged: ReadonlySet<string>,
): Promise<Set<string>> {
  const wanted = new Set<string>();
  for (const { id, storage: place } of await openUploads(database)) {
    if (place !== storage.name) continue;
    const parts = await database.query<{ number: number; start: number | null; size: number }>(
      'SELECT number, start, size FROM upload_parts WHERE upload = ?',
      [id],
    );
    const files = parts.flatMap(({ number, start, size }) =>
      size === 0 ? [] : [start === null ? `${id}.${number}` : id],
    );
    if (files.every((file) => staged.has(file))) for (const file of [id, ...files]) wanted.add(file);
    else {
      await database.script(endStatements(id, 'aborted'));
      logger.info({ upload: id, storage: place }, 'gave up an upload that was interrupted while it was completed');
    }
  }
  return wanted;
}

/**
 * The same where several servers write: what is younger than `ageMs` may be about to be published by another one.
 */
export async function removeOldLeftovers(
  { database, logger }: LeftoversInit,
  storage: LocalStorage,
  ageMs: number,
): Promise<void> {
  const before = Date.now() - ageMs;
  for (const { id, modifiedAt } of await storage.listStaged()) {
    if (modifiedAt < before) await storage.stage(id).discard();
  }
  const removed = await removeUnknown(database, storage, before);
  if (removed.length > 0)
    logger.info({ storage: storage.name, files: removed.length }, 'removed files that never got a row');
  await markSettled(database, storage, before);
}

/** Removes files that have no row and were not written to since `before`; of folders since the settled mark. */
async function removeUnknown(database: Database, storage: LocalStorage, before = Infinity): Promise<string[]> {
  const removed: string[] = [];
  const marks = await database.query<{ settled: string }>('SELECT settled FROM storages WHERE name = ?', [
    storage.name,
  ]);
  for await (const entry of storage.list(marks[0]?.settled)) {
    if (entry.modifiedAt >= before) continue;
    const rows = await database.query('SELECT 1 FROM objects WHERE storage = ? AND name = ?', [
      storage.name,
      entry.name,
    ]);
    if (rows.length > 0) continue;
    await storage.delete(entry.name);
    removed.push(entry.name);
  }
  return removed;
}

/** Notes that older folders hold nothing without a row. Writes take minutes at most; an hour's slack is plenty. */
export async function markSettled(database: Database, storage: LocalStorage, at = Date.now()): Promise<void> {
  const mark = folderAt(new Date(at - 3600_000));
  await database.write((sql) =>
    sql.query('UPDATE storages SET settled = ? WHERE name = ? AND settled < ?', [mark, storage.name, mark]),
  );
}
