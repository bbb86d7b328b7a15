import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { NewerDatabaseError, SqliteDatabase } from '../../../server/metadata/index.ts';
import { SqliteConnection } from '../../../server/metadata/sqlite.ts';
import { Writer } from '../../../server/metadata/writer.ts';

describe('the schema of a database', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-migrations-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('is made once and found again', async () => {
    const file = path.join(folder, 'db.sqlite');
    const first = await SqliteDatabase.open({ file });
    await first.script([[`INSERT INTO meta (key, value) VALUES (?, ?)`, "it's", 'kept']]);
    await first.close();
    const second = await SqliteDatabase.open({ file });
    assert.deepEqual(await second.query('SELECT value FROM meta WHERE key = ?', ["it's"]), [{ value: 'kept' }]);
    await second.close();
  });

  it('of a later version is used, as long as that has only added to it', async () => {
    const file = path.join(folder, 'db.sqlite');
    const first = await SqliteDatabase.open({ file });
    await first.script([
      [`INSERT INTO knex_migrations (name, batch) VALUES ('9999-later', 2)`],
      ['ALTER TABLE paths ADD COLUMN later TEXT'],
    ]);
    await first.close();
    await (await SqliteDatabase.open({ file, version: '0.1.0' })).close();
  });

  it('is refused where it needs a later version, and stays as it is', async () => {
    const file = path.join(folder, 'db.sqlite');
    const first = await SqliteDatabase.open({ file });
    await first.script([[`INSERT INTO meta (key, value) VALUES ('min_server', '0.10.0')`]]);
    await first.close();
    const open = (version: string) => SqliteDatabase.open({ file, version });
    for (const version of ['0.9.9', '0.1.0', 'unknown'])
      await assert.rejects(open(version), (error: Error) => {
        assert.ok(error instanceof NewerDatabaseError);
        assert.match(error.message, /needs narwhal-server 0\.10\.0 or later, and this is/);
        assert.ok(error.message.includes(version));
        return true;
      });
    for (const version of ['0.10.0', '0.10.0-rc.1', '0.11.0', '1.0.0']) await (await open(version)).close();
  });
});

describe('the durability of a write', () => {
  it('is that of the most demanding write of its transaction, and never inherited', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-durability-'));
    const connection = await SqliteConnection.open(path.join(folder, 'db.sqlite'), ['journal_mode = WAL']);
    const level = async () => (await connection.query<{ synchronous: number }>('PRAGMA synchronous'))[0]?.synchronous;
    const writer = new Writer({
      transaction: (work) => connection.transaction(work),
      script: (statements, durability) => connection.script(statements, durability),
    });
    await writer.script([['CREATE TABLE t (a INTEGER PRIMARY KEY)']], 'process');
    assert.equal(await level(), 1);
    await Promise.all([
      writer.script([['INSERT INTO t VALUES (?)', 1]], 'process'),
      writer.script([['INSERT INTO t VALUES (?)', 2]]),
    ]);
    assert.equal(await level(), 2);
    await writer.script([['INSERT INTO t VALUES (?)', 3]], 'process');
    await writer.write((sql) => sql.query('INSERT INTO t VALUES (?)', [4]));
    assert.equal(await level(), 2);
    assert.equal((await connection.query('SELECT a FROM t')).length, 4);
    await connection.close();
    await rm(folder, { recursive: true, force: true });
  });
});
