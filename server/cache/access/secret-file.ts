/** Files that hold secrets: written once, durably, readable by their owner only, never overwritten. */
import { link, open, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { ValueError } from '../../../crds/index.ts';
import { CacheError } from '../errors.ts';

/** Creates `file` (0600) with what `make` returns, unless it is there. Whether it was created. */
export async function createSecretFile(file: string, make: () => string | Buffer): Promise<boolean> {
  const draft = `${file}.new`;
  await rm(draft, { force: true });
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(make());
    await handle.sync();
  } finally {
    await handle.close();
  }
  try {
    // link, not rename: it fails when the name is taken, so a secret that exists is never replaced.
    await link(draft, file);
    await syncFolder(path.dirname(file));
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/**
 * Reads a secret file as a Secret's value is read; undefined where there is none.
 * @param remedy what a person does about a file that cannot be right
 * @throws CacheError Invalid, and errors of the operating system, which name the file; nothing of it is repeated
 */
export async function readSecretFile<T>(
  file: string,
  read: (bytes: Uint8Array) => T,
  remedy: string,
): Promise<T | undefined> {
  try {
    return read(await readFile(file));
  } catch (error) {
    if (error instanceof ValueError) throw new CacheError('Invalid', `${file} ${error.message}: ${remedy}`);
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT') return undefined;
    // Node names no file here.
    if (code === 'EISDIR') throw new CacheError('Invalid', `${file} is a folder and no file: ${remedy}`);
    throw error;
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}
