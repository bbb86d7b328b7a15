/** `narwhal-server explain`, `delete` and `block`: single paths, asked of a server that runs. */
import { realpath } from 'node:fs/promises';
import { Command, Option } from 'commander';
import type { Deleted } from '../cache/index.ts';
import { type BlockView, type ExplanationView, hashPartOf } from '../http/index.ts';
import { askingFlags, type CallerFlags, callCache } from './caller.ts';
import { printTable } from './table.ts';

interface CacheFlags extends CallerFlags {
  readonly cache: string;
}

interface JsonFlags extends CacheFlags {
  readonly json: boolean;
}

interface DeleteFlags extends JsonFlags {
  readonly withReferrers?: true;
  readonly leaveReferrers?: true;
  readonly ignorePins?: true;
  readonly block?: string;
  readonly now?: true;
}

export function explainCommand(env: NodeJS.ProcessEnv): Command {
  return asking(new Command('explain'), env)
    .description('why a path is in a cache, or is not')
    .argument('<path>', PATH)
    .addOption(jsonOption())
    .action(async (path: string, flags: JsonFlags) => {
      const call = { method: 'GET', path: `/explain/${await hashPartAt(path)}` } as const;
      const explanation = (await callCache(flags, call, env)) as ExplanationView;
      if (flags.json) console.log(JSON.stringify(explanation, undefined, 2));
      else for (const line of linesOf(explanation)) console.log(line);
    });
}

const DELETE_HELP = `
A deleted path is unpublished at once; its bytes stay for spec.retention.graceSeconds, and the next push brings it back.
With --now they are removed from every storage before the command ends, and nobody may push the path again: for a secret
that has leaked. Clients that have it keep it.

Exit codes: 0 it is gone; 1 it is not, or bytes lie in a storage that is away.`;

export function deleteCommand(env: NodeJS.ProcessEnv): Command {
  return asking(new Command('delete'), env)
    .description('take a path away; refused while something refers to it or pins it')
    .argument('<path>', PATH)
    .addOption(new Option('--with-referrers', 'also all that refers to it').conflicts('leaveReferrers'))
    .addOption(new Option('--leave-referrers', 'leave what refers to it; readers do not get that any more'))
    .option('--ignore-pins', 'even if it is pinned')
    .option('--block <reason>', 'refuse it from now on, under any name, with this reason')
    .option('--now', 'remove its bytes at once, and block it')
    .addOption(jsonOption())
    .addHelpText('after', DELETE_HELP)
    .action(async (path: string, flags: DeleteFlags) => {
      const query = {
        ...(flags.withReferrers && { referrers: 'delete' }),
        ...(flags.leaveReferrers && { referrers: 'leave' }),
        ...(flags.ignorePins && { pins: 'ignore' }),
        ...(flags.now && { now: 'true' }),
        ...(flags.block !== undefined && { block: flags.block }),
      };
      const call = { method: 'DELETE', path: `/path/${await hashPartAt(path)}`, query } as const;
      const deleted = (await callCache(flags, call, env)) as Deleted;
      if (flags.json) console.log(JSON.stringify(deleted, undefined, 2));
      else tell(deleted, flags.now === true);
      if (deleted.remaining.length > 0) process.exitCode = 1;
    });
}

export function blockCommand(env: NodeJS.ProcessEnv): Command {
  const command = (words: string, description: string) => asking(new Command(words), env).description(description);
  return new Command('block')
    .description('paths that nobody may push: list, add, lift')
    .addCommand(
      command('list', 'all of them, the newest first')
        .addOption(jsonOption())
        .action(async (flags: JsonFlags) => {
          const blocks = (await callCache(flags, { method: 'GET', path: '/block' }, env)) as BlockView[];
          if (flags.json) console.log(JSON.stringify(blocks, undefined, 2));
          else
            printTable(
              ['SINCE', 'BY', 'PATH', 'REASON'],
              blocks.map((it) => [dateOf(it.at), it.actor ?? '-', it.storePath ?? it.hash, it.reason]),
            );
        }),
    )
    .addCommand(
      command('add', 'refuse a path from now on; what is here stays')
        .argument('<path>', PATH)
        .argument('<reason>', 'what whoever pushes it is told')
        .action(async (path: string, reason: string, flags: CacheFlags) => {
          const body = { path: await realpath(path).catch(() => path), reason };
          await callCache(flags, { method: 'POST', path: '/block', body }, env);
        }),
    )
    .addCommand(
      command('lift', 'let a path be pushed again')
        .argument('<path>', PATH)
        .action(async (path: string, flags: CacheFlags) => {
          await callCache(flags, { method: 'DELETE', path: `/block/${await hashPartAt(path)}` }, env);
        }),
    );
}

const PATH = 'a store path, its hash, or a link to one, such as ./result';

function asking(command: Command, env: NodeJS.ProcessEnv): Command {
  return askingFlags(command.requiredOption('--cache <name>', 'the cache'), env);
}

function jsonOption(): Option {
  return new Option('--json', 'as the server tells it').default(false);
}

/** @throws CacheError Invalid */
async function hashPartAt(path: string): Promise<string> {
  return hashPartOf(await realpath(path).catch(() => path));
}

const dateOf = (iso: string) => iso.replace(/\.\d+Z$/, 'Z');

const REASONS: Readonly<Record<string, string>> = {
  unused: 'nobody had used it for as long as spec.retention says',
  maxSize: 'there was more than spec.retention.maxSize',
  deleted: 'it was deleted',
};

function linesOf(it: ExplanationView): string[] {
  const path = it.storePath ?? 'this path';
  const gone = () => `${REASONS[it.reason ?? ''] ?? it.reason}${it.actor === undefined ? '' : ` by token ${it.actor}`}`;
  const first = {
    published: () => `${path} is published since ${dateOf(it.publishedAt ?? '')}`,
    waiting: () => `${path} is here since ${dateOf(it.publishedAt ?? '')}, and readers do not get it: it refers to`,
    lost: () => `${path} is published, and its bytes are lost since ${dateOf(it.at ?? '')}: push it again`,
    retired: () =>
      `${path} was removed on ${dateOf(it.at ?? '')}: ${gone()}. The next push brings it back without its bytes`,
    removed: () => `${path} was removed on ${dateOf(it.at ?? '')}: ${gone()}`,
    unknown: () => `${path} was never seen here`,
  }[it.state]();
  const blocked =
    it.blocked &&
    `nobody may push it since ${dateOf(it.blocked.at)}${it.blocked.reason === undefined ? '' : `: ${it.blocked.reason}`}`;
  return [
    first,
    ...(it.waitsFor ?? []).map((hash) => `  ${hash}, which is not here`),
    ...(it.usedAt === undefined ? [] : [`last used ${dateOf(it.usedAt)}`]),
    ...(blocked === undefined ? [] : [blocked]),
  ];
}

function tell({ paths, sharing, remaining }: Deleted, now: boolean): void {
  for (const path of paths) console.log(`deleted ${path}`);
  if (now && sharing.length > 0)
    console.log(`its bytes stay, since these have the same: ${sharing.join(', ')}; delete them too`);
  if (remaining.length > 0)
    console.error(
      `narwhal-server: bytes still lie in ${remaining.map((it) => `storage ${it}`).join(', ')}: they go as soon as it is there`,
    );
}
