/** `narwhal-server move`: objects from one storage of a cache to another, by hand. */
import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { moveObjects } from '../cache/index.ts';
import { OptionError } from '../options.ts';
import { dataOption, fileOption, secretsOption, storagesOption, umaskOption } from './flags.ts';
import { withCaches } from './offline.ts';
import { Progress } from './progress.ts';

interface MoveFlags {
  file: string[];
  data: string;
  secrets?: string;
  storages?: string;
  cache: string;
  from: string;
  to: string;
  paths?: string[];
  pathsFrom?: string;
}

export function moveCommand(env: NodeJS.ProcessEnv): Command {
  return new Command('move')
    .description('move objects from one storage to another; with SQLite the server must not be running')
    .addOption(fileOption())
    .addOption(dataOption(env))
    .addOption(umaskOption())
    .addOption(secretsOption())
    .addOption(storagesOption())
    .requiredOption('--cache <name>', 'the cache')
    .requiredOption('--from <storage>', 'where they are')
    .requiredOption('--to <storage>', 'where they go; its mode must be ReadWrite')
    .option('--paths <storepath...>', 'only the NARs of these store paths')
    .option('--paths-from <file>', 'the same, one store path a line; - is standard input')
    .action(async (flags: MoveFlags) => {
      if (!(await runMove(flags))) process.exitCode = 1;
    });
}

/** Whether everything that was asked for is where it should be. */
async function runMove(flags: MoveFlags): Promise<boolean> {
  const storePaths = await storePathsOf(flags);
  const terminal = process.stderr.isTTY === true;
  const stopping = new AbortController();
  // What was moved stays moved; what is under way is dropped.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort());
  let isDone = true;
  const { file: files, data, secrets, storages, cache: name } = flags;
  await withCaches({ files, data, secrets, storages, cache: name, terminal }, async (cache) => {
    const progress = new Progress(terminal, true);
    const { from, to } = flags;
    const { signal } = stopping;
    const onProgress = (done: number, total: number) => progress.show(cache.name, done, total);
    const report = await moveObjects({ cache, from, to, storePaths, signal, onProgress }).finally(() =>
      progress.clear(),
    );
    for (const { what, why } of report.failures) console.log(`${cache.name}: ${what}: ${why}`);
    const there = report.there > 0 ? `, ${report.there} were there already` : '';
    const failed = report.failures.length > 0 ? `, ${report.failures.length} could not be moved` : '';
    console.log(
      `${cache.name}: moved ${report.objects} objects, ${report.bytes} bytes from ${from} to ${to}${there}${failed}`,
    );
    isDone = report.failures.length === 0;
  });
  return isDone;
}

async function storePathsOf({ paths, pathsFrom }: MoveFlags): Promise<string[] | undefined> {
  if (pathsFrom === undefined) return paths;
  const text = await readFile(pathsFrom === '-' ? '/dev/stdin' : pathsFrom, 'utf8');
  const lines = text.split('\n').map((line) => line.trim());
  const list = [...(paths ?? []), ...lines.filter((line) => line !== '')];
  if (list.length === 0) throw new OptionError(`${pathsFrom} has no store path`);
  return list;
}
