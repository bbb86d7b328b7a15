/** No query that requests wait for reads a whole table: asked of the planner, with a million paths. */
import assert from 'node:assert/strict';
import { REPORT_QUERY } from '../../server/cache/closures/closures.ts';
import {
  afterPublishQuery,
  endedWaitsQuery,
  UNCHECKED_QUERY,
  WAITS_QUERY,
  wantedBy,
} from '../../server/cache/closures/rows.ts';
import { closureQuery } from '../../server/cache/listing/closure-size.ts';
import { DETAILS_QUERY } from '../../server/cache/listing/details.ts';
import { foundStatement, type PageRequest, pageStatement, SORTS } from '../../server/cache/listing/rows.ts';
import { OBJECT_COUNT_QUERY } from '../../server/cache/listing/sums.ts';
import { LOST_COUNTS_QUERY, LOST_PATHS_QUERY } from '../../server/cache/objects/lost-rows.ts';
import { OBJECT_QUERY, tombstonesQuery } from '../../server/cache/objects/objects.ts';
import { OBJECTS_QUERY } from '../../server/cache/objects/rows.ts';
import { WAITING_QUERY } from '../../server/cache/objects/unproven.ts';
import { PathCount } from '../../server/cache/paths/count.ts';
import { NARINFO_QUERY, presentQuery } from '../../server/cache/paths/paths.ts';
import { type NewPath, publishStatements } from '../../server/cache/paths/publish.ts';
import {
  COMPLETION_QUERY,
  OPEN_UPLOADS_QUERY,
  PART_QUERY,
  PARTS_QUERY,
  UPLOAD_QUERY,
} from '../../server/cache/push/upload-rows.ts';
import { EXPIRED_QUERY } from '../../server/cache/retention/expire.ts';
import { GRAPH_QUERY } from '../../server/cache/retention/load.ts';
import { sweep } from '../../server/cache/retention/sweep.ts';
import { retiredQuery } from '../../server/cache/retired/retire.ts';
import { ORPHANS_QUERY } from '../../server/cache/upkeep/orphans.ts';
import { LAST_USE, USE_JOIN, USES_QUERY, useStatement } from '../../server/cache/use/rows.ts';
import type { PostgresDatabase, Statement } from '../../server/metadata/index.ts';
import { numbered, quoteValue } from '../../server/metadata/postgres/text.ts';
import { makePath } from '../support/nars.ts';
import { PostgresServer } from '../support/postgres.ts';
import { openSchema } from '../support/postgres-cache.ts';
import { StoppableServer } from '../support/stoppable-server.ts';

const PATHS = 1_000_000;
const UPLOADS = 200_000;

/** As many hash parts, keys and parts as a large cache has, most objects with a path and most uploads done. */
const FILL = [
  `INSERT INTO objects (key, storage, name, size, state, created_at, compression, file_hash, nar_hash, nar_size, orphan_since)
   SELECT CASE WHEN i % 2000 <> 1 THEN 'nar/' || hash || hash || '.nar.zst' END, 'disk', 'objects/2026010100/' || hash, 1000,
     CASE WHEN i % 2000 = 1 THEN 'tombstoned' WHEN i % 2000 = 2 THEN 'lost' ELSE 'verified' END, 1700000000000 + i, 'zstd', 'sha256:' || hash, 'sha256:' || hash,
     i, CASE WHEN i % 1000 = 0 THEN 1700000000000 + i END
   FROM (SELECT i, lpad(i::text, 32, '0') AS hash FROM generate_series(1, ${PATHS}) AS i) AS numbers`,
  `INSERT INTO paths (hash_part, name, object_id, refs, signatures, published_at, closure_checked)
   SELECT lpad(id::text, 32, 'p'), 'package-' || id, id, '', 'main.localhost-1:' || file_hash, 1700000000000 + id,
     CASE WHEN id % 5000 <> 3 THEN 1 END FROM objects`,
  `INSERT INTO waiting (missing, path, since)
   SELECT lpad((object_id / 40 * 2 + i)::text, 32, 'm'), hash_part, 1700000000000 + object_id FROM paths, generate_series(1, 2) AS i WHERE object_id % 20 = 1`,
  `INSERT INTO uses (hash_part, used_at) SELECT hash_part, 1700000000000 + object_id FROM paths WHERE object_id % 2 = 0`,
  `INSERT INTO pins (name, revision) SELECT 'pin-' || i, 1 FROM generate_series(1, 10000) AS i`,
  `INSERT INTO pin_revisions (name, revision, hash_part, path_name, artifacts, created_at, origin)
   SELECT 'pin-' || object_id / 100, 1, hash_part, name, '[]', 1700000000000, 'api' FROM paths WHERE object_id % 100 = 0`,
  `INSERT INTO retired (hash_part, name, object_id, refs, signatures, published_at, used_at, retired_at, reason)
   SELECT lpad(id::text, 32, 'r'), 'package-' || id, id, '', '', 1, 1, 1700000000000 + id, 'unused' FROM objects WHERE id % 5 = 3`,
  `INSERT INTO doomed (turn, hash_part, reason) SELECT object_id, hash_part, 'unused' FROM paths WHERE object_id BETWEEN 200001 AND 300000`,
  `INSERT INTO blocked (hash_part, nar_hash, reason, blocked_at)
   SELECT lpad(i::text, 32, 'b'), 'sha256:b' || i, 'x', 1700000000000 FROM generate_series(1, 10000) AS i`,
  `INSERT INTO uploads (id, upload_id, compression, storage, state, created_at, expires_at)
   SELECT md5(i::text), md5(i::text), 'zstd', 'disk', CASE WHEN i % 100 = 0 THEN 'open' ELSE 'done' END, i, i
   FROM generate_series(1, ${UPLOADS}) AS i`,
  `INSERT INTO upload_parts (upload, number, start, size, md5)
   SELECT id, number, 0, 1, md5(id) FROM uploads, generate_series(1, 10) AS number WHERE state = 'open'`,
];

/** Tables that have a row or a few, whatever a cache holds. */
const SMALL = new Set(['collection', 'collections', 'closing', 'storages', 'meta', 'intents']);

interface Plan {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly Plans?: readonly Plan[];
}

function nodes(plan: Plan): Plan[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodes)];
}

/** The largest query that a client may make. */
const most = Array.from({ length: 65_536 }, (_, index) => String(index).padStart(32, '0'));
const hashes = most.slice(0, 10_000);
const path: NewPath = {
  hashPart: '0'.repeat(32),
  name: 'x',
  references: [`${'1'.repeat(32)}-y`],
  deriver: undefined,
  ca: undefined,
  signatures: [],
  narHash: '',
  narSize: 1,
};

const LISTING: PageRequest = { sort: 'name', limit: 100, after: undefined, among: undefined };

type Ask = (database: PostgresDatabase) => Statement;

const QUERIES: readonly [what: string, statement: Ask][] = [
  ['the look-up of a narinfo', () => [NARINFO_QUERY, path.hashPart]],
  ['the look-up of an object', () => [OBJECT_QUERY, 'nar/x']],
  ['a query for 10 000 paths', (database) => [presentQuery(database), database.list(hashes)]],
  ['a query for 65 536 paths', (database) => [presentQuery(database), database.list(most)]],
  ['the look at NARs without a path when a server starts', () => [WAITING_QUERY]],
  ['the search for NARs without a path', () => [ORPHANS_QUERY, 1700000500000]],
  [
    'the search for bytes to remove',
    (database) => [tombstonesQuery(database), Date.now(), database.list(['disk', 'cloud'])],
  ],
  ['the count of lost objects', () => [LOST_COUNTS_QUERY]],
  ['the search for paths whose NAR is lost', () => [LOST_PATHS_QUERY]],
  ['a page of all objects', () => [OBJECTS_QUERY, 500_000]],
  ['the search for open uploads', () => [OPEN_UPLOADS_QUERY]],
  ['the look-up of an upload', () => [UPLOAD_QUERY, 'x']],
  ['the look-up of an upload with a part', () => [PART_QUERY, 1, 'x']],
  ['the look-up of an upload with its parts and its path', () => [COMPLETION_QUERY, path.hashPart, 'x']],
  ['the search for parts of an upload', () => [PARTS_QUERY, 'x']],
  ...[0, 1, 2].map((index): [string, Ask] => [
    `statement ${index + 1} of a publish`,
    (database) => publishStatements(database, path, { key: 'nar/x' })[index] ?? [''],
  ]),
  [
    'the look after a publish',
    (database) => [afterPublishQuery(database), 'x', 'x', 'x', database.list(wantedBy(path)), 'x'],
  ],
  ['the search for waits that have ended', (database) => [endedWaitsQuery(database), database.list(['x', 'y'])]],
  ['a page of all waits', () => [WAITS_QUERY, 'a', 'b']],
  ['the search for unchecked paths', () => [UNCHECKED_QUERY]],
  ['the count of what waits', () => [REPORT_QUERY]],
  [
    'the note of 2000 uses',
    (database) =>
      useStatement(database, {
        hashParts: hashes.slice(0, 1000),
        objects: Array.from({ length: 1000 }, (_, index) => index),
        now: Date.now(),
      }),
  ],
  ['a page of the graph of all paths', () => [GRAPH_QUERY, 'a']],
  ['the search for paths whose grace is over', () => [EXPIRED_QUERY, 1700000500000]],
  ['the search for retired ones among 10 000 paths', (database) => [retiredQuery(database), database.list(hashes)]],
  ['the search for uses of paths that are gone', () => [USES_QUERY, 'a']],
  ...SORTS.flatMap((sort) =>
    (
      [
        ['the first page', { limit: 100 }],
        ['a long page', { limit: 1000 }],
        ['a page', { after: { key: sort === 'published' ? 1700000500000 : 'package-5', hashPart: 'p5' } }],
        ['a page of what was found', { among: { hashParts: hashes } }],
      ] as const
    ).map(([what, more]): [string, Ask] => [
      `${what} by ${sort}`,
      (database) => pageStatement(database, { ...LISTING, sort, ...more }),
    ]),
  ),
  [
    'a page of names that begin alike',
    (database) => pageStatement(database, { ...LISTING, among: { prefix: 'pack' } }),
  ],
  ['a search', (database) => foundStatement(database, 'p1')],
  ['the look-up of one path with all that is known', () => [DETAILS_QUERY, path.hashPart]],
  ['the look at a part of a closure', (database) => [closureQuery(database), database.list(hashes.slice(0, 500))]],
  ['the count of objects in a storage', () => [OBJECT_COUNT_QUERY, 'disk']],
  [
    'a page of paths with their last uses',
    () => [
      `SELECT p.hash_part, ${LAST_USE} AS last_use FROM paths p ${USE_JOIN}
       WHERE p.hash_part > ? ORDER BY p.hash_part LIMIT 2000`,
      'a',
    ],
  ],
];

describe('with a million paths in PostgreSQL', () => {
  let postgres: PostgresServer;
  let database: PostgresDatabase;
  before(async () => {
    postgres = await PostgresServer.start({
      settings: {
        maintenance_work_mem: '256MB',
        shared_buffers: '512MB',
        max_wal_size: '4GB',
        wal_level: 'minimal',
        max_wal_senders: '0',
      },
    });
    database = await openSchema(postgres.url(), { timeoutMs: 300_000 });
    for (const text of FILL) await database.script([[text]]);
    await database.query('ANALYZE');
  }).timeout(900_000);
  after(async () => {
    await database.close();
    await postgres.remove();
  });

  for (const [what, statement] of QUERIES)
    it(`${what} reads no table as a whole`, async () => {
      assert.deepEqual(await readWhole(statement(database)), []);
    });

  it('what a collection does beside pushes reads no table as a whole', async () => {
    const server = await StoppableServer.open(postgres.url());
    try {
      const hash = (id: number, letter: string) => String(id).padStart(32, letter);
      await database.script([['UPDATE collection SET run = 1, is_active = 1']]);
      const statements = new Map<string, Statement>();
      server.onStatement = (statement) => statements.set(statement[0], statement);
      const stop = new AbortController();
      server.paths.remove = () => stop.abort();
      const work = { database: server.seen, paths: server.paths, run: 1, begunAt: 0, signal: stop.signal };
      await assert.rejects(sweep(work, 'all'), { name: 'AbortError' });
      const swept = await database.query<{ hash_part: string }>(
        `SELECT hash_part FROM retired WHERE object_id = 200005`,
      );
      assert.deepEqual(swept, [{ hash_part: hash(200_005, 'p') }]);
      const needing = makePath({ references: [`${hash(200_001, 'p')}-x`, `${hash(500_001, 'p')}-y`] });
      assert.equal(await server.publish(needing), 'published');
      assert.equal((await server.paths.revive([hash(200_001, 'p')])).length, 0, 'it is back already');
      await server.expire(1_700_000_000_100);
      await server.database.script([['UPDATE objects SET orphan_since = 0 WHERE id = 700001']]);
      await server.dropOrphans();
      assert.ok(statements.size > 20);
      const bad: string[] = [];
      for (const statement of statements.values())
        for (const table of await readWhole(statement)) bad.push(`${table}: ${statement[0]}`);
      assert.deepEqual(bad, []);
    } finally {
      await server.close();
    }
  }).timeout(120_000);

  it('the paths are not counted one by one', async () => {
    const count = new PathCount(database);
    await count.refresh();
    assert.ok(Math.abs(count.value - PATHS) < PATHS / 20, String(count.value));
  });

  async function readWhole(statement: Statement): Promise<string[]> {
    return nodes(await planOf(statement))
      .filter((node) => node['Node Type'] === 'Seq Scan')
      .map((node) => node['Relation Name'] ?? '')
      .filter((name) => !SMALL.has(name));
  }

  /** As a session of ours plans it: without a look at the values. */
  async function planOf([text, ...values]: Statement): Promise<Plan> {
    const rows = await database.write(async (sql) => {
      await sql.run([[`PREPARE it AS ${numbered(text)}`]]);
      const literals = values.length > 0 ? `(${values.map(quoteValue).join(', ')})` : '';
      const found = await sql.query<{ 'QUERY PLAN': { Plan: Plan }[] }>(`EXPLAIN (FORMAT JSON) EXECUTE it${literals}`);
      await sql.run([['DEALLOCATE it']]);
      return found;
    });
    const plan = rows[0]?.['QUERY PLAN'][0]?.Plan;
    assert.ok(plan);
    return plan;
  }
});
