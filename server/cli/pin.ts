/** `narwhal-server pin`: what is pinned in a cache, asked of a server that runs. */
import { realpath } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { parseName } from '../cache/index.ts';
import type { RevisionView } from '../http/index.ts';
import { askingFlags, type CallerFlags, callCache } from './caller.ts';
import { printTable } from './table.ts';
import { wholeNumber } from './values.ts';

type PinFlags = CallerFlags & { readonly cache: string };

interface ListFlags extends PinFlags {
  readonly json: boolean;
}

interface AddFlags extends PinFlags {
  readonly keepDays?: number;
  readonly keepRevisions?: number;
  readonly keepForever?: true;
  readonly artifact?: string[];
}

type Named = RevisionView & { readonly name: string };

export function pinCommand(env: NodeJS.ProcessEnv): Command {
  const command = (words: string, description: string) => asking(new Command(words).description(description), env);
  return new Command('pin')
    .description('names for paths that stay: list, add, remove, history')
    .addCommand(
      command('list', 'the newest revision of each name')
        .addOption(jsonOption())
        .action(async (flags: ListFlags) => {
          const pins = (await callCache(flags, { method: 'GET', path: '/pin' }, env)) as {
            name: string;
            lastRevision: RevisionView;
          }[];
          if (flags.json) printJson(pins);
          else printRows(pins.map(({ name, lastRevision }) => ({ name, ...lastRevision })));
        }),
    )
    .addCommand(
      command('history', 'all revisions of a name, the newest first')
        .argument('<name>')
        .addOption(jsonOption())
        .action(async (name: string, flags: ListFlags) => {
          const revisions = (await callCache(
            flags,
            { method: 'GET', path: `/pin/${parseName(name)}` },
            env,
          )) as RevisionView[];
          if (flags.json) printJson(revisions);
          else printRows(revisions.map((revision) => ({ name, ...revision })));
        }),
    )
    .addCommand(
      command('add', 'pin a path that has been pushed; a name that is known gets one more revision')
        .argument('<name>')
        .argument('<storepath>', 'or a link to one, such as ./result')
        .addOption(keepOption('--keep-days <n>', 'keep the revisions of the last n days').argParser(wholeNumber))
        .addOption(keepOption('--keep-revisions <n>', 'keep the last n revisions').argParser(wholeNumber))
        .addOption(keepOption('--keep-forever', 'keep all revisions, as without a rule'))
        .addOption(new Option('--artifact <file>', 'a file of the path that is meant; repeatable').argParser(each))
        .action(async (name: string, path: string, flags: AddFlags) => {
          const storePath = await realpath(path).catch(() => path);
          const body = { name, storePath, artifacts: flags.artifact ?? [], keep: keepOf(flags) };
          await callCache(flags, { method: 'POST', path: '/pin', body }, env);
        }),
    )
    .addCommand(
      command('remove', 'forget a name with all its revisions')
        .argument('<name>')
        .action(async (name: string, flags: PinFlags) => {
          await callCache(flags, { method: 'DELETE', path: `/pin/${parseName(name)}` }, env);
        }),
    );
}

function asking(command: Command, env: NodeJS.ProcessEnv): Command {
  return askingFlags(command.requiredOption('--cache <name>', 'the cache'), env);
}

function jsonOption(): Option {
  return new Option('--json', 'as the server tells it').default(false);
}

const KEEPS = ['keepDays', 'keepRevisions', 'keepForever'];

function keepOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.conflicts(KEEPS.filter((name) => name !== option.attributeName()));
}

function keepOf({ keepDays, keepRevisions, keepForever }: AddFlags): RevisionView['keep'] {
  if (keepDays !== undefined) return { tag: 'Days', contents: keepDays };
  if (keepRevisions !== undefined) return { tag: 'Revisions', contents: keepRevisions };
  return keepForever ? { tag: 'Forever' } : null;
}

const each = (value: string, previous: readonly string[] = []): string[] => [...previous, value];

const COLUMNS: readonly (readonly [title: string, of: (pin: Named) => string])[] = [
  ['NAME', ({ name }) => name],
  ['REVISION', ({ revision }) => String(revision)],
  ['KEEP', ({ keep }) => (keep !== null && 'contents' in keep ? `${keep.contents} ${keep.tag}`.toLowerCase() : 'all')],
  ['ADDED', ({ createdOn }) => createdOn.replace(/\.\d+Z$/, 'Z')],
  ['BY', ({ origin, token }) => (origin === 'manifest' ? 'the manifest' : (token ?? '-'))],
  ['STORE PATH', ({ storePath, present }) => (present ? storePath : `${storePath} (not here yet)`)],
];

function printRows(pins: readonly Named[]): void {
  printTable(
    COLUMNS.map(([title]) => title),
    pins.map((pin) => COLUMNS.map(([, of]) => of(pin))),
  );
}

function printJson(value: unknown): void {
  console.log(JSON.stringify(value, undefined, 2));
}
