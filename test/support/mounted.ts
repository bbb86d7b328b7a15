/** A folder as a kubelet mounts a ConfigMap or a Secret: its files are links to a hidden version, swapped in one step. */
import { mkdir, mkdtemp, readdir, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';

export type MountedFiles = Readonly<Record<string, string | Buffer>>;

export class MountedFolder {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(folder: string, files: MountedFiles = {}): Promise<MountedFolder> {
    await mkdir(folder, { recursive: true });
    const mounted = new MountedFolder(folder);
    await mounted.write(files);
    return mounted;
  }

  /** What is in it from now on; nothing is how an optional Secret looks that is not there. */
  async write(files: MountedFiles): Promise<void> {
    const old = await readlink(this.#at('..data')).catch(() => undefined);
    const version = await mkdtemp(this.#at('..version-'));
    for (const [name, content] of Object.entries(files)) await writeFile(path.join(version, name), content);
    await symlink(path.basename(version), this.#at('..data_tmp'));
    await rename(this.#at('..data_tmp'), this.#at('..data'));
    const there = (await readdir(this.folder)).filter((name) => !name.startsWith('..'));
    for (const name of Object.keys(files))
      if (!there.includes(name)) await symlink(path.join('..data', name), this.#at(name));
    for (const name of there) if (!(name in files)) await rm(this.#at(name));
    if (old !== undefined) await rm(this.#at(old), { recursive: true });
  }

  #at(name: string): string {
    return path.join(this.folder, name);
  }
}
