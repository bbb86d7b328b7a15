/** `narwhal-server copy-database`: from the SQLite file of a cache into the PostgreSQL of its new manifest. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { copyDatabase } from '../cache/index.ts';
import { createLogger } from '../log.ts';
import { readConfiguration } from '../manifests.ts';
import { OptionError } from '../options.ts';
import { load } from '../serve.ts';
import { version } from '../version.ts';
import { Progress } from './progress.ts';

export interface CopyOptions {
  readonly files: readonly string[];
  readonly data: string;
  readonly secrets: string | undefined;
  readonly cache?: string;
  readonly waitMs: number;
  /** Whether a progress bar makes sense. */
  readonly terminal: boolean;
}

export async function runCopyDatabase({ files, data, secrets, cache, waitMs, terminal }: CopyOptions): Promise<void> {
  const logger = createLogger('warn', terminal);
  const documents = load(await readConfiguration({ files, secrets }), logger);
  const chosen = documents.binaryCaches.filter(({ metadata }) => cache === undefined || metadata.name === cache);
  const [manifest, second] = chosen;
  if (manifest === undefined) throw new OptionError(`--cache ${cache}: no such BinaryCache in the manifests`);
  if (second !== undefined) throw new OptionError('the manifests have several caches; choose one with --cache');
  const { name } = manifest.metadata;
  const progress = new Progress(terminal, true);
  const onProgress = (what: string, done: number, total: number) => progress.show(`${name}: ${what}`, done, total);
  const signal = new AbortController().signal;
  const init = { manifest, documents, data, version, logger, waitMs, signal, onProgress };
  const { rows, database } = await copyDatabase(init).finally(() => progress.clear());
  console.log(`${name}: ${rows} rows copied to ${database} and compared`);
  for (const line of await remaining(path.join(data, name))) console.log(line);
}

/** What a person has still to do: keys and tokens lie in files, and go into Secrets. Never what is in them. */
async function remaining(folder: string): Promise<string[]> {
  const root = path.join(folder, 'root.key');
  const [signing, tokens] = await Promise.all(['signing', 'tokens'].map((kind) => filesIn(path.join(folder, kind))));
  const files: [place: string, file: string][] = [
    ...((await isThere(root)) ? [['rootSecretRef', root] as [string, string]] : []),
    ...(signing ?? []).map((file): [string, string] => ['signing.secretRefs', file]),
    ...(tokens ?? []).map((file): [string, string] => [`tokens[].secretRef of ${path.basename(file)}`, file]),
  ];
  if (files.length === 0) return [];
  return [
    'Before the first start, the Secrets of the manifest need what these files hold:',
    ...files.map(([place, file]) => `  ${place}: ${file}`),
  ];
}

async function filesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names.sort().map((name) => path.join(folder, name));
}

async function isThere(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined)) !== undefined;
}
