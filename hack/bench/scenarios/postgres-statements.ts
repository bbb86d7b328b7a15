/** What reads and pushes cost in statements and trips to PostgreSQL: counts, which no busy machine disturbs. */
import { randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { encodeNix32 } from '../../../server/nix/index.ts';
import { CachixClient } from '../../../test/support/cachix-client.ts';
import { StatementLog } from '../../../test/support/statement-log.ts';
import type { Bench } from '../bench.ts';
import { makeBenchPath } from '../data.ts';
import { startNarwhal } from '../processes.ts';
import { pushByCachix, pushByPut } from '../push.ts';
import { number, type Row } from '../report.ts';
import { shared, startPostgres, startS3 } from '../services.ts';

const PATHS = 100;
const HASHES = 10_000;
const AFTER_MS = 500;

export async function postgresStatements(bench: Bench): Promise<Row[]> {
  const [s3, postgres] = [await startS3(bench), await startPostgres(bench)];
  const database = await postgres.server.createDatabase();
  const log = await StatementLog.start(postgres.server.host, postgres.server.port);
  const init = shared(s3.server, log.through(database), 'bucket');
  const folder = bench.newFolder('postgres-statements');
  const start = () => bench.serving(startNarwhal(folder, bench.nodeArgs, init));
  let narwhal = await start();
  const rows: Row[] = [];
  const count = async (what: string, times: number, work: () => Promise<unknown>) => {
    log.reset();
    await work();
    await wait(AFTER_MS);
    const { statements, trips, commits, notifications } = log.counts;
    const [each, ...notes] = [statements, trips, commits, notifications].map((it) => number(it / times));
    const note = `trips ${notes[0]}, commits ${notes[1]}, notifications ${notes[2]}`;
    rows.push({ what: `postgres-statements, ${what}`, ours: statements / times, note });
    bench.say(`${what}: statements ${each}, ${note}`);
  };
  const get = async (hashPart: string, status: number) => {
    const answer = await fetch(`${narwhal.url}/${hashPart}.narinfo`);
    await answer.arrayBuffer();
    if (answer.status !== status) throw new Error(`${hashPart}.narinfo: ${answer.status}`);
  };

  const paths = Array.from({ length: 3 * PATHS }, (_, index) => makeBenchPath({ index, size: 20_000 }));
  const slice = (at: number) => paths.slice(at * PATHS, (at + 1) * PATHS);
  for (const [name, push, jobs, at] of [
    ['cachix, one at a time', pushByCachix, 1, 0],
    ['PUT, one at a time', pushByPut, 1, 1],
  ] as const)
    await count(`push by ${name}`, PATHS, () => push(narwhal, slice(at), jobs));
  await count('push by cachix, 32 in flight', PATHS, () => pushByCachix(narwhal, slice(2), 32));
  // With nothing in memory.
  await bench.end(narwhal);
  narwhal = await start();
  const each = async (hashParts: readonly string[], status: number) => {
    for (const hashPart of hashParts) await get(hashPart, status);
  };
  const known = paths.map((it) => it.hashPart);
  const unknown = Array.from({ length: known.length }, () => encodeNix32(randomBytes(20)));
  await count('narinfo hit, cold', known.length, () => each(known, 200));
  await count('narinfo hit, warm', known.length, () => each(known, 200));
  await count('narinfo miss', unknown.length, () => each(unknown, 404));
  await count('the same miss within a second', PATHS, () =>
    each(
      Array.from({ length: PATHS }, () => unknown[0] ?? ''),
      404,
    ),
  );
  await count('NAR by redirect', PATHS, async () => {
    for (const it of slice(0)) {
      const answer = await fetch(`${narwhal.url}/${it.narUrl}`, { redirect: 'manual' });
      if (answer.status !== 302) throw new Error(`${it.narUrl}: ${answer.status}`);
    }
  });
  const client = new CachixClient({ host: narwhal.url, cache: 'main', token: narwhal.token });
  const hashes = Array.from({ length: HASHES }, () => encodeNix32(randomBytes(20)));
  await count(`missing-paths query of ${HASHES}`, 1, () => client.missing(hashes));
  client.close();
  await count('10 s of rest, of a second', 10, () => wait(10_000 - AFTER_MS));
  await bench.end(narwhal);
  await log.close();
  for (const it of [postgres, s3]) await bench.end(it);
  return rows;
}
