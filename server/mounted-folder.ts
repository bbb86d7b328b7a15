/** Folders as Kubernetes mounts them: the files of one version lie behind the link `..data`, which is swapped in one step. */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';

const TRIES = 5;

/** The bytes of the files in a folder, by name, in the order of their names, and all of the same version of it. */
export async function readFolder(
  folder: string,
  isWanted: (name: string) => boolean = () => true,
): Promise<Map<string, Buffer>> {
  for (let tries = 1; ; tries++) {
    const version = await versionOf(folder);
    try {
      return await readVersion(version, isWanted);
    } catch (error) {
      // The old version is removed once the link leads to the new one.
      if (tries === TRIES || !isGone(error) || (await versionOf(folder)) === version) throw error;
    }
  }
}

/** Names in a folder, in order, but for those that are Kubernetes' own. */
export async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => !name.startsWith('..')).sort();
}

async function readVersion(folder: string, isWanted: (name: string) => boolean): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const name of await namesIn(folder)) {
    const file = path.join(folder, name);
    if (isWanted(name) && (await stat(file)).isFile()) files.set(name, await readFile(file));
  }
  return files;
}

async function versionOf(folder: string): Promise<string> {
  return realpath(path.join(folder, '..data')).catch((error: unknown) => {
    if (isGone(error)) return realpath(folder);
    throw error;
  });
}

function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
