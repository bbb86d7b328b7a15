/** What a push and a pull cost in requests to S3: counts, which no busy machine disturbs. */
import { setTimeout as wait } from 'node:timers/promises';
import { S3Proxy } from '../../../test/support/s3-proxy.ts';
import type { Bench } from '../bench.ts';
import { type BenchPath, makeBenchPath } from '../data.ts';
import { type Narwhal, startNarwhal } from '../processes.ts';
import { type Push, pushByCachix, pushByPut } from '../push.ts';
import { number, type Row } from '../report.ts';
import { inBucket, startS3 } from '../services.ts';

const SMALL = { count: 20, size: 20_000 };
/** About 44 MiB in zstd: two parts of a Cachix client, six of ours. */
const LARGE = { count: 2, size: 128 * 2 ** 20 };
const PUSHES: readonly [string, Push, 'Direct' | 'Proxy'][] = [
  ['nix PUT', pushByPut, 'Direct'],
  ['cachix Direct', pushByCachix, 'Direct'],
  ['cachix Proxy', pushByCachix, 'Proxy'],
];
/** Small parts are removed behind the last answer. */
const AFTER_MS = 1_000;

export async function s3Requests(bench: Bench): Promise<Row[]> {
  const s3 = await startS3(bench);
  const proxy = await S3Proxy.start(s3.url);
  const rows: Row[] = [];
  const count = async (what: string, paths: readonly BenchPath[], work: () => Promise<unknown>) => {
    proxy.reset();
    await work();
    await wait(AFTER_MS);
    const counts = Object.entries(proxy.counts());
    const note = counts.map(([operation, times]) => `${operation} ${number(times / paths.length)}`).join(', ');
    const all = counts.reduce((sum, [, times]) => sum + times, 0);
    rows.push({ what: `s3-requests, ${what}, of a path`, ours: all / paths.length, note });
    bench.say(`${what}: ${note}`);
  };
  try {
    for (const [size, { count: many, size: bytes }] of Object.entries({ small: SMALL, large: LARGE })) {
      const paths = Array.from({ length: many }, (_, index) => makeBenchPath({ index, size: bytes }));
      for (const [index, [name, push, uploads]] of PUSHES.entries()) {
        for (const reads of name === 'nix PUT' ? (['Proxy', 'Redirect'] as const) : (['Redirect'] as const)) {
          const init = inBucket(s3.server, `${size}${index}${reads.toLowerCase().slice(0, 4)}`, proxy.endpoint, {
            uploads,
            reads,
          });
          const narwhal = await bench.serving(startNarwhal(bench.newFolder('s3-requests'), bench.nodeArgs, init));
          const pushing = () => push(narwhal, paths);
          if (reads === 'Redirect') await count(`${name}, ${size}`, paths, pushing);
          else await pushing();
          if (name === 'nix PUT') await count(`pull ${reads}, ${size}`, paths, () => pullAll(narwhal, paths));
          await bench.end(narwhal);
        }
      }
    }
  } finally {
    await proxy.close();
  }
  await bench.end(s3);
  return rows;
}

/** Narinfo and NAR of each, as nix asks for them. */
async function pullAll(narwhal: Narwhal, paths: readonly BenchPath[]): Promise<void> {
  for (const it of paths) {
    for (const address of [`${it.hashPart}.narinfo`, it.narUrl]) {
      const answer = await fetch(`${narwhal.url}/${address}`);
      if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
      await answer.arrayBuffer();
    }
  }
}
