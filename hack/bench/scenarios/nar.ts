/** Downloads: one big NAR by one connection, many small ones by many. */
import { linkSync } from 'node:fs';
import path from 'node:path';
import type { Bench, Sample } from '../bench.ts';
import { type BenchPath, makeBenchPath, writeStatic } from '../data.ts';
import { cpuNote, listScript, load } from '../load.ts';
import { type Served, startBareNode, startNarwhal, startNginx } from '../processes.ts';
import { pushByPut } from '../push.ts';
import { latencyNote, type Row, speedRow } from '../report.ts';

/** As close to the platform's own way as it must be; nginx has sendfile, which Node cannot use. */
const WANTED = { least: 0.9 };
const AIM_BY_NGINX = 0.7;
const SMALL_BYTES = 100 * 1024;

export async function narBig(bench: Bench): Promise<Row[]> {
  const { plain } = await bench.big();
  const files = bench.newFolder('static');
  writeStatic(files, []);
  linkSync(plain.file, path.join(files, plain.narUrl));
  return compare(bench, files, [plain], { what: 'nar-big', connections: 1 });
}

export async function narSmall(bench: Bench): Promise<Row[]> {
  const paths = Array.from({ length: bench.smallCount }, (_, index) =>
    makeBenchPath({ index, size: SMALL_BYTES, compression: 'none' }),
  );
  const files = bench.newFolder('static');
  writeStatic(files, paths);
  return compare(bench, files, paths, { what: 'nar-small', connections: 16 });
}

async function compare(
  bench: Bench,
  files: string,
  paths: readonly BenchPath<Buffer | string>[],
  { what, connections }: { what: string; connections: number },
): Promise<Row[]> {
  const folder = bench.newFolder(what);
  const script = listScript(
    folder,
    paths.map((it) => `/${it.narUrl}`),
  );
  const ours = await bench.serving(startNarwhal(folder, bench.nodeArgs));
  await pushByPut(ours, paths);
  const bareNode = await bench.serving(startBareNode(files, folder));
  const nginx = await bench.serving(startNginx(files, folder));
  const servers = [ours, bareNode, nginx];
  for (const it of servers) await load(it, { script, connections, seconds: 2 });
  const run = (served: Served) => load(served, { script, connections, seconds: bench.seconds, perMegabyte: true });
  const seen = await bench.compare({
    narwhal: () => run(ours),
    createReadStream: () => run(bareNode),
    nginx: () => run(nginx),
  });
  for (const it of servers) await bench.end(it);
  bench.remove(folder);
  const cpu = cpuNote(seen.narwhal, seen.createReadStream);
  const note = connections > 1 ? `${latencyNote(seen.narwhal)}; ${cpu}` : cpu;
  const speed = (sample: Sample) => sample.megabytesPerSecond ?? Number.NaN;
  const row = speedRow(
    `${what}, MB/s`,
    speed(seen.narwhal),
    { name: 'nginx', value: speed(seen.nginx) },
    undefined,
    `aim ${AIM_BY_NGINX}`,
  );
  return [
    speedRow(
      `${what}, MB/s`,
      speed(seen.narwhal),
      { name: 'createReadStream', value: speed(seen.createReadStream) },
      WANTED,
      note,
    ),
    row,
  ];
}
