import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { runCli } from '../support/cli.ts';
import { Fleet } from '../support/fleet.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { PostgresServer } from '../support/postgres.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { type TestServer, until } from '../support/server.ts';
import { applyManifest, FAST, Poller, storageOf, untilPhase } from '../support/storages.ts';

describeWith('postgres', 'storages of several servers', () => {
  let postgres: PostgresServer;
  let shared: string;
  let fleet: Fleet;
  let paths: TestPath[];

  before(async () => {
    postgres = await PostgresServer.start();
  });
  after(() => postgres.remove());
  beforeEach(async () => {
    shared = await mkdtemp(path.join(os.tmpdir(), 'narwhal-shared-'));
    fleet = await Fleet.start({
      url: await postgres.createDatabase(),
      storages: [storage('first')],
      servers: 2,
      args: FAST,
    });
    paths = Array.from({ length: 12 }, () => makePath({ contents: randomBytes(60_000) }));
    for (const [index, it] of paths.entries()) await (index % 2 ? pushByPut : pushByCachix)(fleet.at(index), it);
  });
  afterEach(async () => {
    await fleet.remove();
    await rm(shared, { recursive: true, force: true });
  });

  const storage = (name: string, mode = 'ReadWrite') => ({ name, mode, local: { path: path.join(shared, name) } });
  async function apply(storages: readonly object[], spec: object = {}): Promise<void> {
    const [cache = '', ...rest] = fleet.cache.manifest.split('\n---\n');
    const document = JSON.parse(cache) as { spec: object };
    const changed = JSON.stringify({ ...document, spec: { ...document.spec, ...spec, storages } });
    const text = `${[changed, ...rest].join('\n---\n')}\n`;
    await Promise.all(fleet.servers.map((server) => applyManifest(server, text)));
  }
  const filesIn = async (name: string) =>
    (await readdir(path.join(shared, name, 'objects'), { recursive: true })).filter((it) => it.includes('/')).length;
  const moved = async (server: TestServer) => (await storageOf(server, 'first'))?.movedObjects ?? 0;

  it('are drained by one of them, and by another when that one dies', async () => {
    await apply([storage('first', 'Drain'), storage('second')], { limits: { moveRate: '100Ki' } });
    const counts = () => Promise.all(fleet.servers.map(moved));
    await until('one of them is in the middle', async () => (await counts()).some((count) => count > 0));
    const found = await counts();
    const [mover, other] = (found[0] ?? 0) > 0 ? [fleet.at(0), fleet.at(1)] : [fleet.at(1), fleet.at(0)];
    assert.equal(await moved(other), 0);
    assert.equal(await mover.stop('SIGKILL'), null);
    const poller = Poller.start(other, paths);
    await until('the other goes on', async () => (await moved(other)) > 0);
    await untilPhase(other, 'first', 'Drained');
    await poller.stop();
    assert.equal(await filesIn('first'), 0);
    assert.equal((await storageOf(other, 'second'))?.phase, 'Ready');
    await mover.restart();
    for (const server of fleet.servers) for (const it of paths) assert.ok(await isServed(server, it));
    await apply([storage('second')]);
    for (const server of fleet.servers) for (const it of paths) assert.ok(await isServed(server, it));
  });

  it('are given up on all of them', async () => {
    for (const server of fleet.servers) for (const it of paths) assert.ok(await isServed(server, it));
    await apply([storage('first', 'Abandoned'), storage('second')]);
    for (const server of fleet.servers) {
      await until('it is given up', async () => (await storageOf(server, 'first'))?.objects === 0);
      for (const it of paths) {
        await until('it is gone', async () => (await fetch(`${server.url}/${it.hashPart}.narinfo`)).status === 404);
        assert.equal((await fetch(`${server.url}/${it.narUrl}`)).status, 404);
      }
    }
    await apply([storage('second')]);
    assert.equal(await filesIn('first'), paths.length);
  });

  it('are moved between by hand while they run', async () => {
    await apply([storage('first'), storage('second')]);
    const pollers = fleet.servers.map((server) => Poller.start(server, paths, { readers: 1 }));
    const server = fleet.at(0);
    const { code, stdout, stderr } = await runCli([
      ...['move', '-f', server.manifestFile, '--data', path.join(shared, 'data')],
      ...['--cache', 'main', '--from', 'first', '--to', 'second'],
    ]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^main: moved 12 objects, \d+ bytes from first to second\n$/);
    for (const poller of pollers) await poller.stop();
    // For a quarter of an hour, since a server may be sending them.
    assert.deepEqual([await filesIn('first'), await filesIn('second')], [paths.length, paths.length]);
  });
});
