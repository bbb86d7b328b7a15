/** A cache with a million paths: the server makes its schema and one path, then rows are added while it is stopped. */
import { randomBytes, randomUUID } from 'node:crypto';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { encodeNix32 } from '../../server/nix/index.ts';
import { makeBenchPath } from './data.ts';
import { type Served, startNarwhal } from './processes.ts';
import { pushByPut } from './push.ts';

const BATCH = 50_000;

/** The run that wants it. */
interface Run {
  readonly millionCount: number;
  serving<S extends Served>(starting: Promise<S>): Promise<S>;
  end(served: Served): Promise<void>;
  say(text: string): void;
}

/** Makes it in `folder`, which it returns. */
export async function makeMillion(bench: Run, folder: string): Promise<string> {
  const narwhal = await bench.serving(startNarwhal(folder));
  // The one real path: its row tells what the others look like.
  await pushByPut(narwhal, [makeBenchPath({ index: 0, size: 20_000 })]);
  await bench.end(narwhal);
  bench.say(`writing ${bench.millionCount} paths into a database`);
  fill(path.join(folder, 'data/main/db.sqlite'), bench.millionCount);
  return folder;
}

/** Hash parts of `count` paths that are there, without order. */
export function somePaths(folder: string, count: number): string[] {
  const database = new DatabaseSync(path.join(folder, 'data/main/db.sqlite'), { readOnly: true });
  const rows = database.prepare('SELECT hash_part FROM paths ORDER BY random() LIMIT ?').all(count);
  database.close();
  return rows.map((row) => String(row.hash_part));
}

/** In random order of hashes, as pushes come: tables and indexes have the layout that they have in life. */
function fill(file: string, count: number): void {
  const database = new DatabaseSync(file);
  database.exec('PRAGMA synchronous = OFF; PRAGMA cache_size = -500000');
  const model = database
    .prepare('SELECT storage, size, compression, signatures FROM paths JOIN objects ON id = object_id')
    .get();
  const { storage = '', size = 0, compression = '', signatures = '' } = model ?? {};
  const last = database.prepare('SELECT max(id) AS id, count(*) AS paths FROM objects').get();
  const object = database.prepare(
    `INSERT INTO objects (id, key, storage, name, size, state, created_at, compression, file_hash, nar_hash, nar_size)
     VALUES (?, ?, ?, ?, ?, 'verified', ?, ?, ?, ?, ?)`,
  );
  const row = database.prepare(
    `INSERT INTO paths (hash_part, name, object_id, refs, signatures, published_at) VALUES (?, ?, ?, ?, ?, ?)`,
  );
  const now = Date.now();
  const references: string[] = [];
  let id = Number(last?.id ?? 0);
  for (let made = Number(last?.paths ?? 0); made < count; ) {
    database.exec('BEGIN');
    for (const end = Math.min(count, made + BATCH); made < end; made++) {
      const [fileHash, narHash] = [encodeNix32(randomBytes(32)), encodeNix32(randomBytes(32))];
      const [hashPart, name] = [encodeNix32(randomBytes(20)), `pkg-${made}-1.0`];
      const where = `2026010100/${randomUUID()}`;
      const key = `nar/${fileHash}.nar.zst`;
      object.run(++id, key, storage, where, size, now, compression, `sha256:${fileHash}`, `sha256:${narHash}`, 40_000);
      row.run(hashPart, name, id, references.toSorted().join(' '), signatures, now);
      // A path refers to a few of those before it.
      references[made % 4] = `${hashPart}-${name}`;
    }
    database.exec('COMMIT');
  }
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  database.close();
}
