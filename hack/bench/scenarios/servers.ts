/** One, two and three servers of a cache on the same PostgreSQL and the same bucket, all on this machine. */
import { readFileSync } from 'node:fs';
import type { Bench, Sample } from '../bench.ts';
import { type BenchPath, makeBenchPath, smallSizes } from '../data.ts';
import { listScript, load, missScript } from '../load.ts';
import { cpuSeconds, type Narwhal, type Served, startNarwhal } from '../processes.ts';
import { pushByCachix, timed } from '../push.ts';
import { number, type Row, speedRow } from '../report.ts';
import { shared, startPostgres, startS3 } from '../services.ts';

const SERVERS = 3;
/** All of them together. */
const CONNECTIONS = 24;
const JOBS = 24;

export async function servers(bench: Bench): Promise<Row[]> {
  const [s3, postgres] = [await startS3(bench), await startPostgres(bench)];
  const init = shared(s3.server, await postgres.server.createDatabase(), 'bucket');
  const folder = bench.newFolder('servers');
  const all: Narwhal[] = [];
  for (let index = 0; index < SERVERS; index++)
    all.push(await bench.serving(startNarwhal(bench.newFolder('server'), bench.nodeArgs, init)));
  await pushAll(all, bench.small());
  const hits = listScript(
    folder,
    bench.small().map((it) => `/${it.hashPart}.narinfo`),
  );
  const misses = missScript(folder);
  const measured = (work: (some: readonly Narwhal[]) => Promise<number>, many: number) => async () => {
    const some = all.slice(0, many);
    const before = usage(some, postgres, s3);
    let perSecond = 0;
    const seconds = await timed(async () => {
      perSecond = await work(some);
    });
    const after = usage(some, postgres, s3);
    const busy = Object.fromEntries(
      Object.entries(after).map(([who, cpu]) => [who, (cpu - (before[who] ?? 0)) / seconds]),
    );
    return { perSecond, ...busy };
  };
  // Made beforehand, or the clients would be measured. A run to warm up, then three contenders a round.
  const fresh = Array.from({ length: 1 + 3 * bench.rounds }, (_, run) => freshPaths(bench.smallCount, run + 1));
  const kinds: Readonly<Record<string, (some: readonly Narwhal[]) => Promise<number>>> = {
    'narinfo hits/s': (some) => loadAll(bench, some, hits, false),
    'narinfo misses/s': (some) => loadAll(bench, some, misses, true),
    'pushes, cachix Direct, paths/s': async (some) => {
      const paths = fresh.shift() ?? [];
      return paths.length / (await timed(() => pushAll(some, paths)));
    },
  };
  const rows: Row[] = [];
  for (const [what, work] of Object.entries(kinds)) {
    await work(all);
    const seen = await bench.compare({ one: measured(work, 1), two: measured(work, 2), three: measured(work, 3) });
    const one = { name: 'one server', value: seen.one.perSecond ?? Number.NaN };
    for (const [many, sample] of Object.entries(seen))
      rows.push(
        speedRow(`servers, ${many}, ${what}`, sample.perSecond ?? Number.NaN, one, undefined, busyNote(sample)),
      );
  }
  for (const it of [...all, postgres, s3]) await bench.end(it);
  return rows;
}

/** Paths that no run before has pushed. */
function freshPaths(count: number, run: number): BenchPath[] {
  return smallSizes(count).map((size, index) => makeBenchPath({ index: run * 10_000 + index, size }));
}

/** By a client for each server, at once. */
async function pushAll(some: readonly Narwhal[], paths: readonly BenchPath[]): Promise<void> {
  const share = Math.ceil(paths.length / some.length);
  await Promise.all(
    some.map((narwhal, index) =>
      pushByCachix(narwhal, paths.slice(index * share, (index + 1) * share), Math.ceil(JOBS / some.length)),
    ),
  );
}

async function loadAll(bench: Bench, some: readonly Narwhal[], script: string, misses: boolean): Promise<number> {
  const connections = CONNECTIONS / some.length;
  const loads = await Promise.all(
    some.map((narwhal) => load(narwhal, { script, connections, seconds: bench.seconds, misses })),
  );
  return loads.reduce((sum, { perSecond }) => sum + perSecond, 0);
}

/** Processor seconds so far: the measured servers, the services, and the whole machine. */
function usage(some: readonly Served[], postgres: Served, s3: Served): Record<string, number> {
  return {
    server: some.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0),
    postgres: cpuSeconds(postgres.pid),
    s3: cpuSeconds(s3.pid),
    machine: machineSeconds(),
  };
}

/** All that the machine's processors did, in seconds: user, nice and system of the first line. */
function machineSeconds(): number {
  const [user = 0, nice = 0, system = 0] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '')
    .split(/ +/)
    .slice(1)
    .map(Number);
  return (user + nice + system) / 100;
}

function busyNote(sample: Sample): string {
  const { server = 0, postgres = 0, s3 = 0, machine = 0 } = sample;
  const rest = Math.max(0, machine - server - postgres - s3);
  return `processors busy: servers ${number(server)}, PostgreSQL ${number(postgres)}, S3 ${number(s3)}, clients and others ${number(rest)}`;
}
