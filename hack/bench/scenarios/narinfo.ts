/** Narinfos: small answers from memory, where only the cost of an HTTP request counts. */
import type { Bench, Sample } from '../bench.ts';
import { writeStatic } from '../data.ts';
import { cpuNote, type Load, listScript, load, missScript } from '../load.ts';
import { type Served, startBareNode, startNarwhal, startNginx } from '../processes.ts';
import { pushByPut } from '../push.ts';
import { latencyNote, number, type Row, speedRow } from '../report.ts';

const CONNECTIONS = 16;
const WANTED = { least: 0.8, aim: 0.95 };
/** p99 by p50. */
const STEADY = 5;

export async function narinfoHit(bench: Bench): Promise<Row[]> {
  const folder = bench.newFolder('narinfo-hit');
  const script = listScript(
    folder,
    bench.small().map((it) => `/${it.hashPart}.narinfo`),
  );
  const seen = await compare(bench, folder, script, false);
  const { narwhal, bareNode, nginx } = seen;
  const spread = (narwhal.p99Ms ?? Number.NaN) / (narwhal.p50Ms ?? Number.NaN);
  return [
    speedRow(
      'narinfo-hit, answers/s',
      perSecond(narwhal),
      bare(bareNode),
      WANTED,
      `${latencyNote(narwhal)}; ${cpuNote(narwhal, bareNode)}`,
    ),
    speedRow('narinfo-hit, answers/s', perSecond(narwhal), { name: 'nginx', value: perSecond(nginx) }, undefined),
    {
      what: 'narinfo-hit, p99 by p50',
      ours: spread,
      wanted: { text: `< ${STEADY}`, met: spread < STEADY },
      note: `bare node: ${number((bareNode.p99Ms ?? Number.NaN) / (bareNode.p50Ms ?? Number.NaN))}`,
    },
  ];
}

export async function narinfoMiss(bench: Bench): Promise<Row[]> {
  const folder = bench.newFolder('narinfo-miss');
  const { narwhal, bareNode, nginx } = await compare(bench, folder, missScript(folder), true);
  return [
    speedRow(
      'narinfo-miss, answers/s',
      perSecond(narwhal),
      bare(bareNode),
      WANTED,
      `${latencyNote(narwhal)}; ${cpuNote(narwhal, bareNode)}`,
    ),
    speedRow('narinfo-miss, answers/s', perSecond(narwhal), { name: 'nginx', value: perSecond(nginx) }, undefined),
  ];
}

async function compare(bench: Bench, folder: string, script: string, misses: boolean) {
  const files = bench.newFolder('static');
  writeStatic(files, bench.small());
  const ours = await bench.serving(startNarwhal(folder, bench.nodeArgs));
  await pushByPut(ours, bench.small());
  const bareNode = await bench.serving(startBareNode(files, folder));
  const nginx = await bench.serving(startNginx(files, folder));
  const init = { script, connections: CONNECTIONS, misses };
  for (const it of [ours, bareNode, nginx]) await load(it, { ...init, seconds: 1 });
  const run = (served: Served): Promise<Load> => load(served, { ...init, seconds: bench.seconds });
  const seen = await bench.compare({
    narwhal: () => run(ours),
    bareNode: () => run(bareNode),
    nginx: () => run(nginx),
  });
  for (const it of [ours, bareNode, nginx]) await bench.end(it);
  return seen;
}

function perSecond(sample: Sample): number {
  return sample.perSecond ?? Number.NaN;
}

function bare(sample: Sample): { name: string; value: number } {
  return { name: 'bare node', value: perSecond(sample) };
}
