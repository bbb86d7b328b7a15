// The kept folders: what was fetched or built once stays in the cache folder, whole or not at all.
import fs from 'node:fs';
import path from 'node:path';
import { withLock } from '../lib/lock.mjs';
import { cacheDir } from '../lib/places.mjs';

/** Components tell what they are doing on standard error, so that standard output stays the tool's own. */
export function say(line) {
  console.error(`components: ${line}`);
}

/** The folder of a component, there or not. `version` changes whenever `fill` would make something else. */
export function keptFolder(name, version) {
  return path.join(cacheDir(), 'components', `${name}-${version}`);
}

/**
 * The kept folder; when it is absent, `fill(draft)` makes its content in a draft that is renamed when complete.
 * Processes that want the same component at once wait for one of them.
 */
export function keep(name, version, fill) {
  return keepAs(keptFolder(name, version), fill);
}

/** The same for a folder anywhere. @param {string} folder @param {(draft: string) => Promise<unknown>} fill */
export async function keepAs(folder, fill) {
  if (fs.existsSync(folder)) return folder;
  await withLock(
    folder,
    async () => {
      if (fs.existsSync(folder)) return;
      // The lock makes this draft ours; one of an earlier, killed run is in the way.
      const draft = `${folder}.draft`;
      fs.rmSync(draft, { recursive: true, force: true });
      fs.mkdirSync(draft, { recursive: true });
      try {
        await fill(draft);
        fs.renameSync(draft, folder);
      } catch (error) {
        fs.rmSync(draft, { recursive: true, force: true });
        throw error;
      }
    },
    { say },
  );
  return folder;
}
