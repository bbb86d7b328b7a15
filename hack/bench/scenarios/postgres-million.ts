/** A million paths in PostgreSQL: what they take on the disk, and what reads and a dump of them take in time. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { encodeNix32 } from '../../../server/nix/index.ts';
import type { PostgresServer } from '../../../test/support/postgres.ts';
import { ensurePostgres } from '../../components/postgres.mjs';
import type { Bench } from '../bench.ts';
import { makeBenchPath } from '../data.ts';
import { startNarwhal } from '../processes.ts';
import { inFlight, pushByPut, timed } from '../push.ts';
import { quantile, type Row } from '../report.ts';
import { shared, startPostgres, startS3 } from '../services.ts';

const HASHES = 10_000;
const BATCH = 20_000;
const LOOKS = 2_000;
const IN_FLIGHT = 8;

/**
 * As pushes write them: random keys by turns, 25 characters of name, six references, a deriver, one signature. Hex with
 * a z in place of e is nix32 too.
 */
const FILL = `
  WITH made AS (
    SELECT i, translate(md5('p' || i), 'e', 'z') AS hash, 'package-' || i || '-1.23.4-lib' AS name,
      '0' || substr(translate(encode(sha256(('f' || i)::bytea), 'hex'), 'e', 'z'), 1, 51) AS file,
      '0' || substr(translate(encode(sha256(('n' || i)::bytea), 'hex'), 'e', 'z'), 1, 51) AS nar
    FROM generate_series($1::int, $2::int) i
  ), object AS (
    INSERT INTO objects (key, storage, name, size, state, created_at, compression, file_hash, nar_hash, nar_size)
    SELECT 'nar/' || file || '.nar.zst', 'bucket', '2026112712/' || md5('o' || i)::uuid, 20000 + i, 'verified',
      1795784257613, 'zstd', 'sha256:' || file, 'sha256:' || nar, 60000 + i FROM made
    RETURNING id, key
  )
  INSERT INTO paths (hash_part, name, object_id, refs, deriver, signatures, published_at)
  SELECT hash, made.name, object.id,
    (SELECT string_agg(translate(md5('p' || (made.i - r * r)), 'e', 'z') || '-package-' || (made.i - r * r) || '-1.23.4-lib', ' ')
       FROM generate_series(1, 6) r),
    translate(md5('d' || i), 'e', 'z') || '-package-' || i || '-1.23.4.drv',
    'cache.example.org-1:' || substr(repeat(encode(sha256(('s' || i)::bytea), 'base64'), 3), 1, 88), 1795784257613
  FROM made JOIN object ON object.key = 'nar/' || file || '.nar.zst'`;

const SIZES = `
  SELECT c.relname AS name, pg_relation_size(c.oid) AS bytes
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relkind IN ('r', 'i') AND pg_relation_size(c.oid) > 1000000 ORDER BY 1`;

export async function postgresMillion(bench: Bench): Promise<Row[]> {
  const [s3, postgres] = [await startS3(bench), await startPostgres(bench)];
  const url = await postgres.server.createDatabase('million');
  const init = shared(s3.server, url, 'bucket');
  const folder = bench.newFolder('postgres-million');
  const first = await bench.serving(startNarwhal(folder, bench.nodeArgs, init));
  // Makes the schema.
  await pushByPut(first, [makeBenchPath({ index: 0, size: 20_000 })]);
  await bench.end(first);
  const count = bench.millionCount;
  bench.say(`writing ${count} paths into PostgreSQL`);
  const inMillion = (sql: string, values: unknown[] = []) =>
    postgres.server.query<Record<string, string | number>>(sql, { database: 'million', values });
  const [schema] = await inMillion(`SELECT schemaname AS name FROM pg_tables WHERE tablename = 'paths'`);
  const name = String(schema?.name);
  await inMillion(`ALTER ROLE narwhal IN DATABASE million SET search_path TO "${name}"`);
  const wal = async () => Number((await inMillion(`SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS at`))[0]?.at);
  const before = await wal();
  for (let made = 1; made <= count; made += BATCH) await inMillion(FILL, [made, Math.min(count, made + BATCH - 1)]);
  const walBytes = (await wal()) - before;
  await inMillion('VACUUM ANALYZE');
  const rows: Row[] = [{ what: 'postgres-million, WAL, bytes a path', ours: walBytes / count, note: 'full pages too' }];
  for (const { name: relation, bytes } of await inMillion(SIZES, [name]))
    rows.push({ what: `postgres-million, ${relation}, bytes a path`, ours: Number(bytes) / count });
  rows.push(await dump(postgres.server, path.join(folder, 'dump'), count));

  const narwhal = await bench.serving(startNarwhal(folder, bench.nodeArgs, init));
  rows.push({ what: 'postgres-million, start until ready, s', ours: narwhal.readyMs / 1000 });
  const present = (await inMillion(`SELECT hash_part FROM paths ORDER BY random() LIMIT ${HASHES}`)).map((row) =>
    String(row.hash_part),
  );
  const times: number[] = [];
  const seconds = await timed(() =>
    inFlight(present.slice(0, LOOKS), IN_FLIGHT, async (hashPart) => {
      const took = await timed(async () => {
        const answer = await fetch(`${narwhal.url}/${hashPart}.narinfo`);
        if (answer.status !== 200) throw new Error(`${hashPart}.narinfo: ${answer.status}`);
        await answer.arrayBuffer();
      });
      times.push(took * 1000);
    }),
  );
  const note = `p50 ${quantile(times, 0.5).toPrecision(3)} ms, p99 ${quantile(times, 0.99).toPrecision(3)} ms`;
  rows.push({
    what: 'postgres-million, narinfos not in memory/s',
    ours: LOOKS / seconds,
    note: `8 in flight; ${note}`,
  });
  const asked = [
    ...present.slice(0, HASHES / 2),
    ...Array.from({ length: HASHES / 2 }, () => encodeNix32(randomBytes(20))),
  ];
  const queries: number[] = [];
  for (let query = 0; query < 20; query++) queries.push((await timed(() => missing(narwhal, asked))) * 1000);
  rows.push({ what: 'postgres-million, 10 000 hashes, p50 ms', ours: quantile(queries, 0.5) });
  for (const it of [narwhal, postgres, s3]) await bench.end(it);
  return rows;
}

async function missing(narwhal: { url: string; token: string }, hashes: readonly string[]): Promise<void> {
  const answer = await fetch(`${narwhal.url}/api/v1/cache/main/narinfo`, {
    method: 'POST',
    headers: { authorization: `Bearer ${narwhal.token}`, 'content-type': 'application/json' },
    body: JSON.stringify(hashes),
  });
  if (!answer.ok) throw new Error(await answer.text());
  await answer.arrayBuffer();
}

/** What a backup by pg_dump takes, where the server's packages have it. */
async function dump(server: PostgresServer, file: string, count: number): Promise<Row> {
  const { bin, root, env } = await ensurePostgres();
  const words = ['--format=custom', '--compress=1', `--file=${file}`, server.url('million')];
  const options = { env: { PATH: process.env.PATH, ...env(root ?? '') } };
  const seconds = await timed(() => promisify(execFile)(path.join(bin, 'pg_dump'), words, options));
  const { size } = statSync(file);
  return { what: 'postgres-million, pg_dump, s', ours: seconds, note: `${Math.round(size / count)} bytes a path` };
}
