/** What a gateway between client and server costs: narinfos, a big NAR, and pushes, with it and without. */
import type { Bench, Sample } from '../bench.ts';
import { makeBenchPath } from '../data.ts';
import { type Load, listScript, load } from '../load.ts';
import { cpuSeconds, memoryOf, type Served, startBareProxy, startGateway, startNarwhal } from '../processes.ts';
import { pushByPut } from '../push.ts';
import { latencyNote, number, type Row, speedRow } from '../report.ts';

const BIG_BYTES = 2 ** 28;
const CONNECTIONS = 16;
/** Against the least that Node can do in between; against the server itself it is another hop on the same processors. */
const WANTED = { narinfo: { least: 0.9 }, nar: { least: 0.8 } };

export async function gateway(bench: Bench): Promise<Row[]> {
  const folder = bench.newFolder('gateway');
  const direct = await bench.serving(startNarwhal(folder, bench.nodeArgs));
  const big = makeBenchPath({ index: 0, size: bench.quick ? 2 ** 24 : BIG_BYTES, compression: 'none' });
  await pushByPut(direct, [...bench.small(), big]);
  const through = await bench.serving(startGateway(direct, bench.newFolder('gateway-itself'), bench.nodeArgs));
  const bare = await bench.serving(startBareProxy(direct.url, bench.newFolder('gateway-bare')));
  const narinfos = listScript(
    bench.newFolder('gateway-narinfos'),
    bench.small().map((it) => `/${it.hashPart}.narinfo`),
  );
  const nar = listScript(bench.newFolder('gateway-nar'), [`/${big.narUrl}`]);
  const contenders = { direct, through, bare };
  const rows: Row[] = [];
  const narinfo = await compare(bench, contenders, { script: narinfos, connections: CONNECTIONS });
  rows.push(
    ...rowsOf(
      'gateway, narinfo answers/s',
      narinfo,
      WANTED.narinfo,
      (it) => it.perSecond,
      latencyNote(narinfo.through),
    ),
  );
  for (const connections of [1, 4]) {
    const seen = await compare(bench, contenders, { script: nar, connections, perMegabyte: true });
    const what = `gateway, NAR of 256 MiB, ${connections} conn., MB/s`;
    rows.push(...rowsOf(what, seen, WANTED.nar, (it) => it.megabytesPerSecond, ''));
  }
  rows.push(...(await pushes(bench, direct, through)));
  const { rssMb, peakMb } = memoryOf(through.pid);
  rows.push({ what: 'gateway, RSS after that, MB', ours: rssMb, note: `at most ${number(peakMb)} MB` });
  for (const it of [through, bare, direct]) await bench.end(it);
  return rows;
}

type Contenders = Readonly<Record<'direct' | 'through' | 'bare', Served>>;

async function compare(
  bench: Bench,
  { direct, through, bare }: Contenders,
  init: { script: string; connections: number; perMegabyte?: boolean },
): Promise<Record<keyof Contenders, Sample>> {
  for (const it of [direct, through, bare]) await load(it, { ...init, seconds: 1 });
  // The server works for all three; what stands in between is counted apart.
  const run = async (served: Served): Promise<Load> => load(served, { ...init, seconds: bench.seconds });
  return bench.compare({ direct: () => run(direct), through: () => run(through), bare: () => run(bare) });
}

function rowsOf(
  what: string,
  { direct, through, bare }: Record<keyof Contenders, Sample>,
  wanted: { least: number },
  speed: (sample: Sample) => number | undefined,
  note: string,
): Row[] {
  const of = (sample: Sample) => speed(sample) ?? Number.NaN;
  const cpu = `processor ${number((through.cpuUs ?? Number.NaN) / (bare.cpuUs ?? Number.NaN))} x`;
  return [
    speedRow(
      what,
      of(through),
      { name: 'bare proxy', value: of(bare) },
      wanted,
      [note, cpu].filter(Boolean).join('; '),
    ),
    speedRow(what, of(through), { name: 'direct', value: of(direct) }, undefined),
  ];
}

/** Small paths by PUT, each round other ones; every request of a push has a connection of its own behind the gateway. */
async function pushes(bench: Bench, direct: Awaited<ReturnType<typeof startNarwhal>>, through: Served): Promise<Row[]> {
  let index = 1_000_000;
  const run = async (url: string): Promise<Sample> => {
    const paths = Array.from({ length: bench.smallCount / 4 }, () => makeBenchPath({ index: index++, size: 20_000 }));
    const [started, cpu] = [performance.now(), cpuSeconds(through.pid)];
    await pushByPut({ ...direct, url }, paths);
    const seconds = (performance.now() - started) / 1000;
    return { perSecond: paths.length / seconds, cpuMs: ((cpuSeconds(through.pid) - cpu) * 1000) / paths.length };
  };
  const seen = await bench.compare({ direct: () => run(direct.url), through: () => run(through.url) });
  const perSecond = (sample: Sample) => sample.perSecond ?? Number.NaN;
  return [
    speedRow(
      'gateway, pushes by PUT, paths/s',
      perSecond(seen.through),
      { name: 'direct', value: perSecond(seen.direct) },
      undefined,
      `${number(seen.through.cpuMs)} ms of processor a path in the gateway`,
    ),
  ];
}
