import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { DatabaseError, NewerDatabaseError, SqliteDatabase } from '../../server/metadata/index.ts';
import { migrations } from '../../server/metadata/migrations.ts';
import { runCli } from '../support/cli.ts';
import { makePath } from '../support/nars.ts';
import { PostgresServer } from '../support/postgres.ts';
import { cacheOnPostgres, openSchema } from '../support/postgres-cache.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { schemaOfPostgres, schemaOfSqlite } from '../support/schema-of.ts';
import { TestServer, until } from '../support/server.ts';

describe('the schema in PostgreSQL', () => {
  let postgres: PostgresServer;
  let url: string;
  let database: string;
  before(async () => {
    postgres = await PostgresServer.start();
  });
  beforeEach(async () => {
    url = await postgres.createDatabase();
    database = new URL(url).pathname.slice(1);
  });
  after(() => postgres.remove());

  const sql = (text: string) => postgres.query<Record<string, unknown>>(text, { database });

  it('is the one of SQLite: columns, keys, indexes, references', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-schema-'));
    const sqlite = await SqliteDatabase.open({ file: path.join(folder, 'db.sqlite') });
    const shared = await openSchema(url);
    const [one, other] = [await schemaOfSqlite(sqlite), await schemaOfPostgres(shared, 'main')];
    assert.deepEqual(other, one);
    assert.ok(one.columns.length > 40 && one.indexes.length > 10 && one.foreignKeys.length === 5, JSON.stringify(one));
    assert.ok(one.indexes.some((index) => index.includes(' where ')));
    await sqlite.close();
    await shared.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('is made once by servers that start at the same moment', async () => {
    const all = await Promise.all(Array.from({ length: 4 }, () => openSchema(url)));
    assert.equal((await sql('SELECT 1 FROM main.knex_migrations')).length, migrations.length);
    await Promise.all(all.map((it) => it.close()));
  });

  it('is made although a migration was killed and left its lock', async () => {
    await (await openSchema(url)).close();
    await sql(`UPDATE main.knex_migrations_lock SET is_locked = 1`);
    await sql(`DELETE FROM main.knex_migrations WHERE name = '0002-many-storages'`);
    await sql('DROP TABLE main.intents, main.leases');
    await sql('DROP INDEX main.uploads_open, main.uploads_over');
    await sql('ALTER TABLE main.objects DROP COLUMN delete_after');
    await sql('ALTER TABLE main.uploads DROP COLUMN name, DROP COLUMN remote_id, DROP COLUMN failure');
    await sql('ALTER TABLE main.upload_parts DROP COLUMN etag');
    await (await openSchema(url)).close();
    assert.equal((await sql('SELECT 1 FROM main.knex_migrations')).length, migrations.length);
  });

  it('waits for the server that migrates', async () => {
    await sql('CREATE SCHEMA main');
    const holder = new pg.Client({ connectionString: url });
    await holder.connect();
    await holder.query(`SELECT pg_advisory_lock(hashtextextended('narwhal migrates main', 0))`);
    let isOpen = false;
    const opening = openSchema(url).then((it) => {
      isOpen = true;
      return it;
    });
    const waiting = `SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_try_advisory_lock%' AND state = 'idle'`;
    await until('it has asked for the lock', async () => (await sql(waiting)).length > 0);
    assert.ok(!isOpen && (await sql(`SELECT 1 FROM pg_tables WHERE schemaname = 'main'`)).length === 0);
    await holder.end();
    await (await opening).close();
  });

  it('is made by a user who may, and asked for in a line where he may not', async () => {
    await sql(`DROP ROLE IF EXISTS poor`);
    await sql(`CREATE ROLE poor LOGIN PASSWORD 'poorpw'`);
    const poor = url.replace(/\/\/[^@]*@/, '//poor:poorpw@');
    const denied = async (message: RegExp) => {
      await assert.rejects(openSchema(poor), (error: Error) => {
        assert.ok(error instanceof DatabaseError);
        assert.match(error.message, message);
        return true;
      });
    };
    await denied(/has no schema main, and user poor may not make it; .*CREATE SCHEMA "main" AUTHORIZATION "poor"$/);
    await sql('CREATE SCHEMA main');
    await denied(/user poor may not change schema main; .*ALTER SCHEMA "main" OWNER TO "poor"$/);
    await sql('ALTER SCHEMA main OWNER TO poor');
    await (await openSchema(poor)).close();
    await sql('DROP SCHEMA main CASCADE');
    await sql('DROP ROLE poor');
  });

  it('may have any name that the manifest takes', async () => {
    for (const schema of ['select', '_1', 'a'.repeat(63)]) {
      const opened = await openSchema(url, { schema });
      assert.deepEqual(await opened.query('SELECT key FROM meta'), [{ key: 'uses_since' }]);
      await opened.close();
    }
  });

  it('is migrated by a command, which says what it did', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-migrate-'));
    const server = await TestServer.start({ ...cacheOnPostgres({ url }) });
    const file = server.manifestFile;
    await server.stop();
    await sql('DROP SCHEMA main CASCADE');
    const first = await runCli(['migrate', '-f', file, '--data', folder]);
    assert.match(first.stdout, /^main: schema main of database \S+ at 127\.0\.0\.1:\d+ migrated: 0001-core, .*\n$/);
    const second = await runCli(['migrate', '-f', file, '--data', folder]);
    assert.match(second.stdout, /is up to date\n$/);
    assert.deepEqual([first.code, second.code, first.stderr, second.stderr], [0, 0, '', '']);
    assert.match(
      (await runCli(['migrate', '-f', file, '--data', folder, '--cache', 'x'])).stderr,
      /--cache x: no such/,
    );
    await server.remove();
    await rm(folder, { recursive: true, force: true });
  });

  it('is used by two versions side by side, until one says that the older may not', async () => {
    const server = await TestServer.start(cacheOnPostgres({ url }));
    const [before, put, cachix] = [makePath(), makePath(), makePath()];
    await pushByPut(server, before);
    // What a later version might add, while a server of ours runs.
    await sql('ALTER TABLE main.paths ADD COLUMN used_at bigint');
    await sql('ALTER TABLE main.objects ADD COLUMN note text');
    await sql('ALTER TABLE main.uploads ADD COLUMN tenant text');
    await sql('CREATE TABLE main.news (name text PRIMARY KEY, hash_part text NOT NULL)');
    await sql(`INSERT INTO main.knex_migrations (name, batch) VALUES ('9000-news', 9)`);
    await pushByPut(server, put);
    await server.stop();
    await server.restart();
    await pushByCachix(server, cachix);
    for (const path of [before, put, cachix]) assert.ok(await isServed(server, path));
    await server.stop();
    await sql(`INSERT INTO main.meta (key, value) VALUES ('min_server', '0.2.0')`);
    await assert.rejects(server.restart(), /the database needs narwhal-server 0\.2\.0 or later, and this is 0\.1\.0/);
    assert.equal(server.output.match(/needs narwhal-server/g)?.length, 1);
    await assert.rejects(openSchema(url), NewerDatabaseError);
    await (await openSchema(url, { version: '0.2.0' })).close();
    await server.remove();
  });
});
