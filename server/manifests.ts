/** The configuration on disk: manifests in files and folders, Secrets in a folder for each. */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { type ConfigFile, type ManifestSource, Secret } from '../crds/index.ts';
import { namesIn, readFolder } from './mounted-folder.ts';
import { OptionError } from './options.ts';

const ENDINGS = ['.yaml', '.yml', '.json'];
/** What Kubernetes allows; whatever is larger is no Secret but a mistaken folder. */
const MAX_SECRET_BYTES = 2 ** 20;

export interface ConfigurationPlace {
  /** Of `-f`: files, and folders of files. */
  readonly files: readonly string[];
  /** Of `--secrets`: a folder with one for each Secret; undefined: Secrets are among the manifests only. */
  readonly secrets: string | undefined;
}

export interface Configuration {
  /** As `-f` gave them. */
  readonly given: readonly string[];
  readonly sources: readonly ManifestSource[];
  readonly secrets: ReadonlyMap<string, Secret> | undefined;
  /** What the sources are, for whoever waits until they run. */
  readonly files: readonly ConfigFile[];
  /** Differs when anything in here does; tells nothing about what it is. */
  readonly fingerprint: string;
}

/** Reads all of it as it is now. @throws OptionError and errors of the operating system */
export async function readConfiguration({ files, secrets }: ConfigurationPlace): Promise<Configuration> {
  const manifests = await readManifests(files);
  const mounted = secrets === undefined ? undefined : await readSecrets(secrets);
  const all = createHash('sha256');
  for (const { file, bytes } of manifests) all.update(`${file}\0${bytes.length}\0`).update(bytes);
  for (const [name, values] of mounted ?? []) {
    all.update(`${name}\0${values.size}\0`);
    for (const [key, bytes] of values) all.update(`${key}\0${bytes.length}\0`).update(bytes);
  }
  return {
    given: files,
    sources: manifests.map(({ file, bytes }) => ({ file, text: bytes.toString('utf8') })),
    secrets: mounted && new Map([...mounted].map(([name, values]) => [name, new Secret({ name }, values)])),
    files: manifests.map(({ file, bytes }) => ({ name: path.basename(file), sha256: sha256(bytes) })),
    fingerprint: all.digest('hex'),
  };
}

/** The manifests behind `-f`: files as they are, folders by their YAML and JSON files in the order of their names. */
async function readManifests(files: readonly string[]): Promise<{ file: string; bytes: Buffer }[]> {
  const manifests: { file: string; bytes: Buffer }[] = [];
  for (const file of files) {
    const found = await stat(file).catch(() => undefined);
    if (found === undefined) throw new OptionError(`-f ${file}: no such file or folder`);
    if (!found.isDirectory()) {
      manifests.push({ file, bytes: await readFile(file) });
      continue;
    }
    for (const [name, bytes] of await readFolder(file, isManifest))
      manifests.push({ file: path.join(file, name), bytes });
  }
  return manifests;
}

/** Editors keep drafts under names that begin with a dot. */
function isManifest(name: string): boolean {
  return ENDINGS.includes(path.extname(name)) && !name.startsWith('.');
}

/** The Secrets of a folder. One without a single key counts as missing: an optional Secret is mounted so. */
async function readSecrets(folder: string): Promise<Map<string, ReadonlyMap<string, Buffer>>> {
  const names = await namesIn(folder).catch(() => {
    throw new OptionError(`--secrets ${folder}: no such folder`);
  });
  const secrets = new Map<string, ReadonlyMap<string, Buffer>>();
  for (const name of names) {
    const one = path.join(folder, name);
    if (!(await stat(one)).isDirectory()) continue;
    const values = await readFolder(one);
    const bytes = [...values.values()].reduce((sum, value) => sum + value.length, 0);
    if (bytes > MAX_SECRET_BYTES) throw new OptionError(`--secrets: ${one} is larger than a Secret may be (1 MiB)`);
    if (values.size > 0) secrets.set(name, values);
  }
  return secrets;
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
