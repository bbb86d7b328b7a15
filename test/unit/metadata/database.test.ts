import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { FolderLockedError, lockFolder, SqliteDatabase } from '../../../server/metadata/index.ts';

describe('a database', () => {
  let folder: string;
  let database: SqliteDatabase;
  const file = () => path.join(folder, 'db.sqlite');
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-db-'));
    database = await SqliteDatabase.open({ file: file() });
    await database.script([['DELETE FROM meta']]);
  });
  afterEach(async () => {
    await database.close();
    await rm(folder, { recursive: true, force: true });
  });

  function put(key: string, value: string): Promise<unknown> {
    return database.write((sql) => sql.query('INSERT INTO meta (key, value) VALUES (?, ?)', [key, value]));
  }

  it('answers reads with what was written, and finds it again after it was closed', async () => {
    await put('a', '1');
    assert.deepEqual(await database.query('SELECT value FROM meta WHERE key = ?', ['a']), [{ value: '1' }]);
    await database.close();
    database = await SqliteDatabase.open({ file: file() });
    assert.deepEqual(await database.query('SELECT value FROM meta'), [{ value: '1' }]);
  });

  it('refuses to write on a connection for reading', async () => {
    await assert.rejects(database.query('DELETE FROM meta'), /db\.sqlite cannot be written/);
  });

  it('commits the neighbours of a write that breaks a constraint', async () => {
    await put('taken', '0');
    const results = await Promise.allSettled([put('a', '1'), put('taken', '2'), put('b', '3')]);
    assert.deepEqual(
      results.map((it) => it.status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(await database.query('SELECT key, value FROM meta ORDER BY key'), [
      { key: 'a', value: '1' },
      { key: 'b', value: '3' },
      { key: 'taken', value: '0' },
    ]);
  });

  it('reads while it writes, a thousand times each, and is never locked', async () => {
    const writes = Array.from({ length: 1000 }, (_, index) => put(`k${index}`, 'v'));
    const reads = Array.from({ length: 1000 }, () => database.query('SELECT count(*) FROM meta'));
    await Promise.all([...writes, ...reads]);
    assert.deepEqual(await database.query('SELECT count(*) AS n FROM meta'), [{ n: 1000 }]);
  });

  it('folds its log into the file when it closes', async () => {
    await put('a', '1');
    assert.ok((await readdir(folder)).includes('db.sqlite-wal'));
    await database.close();
    assert.deepEqual(await readdir(folder), ['db.sqlite']);
    database = await SqliteDatabase.open({ file: file() });
  });
});

describe('the lock of a data folder', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-lock-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('is held by one at a time', async () => {
    const lock = await lockFolder(folder);
    await assert.rejects(lockFolder(folder), FolderLockedError);
    await lock.release();
    await (await lockFolder(folder)).release();
  });
});
