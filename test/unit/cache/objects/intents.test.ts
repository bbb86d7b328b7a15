import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { Intents } from '../../../../server/cache/objects/intents.ts';
import { SqliteDatabase } from '../../../../server/metadata/index.ts';
import { LocalStorage } from '../../../../server/storage/index.ts';
import { newName } from '../../../../server/storage/names.ts';

describe('names under which bytes may come to lie', () => {
  let folder: string;
  let database: SqliteDatabase;
  let storage: LocalStorage;
  let intents: Intents;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-intents-'));
    database = await SqliteDatabase.open({ file: path.join(folder, 'db.sqlite') });
    storage = new LocalStorage({
      name: 'disk',
      root: path.join(folder, 'disk'),
      cacheId: 'c',
      isShared: true,
      reserveBytes: 0,
    });
    await storage.open(false);
    intents = new Intents({ database, logger: pino({ level: 'silent' }), storages: () => [storage] });
  });
  afterEach(async () => {
    await intents.idle();
    await storage.close();
    await database.close();
    await rm(folder, { recursive: true, force: true });
  });

  const rows = () => database.query<{ name: string }>('SELECT name FROM intents ORDER BY name');
  /** Bytes without a row of `objects`. */
  async function bytes(): Promise<string> {
    const staged = storage.stage('id');
    await staged.write(
      (async function* () {
        yield Buffer.from('bytes');
      })(),
    );
    return staged.commit();
  }

  it('are kept while somebody writes, and go with what was dropped', async () => {
    const [kept, dropped] = [newName(), await bytes()];
    await intents.begin('disk', kept);
    await intents.begin('disk', dropped);
    intents.drop('disk', dropped);
    while ((await rows()).length > 1) await intents.sweep();
    assert.deepEqual(await rows(), [{ name: kept }]);
    assert.equal(await storage.stat(dropped), undefined);
  });

  it('go where a write is given up while its row is on its way', async () => {
    const name = newName();
    const beginning = intents.begin('disk', name);
    intents.drop('disk', name);
    await beginning;
    while ((await rows()).length > 0) await intents.sweep();
  });

  it('take no bytes away that have a row of their own', async () => {
    const name = await bytes();
    await database.script([
      [
        `INSERT INTO objects (key, storage, name, size, state, created_at) VALUES ('k', 'disk', ?, 5, 'verified', 0)`,
        name,
      ],
      [`INSERT INTO intents (storage, name, expires_at) VALUES ('disk', ?, 0)`, name],
    ]);
    await intents.sweep();
    assert.deepEqual(await rows(), []);
    assert.equal(await storage.stat(name), 5);
  });

  it('wait for a storage that is away, and hold up none of the others', async () => {
    const name = newName();
    const away = Array.from({ length: 600 }, () => `('gone', '${newName()}', 0)`).join(', ');
    await database.script([
      [`INSERT INTO intents (storage, name, expires_at) VALUES ${away}`],
      [`INSERT INTO intents (storage, name, expires_at) VALUES ('disk', ?, 1)`, name],
    ]);
    await intents.sweep();
    assert.equal((await rows()).length, 600);
    assert.ok(!(await rows()).some((row) => row.name === name));
  });
});
