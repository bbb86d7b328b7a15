/**
 * A group whose members may read published bytes, as an nginx does that sends them: `objects` and what lies in it, and
 * nothing else of a storage. Whoever gives files to a group must be in it.
 */
import { chmod, chown, type FileHandle, lstat, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from './errors.ts';

const [WAY, FOLDER, FILE] = [0o710, 0o750, 0o640];

export class Readers {
  readonly #gid: number;

  constructor(gid: number) {
    this.#gid = gid;
  }

  /** Before it gets its name: in a folder of the group's every file is. */
  async giveFile(handle: FileHandle): Promise<void> {
    await this.#explained(async () => {
      await handle.chown(OWN, this.#gid);
      await handle.chmod(FILE);
    });
  }

  async giveFolder(folder: string): Promise<void> {
    await this.#explained(() => this.#give(folder, FOLDER));
  }

  /** Opens a storage to the group, with what was written before there was one. @param root of the storage */
  async letIn(root: string): Promise<void> {
    const objects = path.join(root, 'objects');
    await this.#explained(async () => {
      const entries = await readdir(objects, { withFileTypes: true });
      const hours = entries.flatMap((entry) => (entry.isDirectory() ? [path.join(objects, entry.name)] : [])).sort();
      const given: boolean[] = [];
      for (const folder of hours) given.push(await this.#isGiven(folder));
      for (const [at, folder] of hours.entries()) {
        // A server without a group may have gone on in the last folder that was given, and the next is not then. Older ones
        // come first: after a crash it must still be seen.
        if (given[at] && given[at + 1]) continue;
        for (const name of await readdir(folder)) await this.#give(path.join(folder, name), FILE).catch(isGone);
        await this.#give(folder, FOLDER);
      }
      await this.#give(objects, FOLDER);
      // Where another group has rights, people have said whose it is.
      if (((await stat(root)).mode & 0o077) === 0) await this.#give(root, WAY);
    });
  }

  /** A folder on the way that is closed to the group; undefined: there is none. */
  async barrier(root: string): Promise<string | undefined> {
    for (let folder = root; ; folder = path.dirname(folder)) {
      const { mode, gid } = await stat(folder);
      if (!(mode & 0o001) && !(mode & 0o010 && gid === this.#gid)) return folder;
      if (folder === path.dirname(folder)) return undefined;
    }
  }

  async #isGiven(folder: string): Promise<boolean> {
    const { gid, mode } = await stat(folder);
    return gid === this.#gid && (mode & 0o777) === FOLDER;
  }

  async #give(place: string, mode: number): Promise<void> {
    // A link would lead out of the storage.
    if ((await lstat(place)).isSymbolicLink()) return;
    await chown(place, OWN, this.#gid);
    await chmod(place, mode);
  }

  async #explained(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (errnoOf(error) !== 'EPERM') throw error;
      throw new Error(
        `the user of the server must be in the group ${this.#gid} of --objects-group, and own what it gives to it`,
        { cause: error },
      );
    }
  }
}

/** chown leaves the owner as it is. */
const OWN = -1;

function isGone(error: unknown): void {
  if (errnoOf(error) !== 'ENOENT') throw error;
}
