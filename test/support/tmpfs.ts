/** A small disk that can really be full. Mounting needs root; without it a test fails and says how to leave it out. */

import { execFile as execFileOf } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { promisify } from 'node:util';

const execFile = promisify(execFileOf);

export interface Tmpfs {
  readonly folder: string;
  resize(bytes: number): Promise<void>;
  unmount(): Promise<void>;
}

/** Mounts a tmpfs of `bytes` on `folder`, which is made and removed with it. */
export async function mountTmpfs(folder: string, bytes: number): Promise<Tmpfs> {
  await mkdir(folder, { recursive: true });
  try {
    await execFile('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'narwhal-test', folder]);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw new Error('mounting a small tmpfs needs root on Linux; leave this out with NARWHAL_SKIP=tmpfs', {
      cause: error,
    });
  }
  return {
    folder,
    async resize(size) {
      await execFile('mount', ['-o', `remount,size=${size}`, folder]);
    },
    async unmount() {
      await execFile('umount', [folder]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Whether the person who runs the tests left out what needs a mount. */
export function skipsTmpfs(): boolean {
  return (process.env.NARWHAL_SKIP ?? '').split(',').includes('tmpfs');
}
