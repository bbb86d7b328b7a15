/** Many small paths by either protocol, against a program that only puts the same bytes durably on the same disk. */
import { mkdirSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import path from 'node:path';
import type { Bench, Sample } from '../bench.ts';
import { cpuSeconds, startNarwhal } from '../processes.ts';
import { IN_FLIGHT, inFlight, type Push, pushByCachix, pushByPut, timed } from '../push.ts';
import { atLeast, number, type Row, speedRow } from '../report.ts';

const WANTED = { least: 0.2, aim: 0.35 };
/** Three times the best rival, on the machine that it was measured on. */
const PATHS_PER_SECOND = 600;

export async function pushSmall(bench: Bench): Promise<Row[]> {
  const seen = await bench.compare({
    cachix: () => push(bench, pushByCachix),
    put: () => push(bench, pushByPut),
    files: () => writeFiles(bench),
  });
  const baseline = { name: 'files written', value: seen.files.perSecond ?? Number.NaN };
  return (['cachix', 'put'] as const).flatMap((name): Row[] => {
    const speed = seen[name].perSecond ?? Number.NaN;
    const note = `${number(seen[name].cpuMs)} ms of processor a path`;
    return [
      speedRow(`push-small, ${name}, paths/s`, speed, baseline, WANTED, note),
      { what: `push-small, ${name}, paths/s`, ours: speed, wanted: atLeast(speed, PATHS_PER_SECOND) },
    ];
  });
}

async function push(bench: Bench, how: Push): Promise<Sample> {
  const folder = bench.newFolder('push-small');
  const paths = bench.small();
  const narwhal = await bench.serving(startNarwhal(folder, bench.nodeArgs));
  const before = cpuSeconds(narwhal.pid);
  const seconds = await timed(() => how(narwhal, paths));
  const cpuMs = ((cpuSeconds(narwhal.pid) - before) / paths.length) * 1000;
  await bench.end(narwhal);
  bench.remove(folder);
  return { perSecond: paths.length / seconds, cpuMs };
}

/** What any store must do for a file before it says that it has it: write, fsync, rename, fsync the folder. */
async function writeFiles(bench: Bench): Promise<Sample> {
  const folder = bench.newFolder('files');
  const target = path.join(folder, 'objects');
  mkdirSync(target);
  const paths = bench.small();
  const parent = await open(target, 'r');
  const seconds = await timed(() =>
    inFlight(paths, IN_FLIGHT, async (it, index) => {
      const draft = path.join(folder, `${index}`);
      const file = await open(draft, 'w');
      await file.writeFile(it.file);
      await file.sync();
      await file.close();
      await rename(draft, path.join(target, `${index}`));
      await parent.sync();
    }),
  );
  await parent.close();
  bench.remove(folder);
  return { perSecond: paths.length / seconds };
}
