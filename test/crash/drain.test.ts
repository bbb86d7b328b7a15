import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { SqliteDatabase } from '../../server/metadata/index.ts';
import type { CrashPoint } from '../../server/storage/index.ts';
import { assertConsistent } from '../support/disk.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { isServed, pushByPut } from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { cacheManifest, TestServer, until } from '../support/server.ts';
import { FAST, untilPhase } from '../support/storages.ts';

const SIZES = [1000, 1.2 * 2 ** 20, 100];
const PUSH = 'tokens:\n  - {name: push, permissions: [Write]}\n';

/** A server that dies at a point on the way, and one that goes on. */
class Case {
  readonly folder: string;
  readonly paths: TestPath[] = [];
  server: TestServer | undefined;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Starts with `manifest`, which is killed at `point`, and again. */
  async killed(point: CrashPoint, manifest: string, between = async () => {}): Promise<TestServer> {
    const armed = await TestServer.start({
      folder: this.folder,
      manifest,
      args: FAST,
      env: { NARWHAL_CRASH_AT: point },
    }).catch((error: unknown) => {
      // It was quicker than its start.
      if (!/the process ended with null/.test(String(error))) throw error;
    });
    if (armed !== undefined) assert.equal(await armed.ended(), null, 'the process ended by a signal');
    await between();
    return this.start(manifest);
  }

  async start(manifest: string): Promise<TestServer> {
    this.server = await TestServer.start({ folder: this.folder, manifest, args: FAST });
    return this.server;
  }

  async fill(manifest: string): Promise<void> {
    const server = await this.start(manifest);
    for (const bytes of SIZES) {
      const it = makePath({ contents: randomBytes(bytes) });
      await pushByPut(server, it);
      this.paths.push(it);
    }
    await server.stop();
  }

  async assertServed(): Promise<void> {
    assert.ok(this.server);
    for (const it of this.paths) assert.ok(await isServed(this.server, it), `${it.storePath} is gone`);
  }

  /** How many files lie in a local storage. */
  async files(name: string): Promise<number> {
    const objects = path.join(this.folder, 'data', 'main', 'storages', name, 'objects');
    return (await readdir(objects, { recursive: true })).filter((it) => it.includes('/')).length;
  }
}

describe('a server that is killed while it drains a storage', () => {
  let it1: Case;
  before(async () => {
    it1 = new Case(await mkdtemp(path.join(os.tmpdir(), 'narwhal-crash-drain-')));
    await it1.fill(manifest('a', 'b'));
  });
  afterEach(() => it1.server?.stop());
  after(() => rm(it1.folder, { recursive: true, force: true }));

  /** Objects go back and forth: from one case to the next. */
  const turn = ['a', 'b'];
  function manifest(to: string, from: string, mode = ''): string {
    return cacheManifest(
      'main',
      `storages:\n  - {name: ${to}, local: {}}\n  - {name: ${from}, local: {}${mode}}\n${PUSH}`,
    );
  }

  const points: readonly CrashPoint[] = [
    'half-written',
    'before-rename',
    'after-copy',
    'after-switch',
    'before-delete',
  ];
  for (const point of points) {
    it(`goes on without a loss, a duplicate or a leftover: ${point}`, async () => {
      const [from = '', to = ''] = turn;
      const server = await it1.killed(point, manifest(to, from, ', mode: Drain'));
      await it1.assertServed();
      await untilPhase(server, from, 'Drained');
      await it1.assertServed();
      await server.stop();
      await assertConsistent(server);
      assert.deepEqual([await it1.files(from), await it1.files(to)], [0, SIZES.length]);
      turn.reverse();
    });
  }
});

describeWith('versitygw', 'a server that is killed while it drains to or from a bucket', () => {
  let s3: S3Server;
  let it1: Case;
  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket('narwhal');
    it1 = new Case(await mkdtemp(path.join(os.tmpdir(), 'narwhal-crash-drain-s3-')));
    await it1.fill(manifest(undefined));
  });
  afterEach(() => it1.server?.stop());
  after(async () => {
    await rm(it1.folder, { recursive: true, force: true });
    await s3.remove();
  });

  function manifest(drained: 'disk' | 'bucket' | undefined): string {
    const bucket = s3Storage('bucket', 'narwhal', s3.endpoint, { reads: 'Proxy' });
    const mode = (name: string) => (name === drained ? '"mode": "Drain", ' : '');
    return s3Manifest(s3, [`  - {${mode('disk')}name: disk, local: {}}\n`, bucket.replace('{', `{${mode('bucket')}`)]);
  }

  /** As if ten minutes had passed. */
  async function expireIntents(): Promise<void> {
    const database = await SqliteDatabase.open({ file: path.join(it1.folder, 'data', 'main', 'db.sqlite') });
    await database.script([['UPDATE intents SET expires_at = 1']]);
    await database.close();
  }

  const cases: readonly (readonly [CrashPoint, 'disk' | 'bucket'])[] = [
    ['after-copy', 'disk'],
    ['after-copy', 'bucket'],
    ['after-switch', 'disk'],
    ['after-switch', 'bucket'],
  ];
  for (const [point, from] of cases) {
    it(`goes on without a loss, a duplicate or a leftover: ${point}, out of the ${from}`, async () => {
      const server = await it1.killed(point, manifest(from), expireIntents);
      await it1.assertServed();
      await untilPhase(server, from, 'Drained');
      const expected = from === 'disk' ? [0, SIZES.length] : [SIZES.length, 0];
      await until('nothing is left over', async () => {
        const there = [await it1.files('disk'), (await s3.keys('narwhal', 'bucket/objects/')).length];
        return there[0] === expected[0] && there[1] === expected[1];
      });
      assert.deepEqual(await s3.uploads('narwhal'), []);
      await it1.assertServed();
      await server.stop();
      await assertConsistent(server);
    });
  }
});
