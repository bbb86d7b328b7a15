import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { withLock } from '../../../hack/lib/lock.mjs';

describe('the lock of the tools', () => {
  let dir: string;
  const cacheBefore = process.env.NARWHAL_CACHE;

  before(async () => {
    dir = await fs.mkdtemp(path.join(os.tmpdir(), 'narwhal-lock-'));
    process.env.NARWHAL_CACHE = dir;
  });

  after(async () => {
    if (cacheBefore === undefined) delete process.env.NARWHAL_CACHE;
    else process.env.NARWHAL_CACHE = cacheBefore;
    await fs.rm(dir, { recursive: true });
  });

  it('lets one in at a time', async () => {
    let inside = 0;
    let most = 0;
    const work = async () => {
      inside += 1;
      most = Math.max(most, inside);
      await new Promise((resolve) => setTimeout(resolve, 5));
      inside -= 1;
    };
    await Promise.all([withLock('one', work), withLock('one', work), withLock('one', work)]);
    assert.equal(most, 1);
  });

  it('is free again after an error', async () => {
    await assert.rejects(
      withLock('error', () => Promise.reject(new Error('broken'))),
      /broken/,
    );
    assert.equal(await withLock('error', async () => 'done'), 'done');
  });

  it('is taken over from a process that was killed', async () => {
    const script = `import { withLock } from './hack/lib/lock.mjs';
      await withLock('killed', () => new Promise((resolve) => { console.log('held'); setTimeout(resolve, 60000); }));`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.equal(await withLock('killed', async () => 'mine'), 'mine');
    assert.deepEqual(await fs.readdir(path.join(dir, 'locks')), []);
  });
});
