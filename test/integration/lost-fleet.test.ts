// Several servers on one PostgreSQL and one folder: what one finds lost, all know, and a push by any of them heals it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { ServerStatus } from '../../crds/index.ts';
import { CachixClient } from '../support/cachix-client.ts';
import { runCli } from '../support/cli.ts';
import { Fleet } from '../support/fleet.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { PostgresServer } from '../support/postgres.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { type TestServer, until } from '../support/server.ts';
import { FAST } from '../support/storages.ts';

describeWith('postgres', 'an object that is lost to several servers', () => {
  let postgres: PostgresServer;
  let fleet: Fleet;
  let folder: string;

  before(async () => {
    postgres = await PostgresServer.start();
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-lost-'));
    fleet = await Fleet.start({
      url: await postgres.createDatabase(),
      storages: [{ name: 'disk', local: { path: folder } }],
      servers: 2,
      args: FAST,
      spec: { scrub: { every: '1d', rate: '1Gi' } },
    });
  });
  after(async () => {
    await fleet?.remove();
    await postgres.remove();
    await rm(folder, { recursive: true, force: true });
  });

  async function lose(it: TestPath): Promise<void> {
    const objects = path.join(folder, 'objects');
    for (const name of await readdir(objects, { recursive: true })) {
      const file = path.join(objects, name);
      if ((await readFile(file).catch(() => undefined))?.equals(it.file)) await rm(file);
    }
  }
  const status = async (url: string, method = 'GET') => (await fetch(url, { method })).status;
  const narinfo = (server: TestServer, it: TestPath) => `${server.api()}/${it.hashPart}.narinfo`;
  async function statusOf(server: TestServer): Promise<ServerStatus['caches'][number]> {
    const { caches } = (await (await fetch(`${server.adminUrl}/status`)).json()) as ServerStatus;
    assert.ok(caches[0]);
    return caches[0];
  }

  it('is missing on all of them at once, and healed by a push to any', async () => {
    for (const [round, push] of [pushByPut, pushByCachix, pushByPut].entries()) {
      const [finder, other] = [fleet.at(round), fleet.at(round + 1)];
      const it = makePath({ contents: randomBytes(2000 + round * 300_000) });
      await push(finder, it);
      // All of them remember narinfo and row.
      for (const server of fleet.servers) assert.ok(await isServed(server, it));
      await lose(it);
      assert.equal(await status(`${finder.api()}/${it.narUrl}`), 404);
      await until('the other knows', async () => (await status(narinfo(other, it))) === 404);
      assert.equal(await status(`${other.api()}/${it.narUrl}`), 404);
      for (const server of fleet.servers) {
        assert.equal((await statusOf(server)).lostObjects, 1);
        const client = new CachixClient({ host: server.url, cache: 'main', token: await server.token() });
        assert.deepEqual(await client.missing([it.hashPart]).finally(() => client.close()), [it.hashPart]);
      }
      await push(other, it);
      await until('the finder serves it', async () => (await status(narinfo(finder, it))) === 200);
      for (const server of fleet.servers) assert.ok(await isServed(server, it));
      assert.equal((await statusOf(finder)).lostObjects, 0);
    }
  });

  it('is healed once by pushes to all of them', async () => {
    const it = makePath({ contents: randomBytes(400_000) });
    await pushByPut(fleet.at(0), it);
    await lose(it);
    assert.equal(await status(`${fleet.at(1).api()}/${it.narUrl}`, 'HEAD'), 404);
    await Promise.all([0, 1, 0, 1].map((server) => (server ? pushByPut : pushByCachix)(fleet.at(server), it)));
    for (const server of fleet.servers)
      await until('it is served', async () => (await status(narinfo(server, it))) === 200);
    for (const server of fleet.servers) assert.ok(await isServed(server, it));
    assert.equal((await statusOf(fleet.at(0))).lostObjects, 0);
  });

  it('is looked for by one of them alone', async () => {
    const { scrubs } = await statusOf(fleet.at(0));
    assert.deepEqual(
      scrubs.map(({ depth }) => depth),
      ['contents', 'sizes'],
    );
    await until('both looks are over', async () =>
      (await statusOf(fleet.at(1))).scrubs.every(({ endedAt }) => endedAt !== null),
    );
    const begun = fleet.servers.filter((server) => server.output.includes('all objects were looked at'));
    assert.equal(begun.length, 1);
  });

  it('is given up by a command beside them, which all of them hear', async () => {
    const it = makePath();
    await pushByPut(fleet.at(0), it);
    for (const server of fleet.servers) assert.ok(await isServed(server, it));
    await lose(it);
    const { manifestFile, data } = fleet.at(0);
    const { code, stdout, stderr } = await runCli(['check', '--repair', '-f', manifestFile, '--data', `${data}.none`]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, new RegExp(`${it.hashPart}; unpublished, push it again\n`));
    for (const server of fleet.servers)
      await until('it is gone', async () => (await status(narinfo(server, it))) === 404);
    await pushByCachix(fleet.at(1), it);
    assert.ok(await isServed(fleet.at(1), it));
    await rm(`${data}.none`, { recursive: true, force: true });
  });
});
