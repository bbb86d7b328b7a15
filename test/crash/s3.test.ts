import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { SqliteDatabase } from '../../server/metadata/index.ts';
import type { CrashPoint } from '../../server/storage/index.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { isServed, type Push, pushByCachix, pushByPut } from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { TestServer, until } from '../support/server.ts';

const MIB = 2 ** 20;
const BUCKET = 'narwhal';

describeWith('versitygw', 'a server with S3 that is killed at a named point', () => {
  let s3: S3Server;
  let folder: string;
  let server: TestServer | undefined;
  const acknowledged: TestPath[] = [];
  const attempted: TestPath[] = [];

  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket(BUCKET);
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-crash-s3-'));
  });
  afterEach(async () => {
    await server?.stop();
  });
  after(async () => {
    await rm(folder, { recursive: true, force: true });
    await s3.remove();
  });

  const manifest = (uploads: string) => s3Manifest(s3, [s3Storage('bucket', BUCKET, s3.endpoint, { uploads })]);

  /** A day later: what nobody goes on with has expired. */
  async function expire(): Promise<SqliteDatabase> {
    const database = await SqliteDatabase.open({ file: path.join(folder, 'data', 'main', 'db.sqlite') });
    await database.script([['UPDATE uploads SET expires_at = 1'], ['UPDATE intents SET expires_at = 1']]);
    return database;
  }

  async function assertNothingLeft(): Promise<void> {
    const database = await expire();
    const rows = await database.query<{ name: string }>('SELECT name FROM objects');
    await database.close();
    const wanted = rows.map((row) => `bucket/objects/${row.name}`).sort();
    server = await TestServer.start({ folder, args: ['--housekeeping-interval', '0.1'] });
    await until('only what has a row is in the bucket', async () => {
      const keys = await s3.keys(BUCKET, 'bucket/');
      const uploads = await s3.uploads(BUCKET, 'bucket/');
      return uploads.length === 0 && JSON.stringify(keys) === JSON.stringify(['bucket/.narwhal', ...wanted]);
    });
  }

  const cases: readonly [CrashPoint, string, string, Push, number][] = [
    ['half-written', 'a small nix push', 'Direct', pushByPut, 1000],
    ['half-written', 'a large nix push', 'Direct', pushByPut, 20 * MIB],
    ['before-sync', 'a small nix push', 'Direct', pushByPut, 1000],
    ['before-sync', 'a large nix push', 'Direct', pushByPut, 20 * MIB],
    ['before-nar-row', 'a nix push', 'Direct', pushByPut, 1000],
    ['after-nar-row', 'a nix push', 'Direct', pushByPut, 1000],
    ['before-publish', 'a direct cachix push', 'Direct', pushByCachix, 1000],
    ['after-publish', 'a direct cachix push', 'Direct', pushByCachix, 1000],
    ['during-complete', 'a direct cachix push', 'Direct', pushByCachix, 6 * MIB],
    ['before-part-row', 'a small cachix push through the server', 'Proxy', pushByCachix, 1000],
    ['before-part-row', 'a cachix push through the server', 'Proxy', pushByCachix, 6 * MIB],
    ['during-complete', 'a small cachix push through the server', 'Proxy', pushByCachix, 1000],
    ['before-publish', 'a cachix push through the server', 'Proxy', pushByCachix, 6 * MIB],
  ];
  for (const [point, name, uploads, push, bytes] of cases) {
    it(`loses and leaves nothing: ${point}, ${name}`, async () => {
      const armed = await TestServer.start({
        folder,
        manifest: manifest(uploads),
        env: { NARWHAL_CRASH_AT: point },
      });
      const it = makePath({ contents: randomBytes(bytes) });
      attempted.push(it);
      await assert.rejects(push(armed, it), { name: 'TypeError' });
      assert.equal(await armed.ended(), null, 'the process ended by a signal');
      server = await TestServer.start({ folder });
      for (const before of acknowledged) assert.ok(await isServed(server, before), 'acknowledged and gone');
      // A path whose client heard nothing may be there or not, but never by half.
      for (const before of attempted) await isServed(server, before);
      await push(server, it);
      acknowledged.push(it);
      assert.ok(await isServed(server, it));
      await server.stop();
      await assertNothingLeft();
    });
  }
});
