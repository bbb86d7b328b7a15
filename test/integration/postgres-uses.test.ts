/** Uses that several servers write into one database. */
import assert from 'node:assert/strict';
import { type Uses, usesSince } from '../../server/cache/use/index.ts';
import { useStatement } from '../../server/cache/use/rows.ts';
import type { PostgresDatabase } from '../../server/metadata/index.ts';
import { PostgresServer } from '../support/postgres.ts';
import { openSchema } from '../support/postgres-cache.ts';
import { useRows, usesOf } from '../support/uses.ts';

const PATHS = 5000;
const HOUR = 3600_000;

describe('uses on PostgreSQL', () => {
  let postgres: PostgresServer;
  let databases: PostgresDatabase[];
  let servers: Uses[];
  const hashParts = Array.from({ length: PATHS }, (_, index) => String(index + 1).padStart(32, '0'));

  before(async () => {
    postgres = await PostgresServer.start();
    databases = [await openSchema(postgres.url()), await openSchema(postgres.url())];
    servers = databases.map(usesOf);
    await first().script([
      [
        `INSERT INTO objects (key, storage, name, size, state, created_at)
         SELECT 'nar/' || i, 'disk', 'n' || i, 1, 'verified', 1 FROM generate_series(1, ${PATHS}) AS i`,
      ],
      [
        `INSERT INTO paths (hash_part, name, object_id, refs, signatures, published_at)
         SELECT lpad(substr(key, 5), 32, '0'), 'n', id, '', '', 1 FROM objects`,
      ],
    ]);
  });
  beforeEach(() => first().script([['DELETE FROM uses']]));
  after(async () => {
    for (const database of databases ?? []) await database.close();
    await postgres?.remove();
  });

  function first(): PostgresDatabase {
    const [database] = databases;
    assert.ok(database);
    return database;
  }
  const write = (database: PostgresDatabase, now: number, order = hashParts) =>
    database.script([useStatement(database, { hashParts: order, objects: [], now })], 'process');

  it('the latest wins, whichever server writes it first', async () => {
    const now = Date.now();
    const times = [now - 3 * HOUR, now, now - 6 * HOUR, now - 1.5 * HOUR];
    for (const [index, at] of times.entries()) await write(databases[index % 2] ?? first(), at);
    assert.deepEqual(new Set((await useRows(first())).values()), new Set([now]));
  });

  it('two that write the same paths at once, in any order, end with the latest', async () => {
    const now = Date.now();
    for (let round = 1; round <= 5; round++) {
      const at = now + 10 * round * HOUR;
      await Promise.all([
        ...databases.map((database, index) => write(database, at + index * 2 * HOUR, hashParts.toReversed())),
        ...databases.map((database, index) => write(database, at + index * 3 * HOUR)),
      ]);
      const rows = await useRows(first());
      assert.equal(rows.size, PATHS);
      // Whoever was an hour later may have looked before the other had committed, and has written all the same.
      for (const used of rows.values()) assert.equal(used, at + 3 * HOUR);
    }
  });

  it('a NAR is a use of its paths, and time began once for both', async () => {
    const [a, b] = servers;
    assert.ok(a && b);
    const [object] = await first().query<{ object_id: number; hash_part: string }>(
      'SELECT object_id, hash_part FROM paths LIMIT 1',
    );
    assert.ok(object);
    b.touchNar(object.object_id);
    b.touchAll([hashParts[7] ?? '', 'x']);
    await Promise.all([a.flush(), b.flush()]);
    assert.deepEqual(new Set((await useRows(first())).keys()), new Set([object.hash_part, hashParts[7] ?? '']));
    assert.deepEqual(new Set(await Promise.all(databases.map(usesSince))).size, 1);
  });

  it('rows of paths that are gone go', async () => {
    const [a] = servers;
    assert.ok(a);
    await first().script([['INSERT INTO uses (hash_part, used_at) VALUES (?, 1)', 'gone']]);
    await write(first(), Date.now(), hashParts.slice(0, 10));
    await a.sweep();
    assert.deepEqual([...(await useRows(first())).keys()].sort(), hashParts.slice(0, 10));
  });
});
