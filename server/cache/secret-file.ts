/** Files that hold secrets: written once, durably, readable by their owner only, never overwritten. */
import { link, open, rm } from 'node:fs/promises';
import path from 'node:path';

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

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}
