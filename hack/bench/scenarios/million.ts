/** A cache of a million paths beside a small one: how long it takes to start, and whether look-ups notice. */
import { setTimeout as wait } from 'node:timers/promises';
import type { Bench } from '../bench.ts';
import { cpuNote, listScript, load } from '../load.ts';
import { somePaths } from '../million.ts';
import { memoryOf, metric, type Narwhal, startNarwhal } from '../processes.ts';
import { pushByPut } from '../push.ts';
import { atMost, latencyNote, number, type Row, speedRow } from '../report.ts';

const CONNECTIONS = 16;
const WORKING_SET = 1000;
const START_SECONDS = { most: 3, aim: 1 };
const WANTED = { least: 0.8, aim: 0.95 };
const POLL_MS = 20;

export async function million(bench: Bench): Promise<Row[]> {
  const big = await bench.million();
  const small = bench.newFolder('small');
  const first = await bench.serving(startNarwhal(small));
  await pushByPut(first, bench.small());
  await bench.end(first);
  const starts = await bench.compare({
    narwhal: () => start(bench, big, bench.millionCount),
    small: () => start(bench, small, bench.smallCount),
  });
  const scripts = {
    big: listScript(bench.newFolder('load'), addresses(somePaths(big, WORKING_SET))),
    small: listScript(bench.newFolder('load'), addresses(bench.small().map((it) => it.hashPart))),
  };
  const servers = {
    big: await bench.serving(startNarwhal(big, bench.nodeArgs)),
    small: await bench.serving(startNarwhal(small)),
  };
  await untilLoaded(servers.big, bench.millionCount);
  const hit = (which: 'big' | 'small', seconds: number) =>
    load(servers[which], { script: scripts[which], connections: CONNECTIONS, seconds });
  for (const which of ['big', 'small'] as const) await hit(which, 1);
  const hits = await bench.compare({
    narwhal: () => hit('big', bench.seconds),
    small: () => hit('small', bench.seconds),
  });
  const { rssMb } = memoryOf(servers.big.pid);
  for (const it of Object.values(servers)) await bench.end(it);
  const readySeconds = starts.narwhal.readySeconds ?? Number.NaN;
  return [
    {
      what: 'million, start until ready, s',
      ours: readySeconds,
      baseline: { name: 'small cache', value: starts.small.readySeconds ?? Number.NaN },
      wanted: atMost(readySeconds, START_SECONDS.most, START_SECONDS.aim),
      note: `all paths in memory after ${number(starts.narwhal.loadedSeconds)} s; ${bench.millionCount} paths`,
    },
    speedRow(
      'million, narinfo answers/s',
      hits.narwhal.perSecond ?? Number.NaN,
      { name: 'small cache', value: hits.small.perSecond ?? Number.NaN },
      WANTED,
      `${latencyNote(hits.narwhal)}; ${cpuNote(hits.narwhal, hits.small)}; RSS ${number(rssMb)} MB`,
    ),
  ];
}

async function start(bench: Bench, folder: string, paths: number) {
  const startedAt = performance.now();
  const narwhal = await bench.serving(startNarwhal(folder));
  await untilLoaded(narwhal, paths);
  const loadedSeconds = (performance.now() - startedAt) / 1000;
  await bench.end(narwhal);
  return { readySeconds: narwhal.readyMs / 1000, loadedSeconds };
}

/** Waits until the cache knows all its paths. */
export async function untilLoaded(narwhal: Narwhal, paths: number): Promise<void> {
  while ((await metric(narwhal, 'narwhal_paths')) < paths) await wait(POLL_MS);
}

function addresses(hashParts: readonly string[]): string[] {
  return hashParts.map((hashPart) => `/${hashPart}.narinfo`);
}
