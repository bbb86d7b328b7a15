/**
 * The full scan behind `narwhal-server check`: every row beside its bytes, every file beside its row. It changes
 * nothing unless asked to repair, and never touches a storage that is not available.
 */
import { createHash } from 'node:crypto';
import type { Database } from '../metadata/index.ts';
import { formatHash, sha256FromHex } from '../nix/index.ts';
import type { Storage } from '../storage/index.ts';
import { unpublish } from './objects.ts';
import type { Storages } from './storages.ts';

export interface CheckInit {
  readonly database: Database;
  readonly storages: Storages;
  /** Also read every NAR and compare its SHA-256. */
  readonly contents: boolean;
  /** Unpublish what has no bytes, remove files without rows. */
  readonly repair: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Finding {
  readonly kind: 'missing' | 'wrong-size' | 'wrong-hash' | 'no-row' | 'unavailable';
  readonly storage: string;
  /** Key of the object, or its file name where it has no row. */
  readonly object: string;
  /** Store path hash parts that cannot be served because of it. */
  readonly paths: readonly string[];
}

export interface CheckReport {
  readonly objects: number;
  readonly bytes: number;
  readonly findings: readonly Finding[];
  readonly repaired: number;
}

interface Row {
  readonly id: number;
  readonly key: string;
  readonly storage: string;
  readonly name: string;
  readonly size: number;
  readonly file_hash: string | null;
}

const PAGE = 1000;
/** Longer than any write takes from its first byte to its row. */
const YOUNG_MS = 24 * 3600_000;

/** Compares rows and bytes of every storage. */
export async function check(init: CheckInit): Promise<CheckReport> {
  const { database, storages } = init;
  const findings: Finding[] = [];
  let [objects, bytes, repaired] = [0, 0, 0];
  const counted = await database.query<{ n: number }>(`SELECT count(*) AS n FROM objects WHERE state = 'verified'`);
  const total = Number(counted[0]?.n ?? 0);
  const ill = new Set<string>();
  for (const storage of storages.list()) {
    const health = storage.health();
    if (health.state !== 'Unavailable') continue;
    ill.add(storage.name);
    findings.push({ kind: 'unavailable', storage: storage.name, object: health.reason, paths: [] });
  }
  for (let after = 0; init.signal?.aborted !== true; ) {
    const rows = await database.query<Row>(
      `SELECT id, key, storage, name, size, file_hash FROM objects
       WHERE state = 'verified' AND id > ? ORDER BY id LIMIT ${PAGE}`,
      [after],
    );
    if (rows.length === 0) break;
    for (const row of rows) {
      after = row.id;
      objects++;
      bytes += row.size;
      init.onProgress?.(objects, total);
      const storage = storages.find(row.storage);
      if (storage === undefined || ill.has(row.storage)) continue;
      const kind = await examine(storage, row, init.contents);
      if (kind === undefined) continue;
      const paths = await database.query<{ hash_part: string }>('SELECT hash_part FROM paths WHERE object_id = ?', [
        row.id,
      ]);
      const finding = { kind, storage: row.storage, object: row.key, paths: paths.map((path) => path.hash_part) };
      if (!init.repair) findings.push(finding);
      else if (await takeAway(database, row)) {
        findings.push(finding);
        repaired++;
      }
    }
  }
  for (const storage of storages.list()) {
    if (ill.has(storage.name)) continue;
    for await (const entry of storage.list()) {
      if (init.signal?.aborted === true) break;
      // Other servers may be about to publish it.
      if (database.isShared && entry.modifiedAt > Date.now() - YOUNG_MS) continue;
      const known = await database.query('SELECT 1 FROM objects WHERE storage = ? AND name = ?', [
        storage.name,
        entry.name,
      ]);
      if (known.length > 0) continue;
      findings.push({ kind: 'no-row', storage: storage.name, object: entry.name, paths: [] });
      if (!init.repair) continue;
      await storage.delete(entry.name);
      repaired++;
    }
  }
  return { objects, bytes, findings, repaired };
}

/** Unpublishes what has no bytes. False: its row has changed since it was read, by a server that runs. */
async function takeAway(database: Database, { id, storage, name }: Row): Promise<boolean> {
  return database.write(async (sql) => {
    const rows = await sql.query(
      `UPDATE objects SET key = NULL, state = 'tombstoned', orphan_since = NULL
       WHERE id = ? AND storage = ? AND name = ? AND state = 'verified' RETURNING id`,
      [id, storage, name],
    );
    if (rows.length > 0) await unpublish(database, sql, id);
    return rows.length > 0;
  });
}

async function examine(storage: Storage, row: Row, contents: boolean): Promise<Finding['kind'] | undefined> {
  const size = await storage.stat(row.name);
  if (size === undefined) return 'missing';
  if (size !== row.size) return 'wrong-size';
  if (!contents || row.file_hash === null) return undefined;
  const hash = createHash('sha256');
  const body = await storage.get(row.name, { start: 0, end: row.size - 1 });
  if (Buffer.isBuffer(body)) hash.update(body);
  else for await (const piece of body) hash.update(piece as Buffer);
  return formatHash(sha256FromHex(hash.digest('hex'))) === row.file_hash ? undefined : 'wrong-hash';
}
