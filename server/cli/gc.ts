/** `narwhal-server gc`: a run of the garbage collection, or what one would remove. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { roundBytes } from '../../crds/index.ts';
import { CacheError, type CollectionReport } from '../cache/index.ts';
import type { PlanView, TakenView } from '../http/index.ts';
import { askingFlags, type Caller, type CallerFlags, withCallers } from './caller.ts';
import { Progress } from './progress.ts';
import { printTable } from './table.ts';

interface GcFlags extends CallerFlags {
  readonly dryRun: boolean;
  readonly confirm: boolean;
  readonly json: boolean;
}

/** Paths that a person is shown. */
const SHOWN = 20;
/** As many as the server takes for a number. */
const ALL = 999_999_999;
const POLL_MS = 500;

/** Exit codes beside 0 and 1. */
const HELD = 2;

const HELP = `
Removed paths are unpublished at once. Their bytes go after spec.retention.graceSeconds, while a server runs.
Ending the command does not end a run that a server does.

Exit codes: 0 it is done, or there was nothing to do; 1 it failed, or could not be begun; 2 it waits to be confirmed.`;

export function gcCommand(env: NodeJS.ProcessEnv): Command {
  const command = new Command('gc')
    .description('remove what spec.retention lets go, now and not by schedule; tell what, and why')
    .option('--dry-run', 'remove nothing; tell what would be removed', false)
    .addOption(
      new Option('--confirm', 'also if it is more than half of all bytes, or if the clock has jumped')
        .conflicts('dryRun')
        .default(false),
    )
    .option('--cache <name>', 'only this cache; --server needs it')
    .option('--json', 'all of it, as a JSON text a line', false);
  return askingFlags(command, env)
    .addHelpText('after', HELP)
    .action((flags: GcFlags) => withCallers(flags, env, (caller) => (flags.dryRun ? plan : collect)(caller, flags)));
}

/** What a run would remove. */
async function plan(caller: Caller, { json }: GcFlags): Promise<void> {
  const [first, taken] = await headOf<PlanView>(caller, '/gc/plan', json);
  if (json) return printLines(caller, first, taken);
  const { held, ...rest } = first;
  console.log(`${caller.cache}: would remove ${numbersOf(rest)}`);
  await printTaken(taken, rest.removedPaths);
  if (held !== null) console.log(`${caller.cache}: it would wait for --confirm: ${held}`);
}

async function collect(caller: Caller, { confirm, json }: GcFlags): Promise<void> {
  const begun = (await caller.value({ method: 'POST', path: '/gc', body: { confirm } })) as CollectionReport;
  const run = await untilOver(caller, begun);
  // What it would have removed is what a dry run says.
  const [first, taken] = await headOf<CollectionReport | PlanView>(
    caller,
    run.state === 'held' ? '/gc/plan' : `/gc/${run.run}`,
    json,
  );
  if (json) await printLines(caller, run, taken);
  else {
    const did = { done: 'removed', held: 'would remove', failed: 'was to remove', running: 'removes' }[run.state];
    console.log(`${caller.cache}: run ${run.run} ${did} ${numbersOf(run)}`);
    await printTaken(taken, first.removedPaths);
  }
  if (run.state === 'held') {
    console.error(
      `narwhal-server: ${caller.cache}: it waits to be confirmed: ${run.message}. Look, then use --confirm`,
    );
    process.exitCode = HELD;
  }
  if (run.state === 'failed') throw new CacheError('Incomplete', `${caller.cache}: it failed: ${run.message}`);
}

/** Shows how far a run is. */
async function untilOver(caller: Caller, begun: CollectionReport): Promise<CollectionReport> {
  const progress = new Progress(process.stderr.isTTY === true, true);
  let run = begun;
  while (run.endedAt === null) {
    progress.show(caller.cache, run.removedPaths - run.leftPaths, run.removedPaths);
    await sleep(POLL_MS);
    const lines = caller.lines({ method: 'GET', path: `/gc/${begun.run}`, query: { limit: '0' } });
    for await (const line of lines) run = line as CollectionReport;
  }
  progress.clear();
  return run;
}

/** The first line of an answer, and the others. */
async function headOf<T>(
  caller: Caller,
  path: string,
  isAll: boolean,
  limit = isAll ? ALL : SHOWN,
): Promise<[first: T, taken: AsyncIterable<TakenView>]> {
  const lines = caller.lines({ method: 'GET', path, query: { limit: String(limit) } })[Symbol.asyncIterator]();
  const { value, done } = await lines.next();
  if (done) throw new CacheError('Incomplete', 'the server ended before its answer did');
  return [value as T, { [Symbol.asyncIterator]: () => lines as AsyncIterator<TakenView> }];
}

interface Numbers {
  readonly paths: number;
  readonly bytes: number;
  readonly removedPaths: number;
  readonly removedBytes: number;
}

function numbersOf({ paths, bytes, removedPaths, removedBytes }: Numbers): string {
  return `${removedPaths} of ${paths} paths, ${sizeOf(removedBytes)} of ${sizeOf(bytes)}`;
}

const sizeOf = (bytes: number) => `${roundBytes(bytes)}B`;

const WHY: Readonly<Record<string, string>> = { unused: 'not used', maxSize: 'too much in all' };

async function printTaken(taken: AsyncIterable<TakenView>, total: number): Promise<void> {
  const rows: string[][] = [];
  for await (const { size, reason, usedAt, storePath } of taken)
    rows.push([sizeOf(size), WHY[reason] ?? reason, usedAt.slice(0, 10), storePath]);
  if (rows.length > 0) printTable(['SIZE', 'WHY', 'LAST USED', 'STORE PATH'], rows);
  if (total > rows.length) console.log(`and ${total - rows.length} more: --json tells all`);
}

async function printLines({ cache }: Caller, first: object, taken: AsyncIterable<object>): Promise<void> {
  const { stdout } = process;
  const print = async (line: object) => {
    if (!stdout.write(`${JSON.stringify({ cache, ...line })}\n`)) await once(stdout, 'drain');
  };
  await print(first);
  for await (const line of taken) await print(line);
}
