/** `npm run bench`: runs named scenarios against Narwhal and its baselines, and prints a table. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Bench } from './bench.ts';
import { type Row, renderTable } from './report.ts';
import { drain } from './scenarios/drain.ts';
import { gateway } from './scenarios/gateway.ts';
import { memory } from './scenarios/memory.ts';
import { million } from './scenarios/million.ts';
import { narBig, narSmall } from './scenarios/nar.ts';
import { narinfoHit, narinfoMiss } from './scenarios/narinfo.ts';
import { nixCopyFrom, nixCopyTo } from './scenarios/nix-copy.ts';
import { operator } from './scenarios/operator.ts';
import { postgresMillion } from './scenarios/postgres-million.ts';
import { postgresStatements } from './scenarios/postgres-statements.ts';
import { pushBig } from './scenarios/push-big.ts';
import { pushSmall } from './scenarios/push-small.ts';
import { missingQuery } from './scenarios/query.ts';
import { s3Pull } from './scenarios/s3-pull.ts';
import { s3PushLatency } from './scenarios/s3-push-latency.ts';
import { s3Requests } from './scenarios/s3-requests.ts';
import { servers } from './scenarios/servers.ts';

interface Scenario {
  readonly about: string;
  run(bench: Bench): Promise<Row[]>;
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'narinfo-hit': { about: '1000 narinfos, 16 keep-alive connections', run: narinfoHit },
  'narinfo-miss': { about: 'narinfos that are not there, every hash new', run: narinfoMiss },
  'nar-big': { about: 'a NAR of 1 GiB, 1 connection', run: narBig },
  'nar-small': { about: '1000 NARs of 100 KiB, 16 connections', run: narSmall },
  'missing-query': { about: '10 000 hashes, half of them present, in a cache of 1 000 000 paths', run: missingQuery },
  'push-big': { about: 'a NAR of 1 GiB in zstd, by the Cachix protocol and by PUT', run: pushBig },
  'push-small': { about: '1000 small paths, 8 in flight, by the Cachix protocol and by PUTs', run: pushSmall },
  'nix-copy-to': { about: 'nix copy --to of 500 small paths, one after the other', run: nixCopyTo },
  'nix-copy-from': { about: 'nix copy --from of the same', run: nixCopyFrom },
  memory: { about: 'resident memory: idle, and with 32 parts of 32 MiB in flight', run: memory },
  million: { about: 'start and look-ups with 1 000 000 paths in the database', run: million },
  's3-pull': {
    about: 'NARs of 256 MiB and of 100 KiB out of S3: proxied, redirected, and without a server',
    run: s3Pull,
  },
  's3-requests': { about: 'requests to S3 of a push and of a pull, counted', run: s3Requests },
  's3-push-latency': { about: '1000 small paths to an S3 that is 20 ms away, 8 and 32 in flight', run: s3PushLatency },
  'postgres-statements': { about: 'statements of reads and pushes on PostgreSQL, counted', run: postgresStatements },
  'postgres-million': {
    about: '1 000 000 paths in PostgreSQL: bytes of tables and indexes, dump, look-ups',
    run: postgresMillion,
  },
  servers: { about: '1, 2 and 3 servers on the same PostgreSQL and S3: hits, misses, pushes', run: servers },
  operator: { about: 'an operator of 500 caches: time, memory, requests to the API server', run: operator },
  gateway: { about: 'narinfos, a NAR of 256 MiB and small pushes through the gateway and without it', run: gateway },
  drain: { about: 'a folder drained into another one and into S3: 500 NARs of 100 KiB, 4 of 64 MiB', run: drain },
};
const ROUNDS = 5;

const HELP = `npm run bench -- [scenario...] [flags]

Runs Narwhal and its baselines one after the other, round by round, and prints medians and their ratio.
Without names all scenarios run:

${Object.entries(SCENARIOS)
  .map(([name, { about }]) => `  ${name.padEnd(19)} ${about}`)
  .join('\n')}

  --rounds N       how often each contender runs (default ${ROUNDS})
  --quick          little data, short loads, one round: shows that the bench works, nothing about speed
  --dir FOLDER     the disk to measure; needs 8 GiB, all of it removed at the end (default ${os.tmpdir()})
  --profiles FOLDER  have Narwhal write CPU profiles there (node --cpu-prof)
  --help
`;

class UsageError extends Error {}

function readArgs(args: readonly string[]) {
  const options = {
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    dir: { type: 'string', default: os.tmpdir() },
    profiles: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  } as const;
  const { values, positionals } = parseUsage(() => parseArgs({ args: [...args], options, allowPositionals: true }));
  for (const name of positionals) {
    if (SCENARIOS[name] === undefined)
      throw new UsageError(`there is no scenario ${name}; there is: ${Object.keys(SCENARIOS).join(', ')}`);
  }
  const rounds = Number(values.rounds ?? (values.quick ? 1 : ROUNDS));
  if (!Number.isInteger(rounds) || rounds < 1) throw new UsageError('--rounds: expected a whole number above 0');
  return { ...values, rounds, names: positionals.length > 0 ? positionals : Object.keys(SCENARIOS) };
}

function parseUsage<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

async function main(): Promise<void> {
  const { names, rounds, quick, dir, profiles, help } = readArgs(process.argv.slice(2));
  if (help) {
    process.stdout.write(HELP);
    return;
  }
  mkdirSync(dir, { recursive: true });
  const folder = mkdtempSync(path.join(path.resolve(dir), 'narwhal-bench-'));
  const bench = new Bench({
    folder,
    rounds,
    quick,
    profiles: profiles === undefined ? undefined : path.resolve(profiles),
    say: (line) => console.error(line),
  });
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => reject(new UsageError(`ended by ${signal}`)));
  });
  const rows: Row[] = [];
  try {
    for (const name of names) {
      console.error(`\n${name}: ${SCENARIOS[name]?.about}`);
      rows.push(...((await Promise.race([SCENARIOS[name]?.run(bench), interrupted])) ?? []));
    }
  } finally {
    await bench.close();
    rmSync(folder, { recursive: true, force: true });
    const processors = os.availableParallelism();
    if (rows.length > 0)
      console.log(
        `\n${renderTable(rows)}\n\n${rounds} round(s), ${processors} processors, Node ${process.versions.node}`,
      );
    if (quick) console.log('With --quick the numbers say nothing about speed.');
  }
}

try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error);
  process.exit(1);
}
