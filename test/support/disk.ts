/** What lies in a stopped server's folder, compared with its database. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { SqliteDatabase } from '../../server/metadata/index.ts';
import { runCli } from './cli.ts';
import type { TestServer } from './server.ts';

/**
 * Nothing is lost and nothing is left over: every row has its bytes, every file its row, and the staging folders hold
 * files of open uploads only. The server must not be running.
 */
export async function assertConsistent(server: TestServer, cache = 'main'): Promise<void> {
  const { code, stdout, stderr } = await runCli([
    'check',
    '--contents',
    '-f',
    server.manifestFile,
    '--data',
    server.data,
  ]);
  assert.equal(code, 0, stdout + stderr);
  const staged = await stagedFiles(server, cache);
  if (staged.length === 0) return;
  const open = new Set(await query(server, `SELECT id AS value FROM uploads WHERE state = 'open'`, cache));
  const leftovers = staged.filter((name) => !open.has(name.split('.')[0] ?? ''));
  assert.deepEqual(leftovers, [], 'the staging folders hold files of open uploads only');
}

/** Names in the staging folders of all storages of a cache. */
export async function stagedFiles(server: TestServer, cache = 'main'): Promise<string[]> {
  const storages = path.join(server.data, cache, 'storages');
  const names = await Promise.all(
    (await readdir(storages).catch(() => [])).map((name) =>
      readdir(path.join(storages, name, '.staging')).catch(() => []),
    ),
  );
  return names.flat();
}

/** The column `value` of a query on a stopped server's database. */
export async function query(server: TestServer, sql: string, cache = 'main'): Promise<string[]> {
  const database = await SqliteDatabase.open({ file: path.join(server.data, cache, 'db.sqlite') });
  try {
    return (await database.query<{ value: string | number }>(sql)).map((row) => String(row.value));
  } finally {
    await database.close();
  }
}
