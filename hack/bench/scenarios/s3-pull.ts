/** Downloads of what lies in S3: through the server, by its redirects, and from the service itself by URLs made before. */
import { GetObjectCommand } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { S3Server } from '../../../test/support/s3.ts';
import type { Bench, Sample } from '../bench.ts';
import { type BenchPath, makeBenchPath } from '../data.ts';
import { cpuSeconds, type Narwhal, type Served, startBareProxy, startNarwhal } from '../processes.ts';
import { pull } from '../puller.ts';
import { pushByPut } from '../push.ts';
import { number, type Row, speedRow } from '../report.ts';
import { BUCKET, inBucket, startS3 } from '../services.ts';

const WANTED = { redirect: { least: 0.95 }, proxy: { least: 0.7 } };
const CONNECTIONS = [1, 4, 16];
const BIG_BYTES = 2 ** 28;
const SMALL_BYTES = 100 * 1024;

export async function s3Pull(bench: Bench): Promise<Row[]> {
  const s3 = await startS3(bench);
  const [proxy, redirect] = await Promise.all([
    bench.serving(startWith(bench, s3.server, 'Proxy')),
    bench.serving(startWith(bench, s3.server, 'Redirect')),
  ]);
  const bareProxy = await bench.serving(startBareProxy(s3.url, bench.newFolder('s3-pull-bare')));
  const big = makeBenchPath({ index: 0, size: bench.quick ? 2 ** 24 : BIG_BYTES, compression: 'none' });
  const small = Array.from({ length: bench.smallCount }, (_, index) =>
    makeBenchPath({ index, size: SMALL_BYTES, compression: 'none' }),
  );
  const rows: Row[] = [];
  for (const [what, paths] of [['big', [big]] as const, ['small', small] as const]) {
    const before = new Set(await s3.server.keys(BUCKET, 'proxy/objects/'));
    for (const narwhal of [proxy, redirect]) await pushByPut(narwhal, paths);
    const keys = (await s3.server.keys(BUCKET, 'proxy/objects/')).filter((key) => !before.has(key));
    const direct = await Promise.all(keys.map((key) => presigned(s3.server, key)));
    for (const connections of CONNECTIONS)
      rows.push(...(await compare(bench, { what, connections, paths, direct, s3, proxy, redirect, bareProxy })));
  }
  for (const it of [proxy, redirect, bareProxy, s3]) await bench.end(it);
  return rows;
}

function startWith(bench: Bench, s3: S3Server, reads: 'Proxy' | 'Redirect'): Promise<Narwhal> {
  const init = inBucket(s3, reads.toLowerCase(), s3.endpoint, { reads });
  return startNarwhal(bench.newFolder(`s3-pull-${reads}`), bench.nodeArgs, init);
}

/** Path and query. */
async function presigned(s3: S3Server, key: string): Promise<string> {
  const url = new URL(await getSignedUrl(s3.client(), new GetObjectCommand({ Bucket: BUCKET, Key: key })));
  return `${url.pathname}${url.search}`;
}

interface Comparison {
  readonly what: string;
  readonly connections: number;
  readonly paths: readonly BenchPath[];
  readonly direct: readonly string[];
  readonly s3: Served;
  readonly proxy: Narwhal;
  readonly redirect: Narwhal;
  readonly bareProxy: Served;
}

async function compare(bench: Bench, init: Comparison): Promise<Row[]> {
  const { what, connections, direct, s3, proxy, redirect, bareProxy } = init;
  const nars = init.paths.map((it) => `/${it.narUrl}`);
  const run = async (served: Served, targets: readonly string[]): Promise<Sample> => {
    const before = [cpuSeconds(served.pid), cpuSeconds(s3.pid)];
    const { seconds } = bench;
    const speed = await pull({ origin: served.url, targets, connections, seconds });
    const [cpu, s3Cpu] = [served.pid, s3.pid].map((pid, index) => (cpuSeconds(pid) - (before[index] ?? 0)) / seconds);
    return { speed, cpu: cpu ?? 0, s3Cpu: s3Cpu ?? 0 };
  };
  const seen = await bench.compare({
    proxy: () => run(proxy, nars),
    redirect: () => run(redirect, nars),
    bareProxy: () => run(bareProxy, direct),
    direct: () => run(s3, direct),
  });
  const baseline = { name: 'from S3', value: seen.direct.speed ?? Number.NaN };
  const title = (name: string) => `s3-pull, ${what}, ${name}, ${connections} conn., MB/s`;
  const limit = { name: 'bare proxy', value: seen.bareProxy.speed ?? Number.NaN };
  return [
    ...(['proxy', 'redirect'] as const).map((name) =>
      speedRow(title(name), seen[name].speed ?? Number.NaN, baseline, WANTED[name], busy(seen[name])),
    ),
    speedRow(title('proxy'), seen.proxy.speed ?? Number.NaN, limit, undefined, busy(seen.bareProxy)),
  ];
}

function busy(sample: Sample): string {
  return `processors busy: ${number(sample.cpu)} in between, ${number(sample.s3Cpu)} in S3`;
}
