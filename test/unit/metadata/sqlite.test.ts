import assert from 'node:assert/strict';
import { SqliteConnection } from '../../../server/metadata/sqlite.ts';

describe('an SQLite connection', () => {
  let connection: SqliteConnection;
  beforeEach(async () => {
    connection = await SqliteConnection.open(':memory:', []);
    await connection.exec('CREATE TABLE words (word TEXT)');
  });

  const add = (word: string) => connection.script([['INSERT INTO words VALUES (?)', word]], 'disk');
  const words = async () => (await connection.query<{ word: string }>('SELECT word FROM words')).map((row) => row.word);

  it('answers a statement that cannot be prepared, each time it is asked', async () => {
    await assert.rejects(connection.query('SELECT * FROM nowhere'), /no such table/);
    const again = [connection.query('SELECT * FROM nowhere'), connection.query('SELECT * FROM nowhere')];
    for (const one of await Promise.allSettled(again)) assert.equal(one.status, 'rejected');
    await connection.close();
  });

  it('prepares a statement anew that failed before', async () => {
    await assert.rejects(connection.query('SELECT * FROM later'), /no such table/);
    await connection.exec('CREATE TABLE later (x)');
    assert.deepEqual(await connection.query('SELECT * FROM later'), []);
    await connection.close();
  });

  it('fails the write that breaks, and none after it', async () => {
    const broken = (sql: { query(text: string): Promise<unknown> }) => sql.query('INSERT INTO nowhere VALUES (1)');
    await assert.rejects(connection.transaction(broken), /no such table/);
    await assert.rejects(connection.script([['INSERT INTO nowhere VALUES (1)']], 'disk'), /no such table/);
    await connection.transaction((sql) => sql.query('INSERT INTO words VALUES (?)', ['a']));
    await add('b');
    assert.deepEqual(await words(), ['a', 'b']);
    await connection.close();
  });

  it('gets out of a transaction that was left open', async () => {
    await connection.query('BEGIN IMMEDIATE');
    await assert.rejects(
      connection.transaction((sql) => sql.query('SELECT 1')),
      /inside a transaction|within a transaction/,
    );
    await add('a');
    await connection.query('BEGIN IMMEDIATE');
    await assert.rejects(add('b'), /inside a transaction|within a transaction/);
    await connection.transaction((sql) => sql.query('INSERT INTO words VALUES (?)', ['c']));
    assert.deepEqual(await words(), ['a', 'c']);
    await connection.close();
  });

  it('refuses what comes after it was closed', async () => {
    await connection.close();
    await assert.rejects(connection.query('SELECT 2'), /closed/);
    await assert.rejects(add('a'), /closed/);
  });
});
