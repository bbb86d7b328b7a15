import assert from 'node:assert/strict';
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { FolderSync } from '../../../server/storage/folder-sync.ts';

describe('the shared fsync of a folder', () => {
  let folder: string;
  /** Of Node's file handles, so that a test can count what the system is asked for. */
  let handles: FileHandle;
  let sync: FileHandle['sync'];
  let syncs: number;
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-sync-'));
    const handle = await open(folder, 'r');
    handles = Object.getPrototypeOf(handle);
    sync = handles.sync;
    await handle.close();
  });
  beforeEach(() => {
    syncs = 0;
    handles.sync = function (this: FileHandle) {
      syncs++;
      return sync.call(this);
    };
  });
  afterEach(() => {
    handles.sync = sync;
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('is one for all that wait, and never one that began before they came', async () => {
    const shared = await FolderSync.open(folder);
    await Promise.all(Array.from({ length: 100 }, () => shared.sync()));
    // The first call starts one at once; the 99 that come while it runs share the next.
    assert.equal(syncs, 2);
    await shared.close();
  });

  it('runs again for each call that comes alone', async () => {
    const shared = await FolderSync.open(folder);
    for (let call = 0; call < 3; call++) await shared.sync();
    assert.equal(syncs, 3);
    await shared.close();
  });

  it('tells all who wait that it failed, and works again afterwards', async () => {
    const shared = await FolderSync.open(folder);
    const counted = handles.sync;
    handles.sync = () => Promise.reject(new Error('the disk is gone'));
    const calls = await Promise.allSettled([shared.sync(), shared.sync(), shared.sync()]);
    assert.deepEqual(
      calls.map((call) => call.status),
      ['rejected', 'rejected', 'rejected'],
    );
    handles.sync = counted;
    await shared.sync();
    await shared.close();
  });

  it('fails for those too who came while one ran that failed: it may have lost what they changed', async () => {
    const shared = await FolderSync.open(folder);
    const counted = handles.sync;
    handles.sync = function (this: FileHandle) {
      handles.sync = counted;
      return Promise.reject(new Error('the disk is gone'));
    };
    const calls = await Promise.allSettled([shared.sync(), shared.sync()]);
    assert.deepEqual(
      calls.map((call) => call.status),
      ['rejected', 'rejected'],
    );
    await shared.sync();
    await shared.close();
  });

  it('is refused once the folder is closed', async () => {
    const shared = await FolderSync.open(folder);
    await shared.close();
    await assert.rejects(shared.sync(), /is closed/);
  });
});
