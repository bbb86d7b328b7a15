import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Database, NewerDatabaseError } from '../../../server/metadata/index.ts';

describe('the schema of a database', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-migrations-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('is made once and found again', async () => {
    const file = path.join(folder, 'db.sqlite');
    const first = await Database.open({ file });
    await first.script([[`INSERT INTO meta (key, value) VALUES (?, ?)`, "it's", 'kept']]);
    await first.close();
    const second = await Database.open({ file });
    assert.deepEqual(await second.query('SELECT value FROM meta WHERE key = ?', ["it's"]), [{ value: 'kept' }]);
    await second.close();
  });

  it('of a newer version is refused, and stays as it is', async () => {
    const file = path.join(folder, 'db.sqlite');
    const first = await Database.open({ file });
    await first.script([[`INSERT INTO knex_migrations (name, batch) VALUES ('9999-later', 2)`]]);
    await first.close();
    await assert.rejects(Database.open({ file }), NewerDatabaseError);
  });
});
