/** Small paths to an S3 that is 20 ms away, against a client that only puts the same bytes there. */
import http from 'node:http';
import type { S3Server } from '../../../test/support/s3.ts';
import type { Bench, Sample } from '../bench.ts';
import { cpuSeconds, type Served, startLatencyProxy, startNarwhal } from '../processes.ts';
import { inFlight, type Push, pushByCachix, pushByPut, timed } from '../push.ts';
import { number, type Row, speedRow } from '../report.ts';
import { inBucket, signedPuts, startS3 } from '../services.ts';
import { putTo } from '../upload.ts';

const LATENCY_MS = 20;
const IN_FLIGHT = [8, 32];

export async function s3PushLatency(bench: Bench): Promise<Row[]> {
  const s3 = await startS3(bench);
  const proxy = await bench.serving(startLatencyProxy(s3.url, LATENCY_MS, bench.newFolder('latency')));
  const rows: Row[] = [];
  let run = 0;
  for (const jobs of IN_FLIGHT) {
    const push = (how: Push, uploads: 'Direct' | 'Proxy') => () =>
      pushOnce(bench, how, jobs, inBucket(s3.server, `run${++run}`, proxy.url, { uploads }));
    const seen = await bench.compare({
      'cachix Direct': push(pushByCachix, 'Direct'),
      'cachix Proxy': push(pushByCachix, 'Proxy'),
      put: push(pushByPut, 'Direct'),
      bare: () => putOnce(bench, s3.server, proxy, jobs, `bare${++run}`),
    });
    const baseline = { name: 'bare PUTs', value: seen.bare.perSecond ?? Number.NaN };
    for (const name of ['cachix Direct', 'cachix Proxy', 'put'] as const)
      rows.push(
        speedRow(
          `s3-push-latency, ${name}, ${jobs} in flight, paths/s`,
          seen[name].perSecond ?? Number.NaN,
          baseline,
          undefined,
          `${number(seen[name].cpuMs)} ms of processor a path`,
        ),
      );
  }
  for (const it of [proxy, s3]) await bench.end(it);
  return rows;
}

async function pushOnce(bench: Bench, how: Push, jobs: number, init: ReturnType<typeof inBucket>): Promise<Sample> {
  const folder = bench.newFolder('s3-push');
  const paths = bench.small();
  const narwhal = await bench.serving(startNarwhal(folder, bench.nodeArgs, init));
  const before = cpuSeconds(narwhal.pid);
  const seconds = await timed(() => how(narwhal, paths, jobs));
  const cpuMs = ((cpuSeconds(narwhal.pid) - before) / paths.length) * 1000;
  await bench.end(narwhal);
  bench.remove(folder);
  return { perSecond: paths.length / seconds, cpuMs };
}

/** By URLs that were signed before the clock started. */
async function putOnce(bench: Bench, s3: S3Server, proxy: Served, jobs: number, prefix: string): Promise<Sample> {
  const paths = bench.small();
  const urls = await signedPuts(s3, proxy.url, prefix, paths.length);
  const agent = new http.Agent({ keepAlive: true, maxSockets: jobs });
  const seconds = await timed(() => inFlight(paths, jobs, (it, index) => putTo(agent, urls[index] ?? '', it.file)));
  agent.destroy();
  return { perSecond: paths.length / seconds };
}
