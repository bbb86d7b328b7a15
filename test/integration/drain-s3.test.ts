import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { SqliteDatabase } from '../../server/metadata/index.ts';
import { runCli } from '../support/cli.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { S3Proxy, s3Error } from '../support/s3-proxy.ts';
import { TestServer, until } from '../support/server.ts';
import { applyManifest, FAST, Poller, storageOf, untilPhase } from '../support/storages.ts';

const MIB = 2 ** 20;
const BUCKET = 'narwhal';

describeWith('versitygw', 'storages of both kinds together', () => {
  let s3: S3Server;
  let proxy: S3Proxy;
  let server: TestServer;
  let prefix = '';
  let prefixes = 0;

  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket(BUCKET);
  });
  after(() => s3.remove());
  beforeEach(async () => {
    proxy = await S3Proxy.start(s3.endpoint);
    prefix = `p${prefixes++}`;
  });
  afterEach(async () => {
    await server.remove();
    await proxy.close();
  });

  const disk = (more = '') => `  - {name: disk${more}, local: {}}\n`;
  /** With `mode` and the like beside the fields of `s3`. */
  const bucket = (more: Readonly<Record<string, unknown>> = {}, beside = '') =>
    s3Storage('bucket', BUCKET, proxy.endpoint, { prefix, reads: 'Proxy', ...more }).replace(/\}\n$/, `${beside}}\n`);
  const drained = ', "mode": "Drain"';
  const start = async (storages: readonly string[], spec = '') => {
    server = await TestServer.start({ manifest: s3Manifest(s3, storages, spec), args: FAST });
  };
  const inBucket = async () => (await s3.keys(BUCKET, `${prefix}/objects/`)).length;
  const onDisk = async () => {
    const objects = path.join(server.data, 'main', 'storages', 'disk', 'objects');
    return (await readdir(objects, { recursive: true }))
      .filter((it) => it.includes('/'))
      .map((it) => path.join(objects, it));
  };
  const cli = (command: string, ...args: readonly string[]) =>
    runCli([command, '-f', server.manifestFile, '--data', server.data, ...args]);

  async function pushed(sizes: readonly number[]): Promise<TestPath[]> {
    const paths = sizes.map((bytes) => makePath({ contents: randomBytes(bytes) }));
    for (const [index, it] of paths.entries()) await (index % 2 ? pushByPut : pushByCachix)(server, it);
    return paths;
  }
  async function assertServed(paths: readonly TestPath[]): Promise<void> {
    for (const it of paths) assert.ok(await isServed(server, it), it.storePath);
  }
  /** Nothing is left over and nothing is missing. */
  async function assertConsistent(): Promise<void> {
    await server.stop();
    const { code, stdout, stderr } = await cli('check', '--contents', '--rate', '1Gi');
    assert.equal(code, 0, stdout + stderr);
    assert.deepEqual(await s3.uploads(BUCKET, `${prefix}/`), []);
  }

  const strategies: readonly (readonly [string, string, string, readonly [number, number]])[] = [
    ['RoundRobin', '', '', [4, 4]],
    // What we stored there counts against its capacity, since a bucket has no end of its own.
    ['InOrder', ', "capacity": "300Ki"', '', [2, 6]],
    ['Split', ', "weight": 75', ', weight: 25', [6, 2]],
    ['LeastUsed', ', "capacity": "3Mi"', ', capacity: 1Mi', [6, 2]],
  ];
  for (const [strategy, ofBucket, ofDisk, expected] of strategies) {
    it(`share new objects by ${strategy}`, async () => {
      const storages = [bucket({}, ofBucket), disk(ofDisk)];
      await start(storages, `strategy: ${strategy}\n`);
      const paths = [];
      for (let push = 0; push < 8; push++) {
        const it = makePath({ contents: randomBytes(100 * 1024), compression: 'none' });
        await pushByPut(server, it);
        paths.push(it);
      }
      assert.deepEqual([await inBucket(), (await onDisk()).length], expected);
      await assertServed(paths);
    });
  }

  it('move from a disk to a bucket while everything is read', async () => {
    await start([disk()]);
    const paths = await pushed([100, 300_000, 9 * MIB, 2000]);
    const poller = Poller.start(server, paths);
    await applyManifest(server, s3Manifest(s3, [disk(', mode: Drain'), bucket({ reads: 'Redirect' })]));
    await untilPhase(server, 'disk', 'Drained');
    await poller.stop();
    assert.deepEqual([await inBucket(), (await onDisk()).length], [paths.length, 0]);
    await applyManifest(server, s3Manifest(s3, [bucket({ reads: 'Redirect' })]));
    await assertServed(paths);
    await assertConsistent();
  });

  it('move from a bucket to a disk while everything is read', async () => {
    await start([bucket()]);
    const paths = await pushed([100, 300_000, 9 * MIB, 2000]);
    const poller = Poller.start(server, paths);
    await applyManifest(server, s3Manifest(s3, [bucket({}, drained), disk()]));
    await untilPhase(server, 'bucket', 'Drained');
    await poller.stop();
    assert.deepEqual([await inBucket(), (await onDisk()).length], [0, paths.length]);
    await applyManifest(server, s3Manifest(s3, [disk()]));
    await assertServed(paths);
    await assertConsistent();
  });

  it('keep what was moved out of a bucket as long as URLs of it may be used', async () => {
    await start([bucket({ reads: 'Redirect' })]);
    const [it1] = await pushed([1000]);
    assert.ok(it1);
    const { headers } = await fetch(`${server.url}/${it1.narUrl}`, { redirect: 'manual' });
    const url = headers.get('location') ?? '';
    await applyManifest(server, s3Manifest(s3, [bucket({ reads: 'Redirect' }, drained), disk()]));
    await until('it is moved', async () => (await storageOf(server, 'bucket'))?.objects === 0);
    assert.equal((await fetch(`${server.url}/${it1.narUrl}`, { redirect: 'manual' })).status, 200);
    assert.ok(Buffer.from(await (await fetch(url)).arrayBuffer()).equals(it1.file));
    await server.stop();
    const database = await SqliteDatabase.open({ file: path.join(server.data, 'main', 'db.sqlite') });
    const rows = await database.query<{ delete_after: number }>(
      `SELECT delete_after FROM objects WHERE state = 'tombstoned'`,
    );
    await database.close();
    assert.equal(rows.length, 1);
    assert.ok((rows[0]?.delete_after ?? 0) > Date.now() + 3500_000);
  });

  it('pause while a bucket answers nothing, and go on afterwards', async () => {
    await start([disk()]);
    const paths = await pushed([100, 2000, 300_000]);
    proxy.fate = ({ operation }) => (operation === 'PutObject' ? s3Error(503, 'SlowDown') : undefined);
    await applyManifest(server, s3Manifest(s3, [disk(', mode: Drain')]));
    await untilPhase(server, 'disk', 'Paused');
    proxy.fate = () => undefined;
    await applyManifest(server, s3Manifest(s3, [disk(', mode: Drain'), bucket()]));
    proxy.fate = ({ operation }) => (operation === 'PutObject' ? s3Error(503, 'SlowDown') : undefined);
    await assertServed(paths);
    proxy.fate = () => undefined;
    await untilPhase(server, 'disk', 'Drained');
    await assertServed(paths);
    await assertConsistent();
  });

  it('have many small objects moved at one time', async () => {
    await start([disk()]);
    const paths = await pushed(Array.from({ length: 12 }, () => 1000));
    const hanging = { status: 'hang', forward: false } as const;
    proxy.fate = ({ operation, key }) => (operation === 'PutObject' && key.includes('/objects/') ? hanging : undefined);
    await applyManifest(server, s3Manifest(s3, [disk(', mode: Drain'), bucket()]));
    await until('all are on their way', () => proxy.count('PutObject') >= 12);
    await assertServed(paths);
  });

  it('are checked to the last byte, and what is lost is unpublished', async () => {
    await start([bucket()]);
    const paths = await pushed([5000, 1000]);
    await server.stop();
    const [key = ''] = await s3.keys(BUCKET, `${prefix}/objects/`);
    const file = path.join(s3.folder, 'buckets', BUCKET, key);
    const bytes = await readFile(file);
    bytes[10] = (bytes[10] ?? 0) ^ 1;
    await writeFile(file, bytes);
    assert.equal((await cli('check')).code, 0);
    const found = await cli('check', '--contents', '--rate', '10Mi');
    assert.equal(found.code, 1);
    assert.match(found.stdout, /^main: bucket: nar\/\S+ has other bytes than its row says; paths: \w+\n/);
    const repaired = await cli('check', '--contents', '--repair');
    assert.equal(repaired.code, 0);
    assert.match(repaired.stdout, /; unpublished, push it again\n.*1 findings, 1 repaired\n$/s);
    await server.restart();
    const served = await Promise.all(paths.map((it) => isServed(server, it)));
    assert.equal(served.filter(Boolean).length, 1);
  });

  it('are moved between by hand, all objects or those of some paths', async () => {
    await start([disk(), bucket()]);
    const paths = await pushed([100, 300_000, 9 * MIB, 2000]);
    const [first, second] = paths;
    assert.ok(first && second);
    const move = (from: string, to: string, ...more: readonly string[]) =>
      cli('move', '--cache', 'main', '--from', from, '--to', to, ...more);
    const running = await move('disk', 'bucket');
    assert.equal(running.code, 1);
    assert.match(running.stderr, /is in use by another narwhal-server; stop it first/);
    await server.stop();
    const some = await move('disk', 'bucket', '--paths', first.storePath, second.storePath);
    assert.equal(
      some.stdout,
      `main: moved 2 objects, ${first.file.length + second.file.length} bytes from disk to bucket\n`,
    );
    assert.equal(some.code, 0);
    const list = path.join(server.folder, 'paths');
    const unknown = makePath().storePath;
    await writeFile(list, `${first.storePath}\n\n${unknown}\n`);
    const again = await move('disk', 'bucket', '--paths-from', list);
    assert.equal(again.code, 1);
    assert.equal(
      again.stdout,
      `main: ${unknown}: is not in this cache\nmain: moved 0 objects, 0 bytes from disk to bucket, 1 were there already, 1 could not be moved\n`,
    );
    assert.deepEqual([await inBucket(), (await onDisk()).length], [2, 2]);
    const rest = await move('disk', 'bucket');
    assert.equal(rest.code, 0, rest.stderr);
    assert.deepEqual([await inBucket(), (await onDisk()).length], [4, 0]);
    const back = await move('bucket', 'disk');
    assert.equal(back.code, 0, back.stderr);
    assert.deepEqual([await inBucket(), (await onDisk()).length], [0, 4]);
    for (const [args, text] of [
      [['disk', 'disk'], /--from and --to are both disk/],
      [['disk', 'nowhere'], /the manifest has no storage nowhere that can be used/],
    ] as const) {
      const { code, stderr } = await move(args[0], args[1]);
      assert.equal(code, 1);
      assert.match(stderr, text);
    }
    await server.restart();
    await assertServed(paths);
    await assertConsistent();
  });
});
