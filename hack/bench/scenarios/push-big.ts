/** One big path by either protocol, against the least that anyone must do who verifies it. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ensureProgram } from '../../components/programs.mjs';
import type { Bench, Sample } from '../bench.ts';
import type { BenchPath } from '../data.ts';
import { cpuSeconds, memoryOf, startNarwhal } from '../processes.ts';
import { type Push, pushByCachix, pushByPut, timed } from '../push.ts';
import { number, type Row, speedRow } from '../report.ts';

const WANTED = { least: 0.7, aim: 0.9 };

export async function pushBig(bench: Bench): Promise<Row[]> {
  const { zstd } = await bench.big();
  const decoder = (await ensureProgram('zstd')).map(quoted).join(' ');
  const seen = await bench.compare({
    cachix: () => push(bench, zstd, pushByCachix),
    put: () => push(bench, zstd, pushByPut),
    hashFile: () => shell(`sha256sum ${quoted(zstd.file)}`),
    hashNar: () => shell(`${decoder} -dc ${quoted(zstd.file)} | sha256sum`),
  });
  const isFile = (seen.hashFile.seconds ?? 0) > (seen.hashNar.seconds ?? 0);
  const slower = isFile ? seen.hashFile : seen.hashNar;
  const baseline = {
    name: isFile ? 'sha256sum' : 'zstd -dc | sha256sum',
    value: megabytes(zstd.narSize, slower),
  };
  return (['cachix', 'put'] as const).map((name) =>
    speedRow(
      `push-big, ${name}, MB of NAR/s`,
      megabytes(zstd.narSize, seen[name]),
      baseline,
      WANTED,
      `${number(seen[name].cpuSeconds)} s of processor in ${number(seen[name].seconds)} s, peak RSS ${number(seen[name].peakMb)} MB`,
    ),
  );
}

async function push(bench: Bench, big: BenchPath<string>, how: Push): Promise<Sample> {
  const folder = bench.newFolder('push-big');
  const narwhal = await bench.serving(startNarwhal(folder, bench.nodeArgs));
  const before = cpuSeconds(narwhal.pid);
  const seconds = await timed(() => how(narwhal, [big]));
  const sample = {
    seconds,
    cpuSeconds: cpuSeconds(narwhal.pid) - before,
    peakMb: memoryOf(narwhal.pid).peakMb,
  };
  await bench.end(narwhal);
  bench.remove(folder);
  return sample;
}

async function shell(line: string): Promise<Sample> {
  return { seconds: await timed(() => promisify(execFile)('sh', ['-c', line])) };
}

function megabytes(bytes: number, sample: Sample): number {
  return bytes / 1e6 / (sample.seconds ?? Number.NaN);
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
