/** Draining a folder into another one and into a bucket, against a program that only copies the same bytes there. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { s3Storage } from '../../../test/support/s3-cache.ts';
import type { Bench, Sample } from '../bench.ts';
import { type BenchPath, makeBenchPath } from '../data.ts';
import { cpuSeconds, startNarwhal } from '../processes.ts';
import { inFlight, pushByPut, timed } from '../push.ts';
import { number, type Row, speedRow } from '../report.ts';
import { BUCKET, bucketManifest, signedPuts, startS3 } from '../services.ts';
import { putTo } from '../upload.ts';

const SMALL = { count: 500, size: 100 * 1024 };
const BIG = { count: 4, size: 64 * 2 ** 20 };
/** As many as the server moves at one time. */
const AT_ONCE = 4;
const POLL_MS = 20;
/** The bytes that were left behind go at once, so that a run has an end. */
const FAST = ['--move-grace', '0.1', '--housekeeping-interval', '0.2', '--reload-interval', '0.1'];

export async function drain(bench: Bench): Promise<Row[]> {
  const s3 = await startS3(bench);
  const paths = [SMALL, BIG].flatMap(({ count, size }, kind) =>
    Array.from({ length: bench.quick ? Math.ceil(count / 10) : count }, (_, index) =>
      makeBenchPath({ index: kind * 1000 + index, size, compression: 'none' }),
    ),
  );
  const source = bench.newFolder('drain-source');
  for (const [index, it] of paths.entries()) writeFileSync(path.join(source, `${index}`), it.file);
  let run = 0;
  const seen = await bench.compare({
    'to a folder': () => drainOnce(bench, paths, (folder) => localStorage('second', folder)),
    'files copied': () => copyFiles(bench, source, paths.length),
    'to S3': () =>
      drainOnce(bench, paths, () => s3Storage('second', BUCKET, s3.url, { prefix: `run${++run}` }), s3.server),
    'bare PUTs': async () => {
      const urls = await signedPuts(s3.server, s3.url, `bare${++run}`, paths.length);
      const agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE });
      const seconds = await timed(() =>
        inFlight(urls, AT_ONCE, (url, index) => putTo(agent, url, readFileSync(path.join(source, `${index}`)))),
      );
      agent.destroy();
      return { seconds };
    },
  });
  await bench.end(s3);
  const megabytes = paths.reduce((sum, it) => sum + it.fileSize, 0) / 1e6;
  const speed = (sample: Sample) => megabytes / (sample.seconds ?? Number.NaN);
  return (['to a folder', 'to S3'] as const).map((name) => {
    const baseline = name === 'to S3' ? 'bare PUTs' : 'files copied';
    const note = `${number(seen[name].seconds)} s until all is moved, ${number(seen[name].drainedS)} s until Drained, ${number(seen[name].cpu)} s of processor`;
    return speedRow(
      `drain, ${name}, MB/s`,
      speed(seen[name]),
      { name: baseline, value: speed(seen[baseline]) },
      undefined,
      note,
    );
  });
}

function localStorage(name: string, folder: string, mode = 'ReadWrite'): string {
  return `  - ${JSON.stringify({ name, mode, local: { path: path.join(folder, name) } })}\n`;
}

/** From the signal that makes the server look at its manifest. */
async function drainOnce(
  bench: Bench,
  paths: readonly BenchPath[],
  second: (folder: string) => string,
  s3?: Parameters<typeof bucketManifest>[1],
): Promise<Sample> {
  const folder = bench.newFolder('drain');
  const manifest = bucketManifest([localStorage('first', folder)], s3);
  const narwhal = await bench.serving(startNarwhal(folder, bench.nodeArgs, { manifest, args: FAST }));
  await pushByPut(narwhal, paths);
  const before = cpuSeconds(narwhal.pid);
  const look = () => storageStatus(narwhal.adminUrl);
  writeFileSync(
    path.join(folder, 'cache.yaml'),
    bucketManifest([localStorage('first', folder, 'Drain'), second(folder)], s3),
  );
  process.kill(narwhal.pid, 'SIGHUP');
  let drainedS = 0;
  const seconds = await timed(async () => {
    while ((await look()).moved < paths.length) await wait(POLL_MS);
  });
  drainedS =
    seconds +
    (await timed(async () => {
      while ((await look()).phase !== 'Drained') await wait(POLL_MS);
    }));
  const cpu = cpuSeconds(narwhal.pid) - before;
  await bench.end(narwhal);
  bench.remove(folder);
  return { seconds, drainedS, cpu };
}

/** What `/status` says of the storage `first`. */
async function storageStatus(adminUrl: string): Promise<{ phase: string; moved: number }> {
  const text = await (await fetch(`${adminUrl}/status`)).text();
  const status: unknown = JSON.parse(text);
  const storage = JSON.stringify(status).match(/\{"name":"first"[^{}]*\}/)?.[0] ?? '{}';
  const { phase = '', movedObjects = 0 }: { phase?: string; movedObjects?: number } = JSON.parse(storage);
  return { phase, moved: movedObjects };
}

/** Read, write, fsync, fsync of the folder: what moving a file to another disk takes at the least. */
async function copyFiles(bench: Bench, source: string, count: number): Promise<Sample> {
  const target = path.join(bench.newFolder('drain-copy'), 'objects');
  mkdirSync(target);
  const parent = await open(target, 'r');
  const seconds = await timed(() =>
    inFlight(Array.from({ length: count }), AT_ONCE, async (_, index) => {
      const [from, to] = [
        await open(path.join(source, `${index}`), 'r'),
        await open(path.join(target, `${index}`), 'w'),
      ];
      await to.writeFile(from.createReadStream({ highWaterMark: 2 ** 19 }));
      await to.sync();
      await to.close();
      await parent.sync();
    }),
  );
  await parent.close();
  bench.remove(path.dirname(target));
  return { seconds };
}
