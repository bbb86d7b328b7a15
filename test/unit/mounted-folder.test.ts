import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { readFolder } from '../../server/mounted-folder.ts';
import { MountedFolder } from '../support/mounted.ts';

describe('a folder of files', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-mounted-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const read = async (where = folder) =>
    Object.fromEntries([...(await readFolder(where))].map(([name, bytes]) => [name, bytes.toString()]));

  it('is read whether it is mounted or not, without what is Kubernetes’ own', async () => {
    await writeFile(path.join(folder, 'b'), 'two');
    await writeFile(path.join(folder, '.a'), 'one');
    await mkdir(path.join(folder, 'sub'));
    assert.deepEqual(await read(), { '.a': 'one', b: 'two' });
    const mounted = await MountedFolder.create(path.join(folder, 'mounted'), { b: 'two', '.a': 'one' });
    assert.deepEqual(await read(mounted.folder), { '.a': 'one', b: 'two' });
    await mounted.write({});
    assert.deepEqual(await read(mounted.folder), {});
  });

  it('is read through links to folders of one version, as a projected volume has them', async () => {
    await MountedFolder.create(folder, {});
    await mkdir(path.join(folder, '..data', 'tokens'));
    await writeFile(path.join(folder, '..data', 'tokens', 'push'), 'it');
    await symlink(path.join('..data', 'tokens'), path.join(folder, 'tokens'));
    assert.deepEqual(await read(path.join(folder, 'tokens')), { push: 'it' });
  });

  it('never shows files of two versions, however often it is swapped', async () => {
    const mounted = await MountedFolder.create(folder, { a: '0', b: '0' });
    let done = false;
    const swaps = (async () => {
      for (let turn = 1; turn <= 200; turn++) await mounted.write({ a: String(turn), b: String(turn) });
      done = true;
    })();
    let reads = 0;
    while (!done) {
      const { a, b } = await read();
      assert.ok(a !== undefined && a === b, `${a} and ${b}`);
      reads++;
    }
    await swaps;
    assert.ok(reads > 0);
  });

  it('that is not there is an error', async () => {
    await assert.rejects(readFolder(path.join(folder, 'nowhere')), { code: 'ENOENT' });
  });
});
