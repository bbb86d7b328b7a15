// A server as it runs in a pod: environment variables, a mounted configuration, mounted volumes, a status to read.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { rename } from 'node:fs/promises';
import os from 'node:os';
import { generateToken } from '../../crds/index.ts';
import { makePath } from '../support/nars.ts';
import { Pod } from '../support/pod.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { cacheManifest, until } from '../support/server.ts';

const token = generateToken();
const TOKENS = 'tokens:\n  - {name: push, permissions: [Write], secretRef: {name: tokens, key: push}}\n';
const SECRETS = { tokens: { push: token } };
const disks = (...names: readonly string[]) =>
  `storages:\n${names.map((name) => `  - {name: ${name}, local: {}}\n`).join('')}`;
const manifest = (spec = '', storages = disks('disk')) => cacheManifest('main', `${spec}${storages}${TOKENS}`);
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

describe('a server in a pod', () => {
  let pod: Pod;
  const start = async (init: Partial<Parameters<typeof Pod.start>[0]> = {}) => {
    pod = await Pod.start({ manifest: manifest(), secrets: SECRETS, tokens: { push: token }, ...init });
  };
  afterEach(() => pod.remove());

  it('needs nothing but its environment, and listens on every address of the machine', async () => {
    await start();
    const hasIpv6 = Object.values(os.networkInterfaces()).some((all) => all?.some((it) => it.family === 'IPv6'));
    for (const host of ['127.0.0.1', ...(hasIpv6 ? ['[::1]'] : [])]) {
      const { port } = pod.server;
      assert.equal((await fetch(`http://${host}:${port}/nix-cache-info`)).status, 200, host);
      const admin = new URL(pod.server.adminUrl);
      assert.equal((await fetch(`http://${host}:${admin.port}/readyz`)).status, 200, host);
    }
    assert.equal(await pod.server.stop(), 0);
  });

  it('reports exactly what the contract says', async () => {
    await start({
      manifest: manifest('', `${disks('disk')}  - {name: small, capacity: 1Gi, local: {}}\n`),
      volumes: ['disk', 'small'],
    });
    await pushByPut(pod.server, makePath());
    const status = await pod.status();
    assert.deepEqual(Object.keys(status), ['version', 'ready', 'config', 'caches']);
    assert.equal(status.ready, true);
    const [cache] = status.caches;
    assert.ok(cache !== undefined);
    const { storages, publicKeys, usage, ...rest } = cache;
    assert.deepEqual(rest, {
      name: 'main',
      access: 'Public',
      paths: 1,
      databaseError: null,
      keysLost: null,
      uploads: 0,
      lostObjects: 0,
      pins: { names: 0, missing: 0, firstMissing: [] },
      waiting: { paths: 0, since: null },
      scrubs: [],
    });
    assert.ok(usage !== null && usage.bytes > 0);
    assert.deepEqual([usage.paths, usage.retiredPaths, usage.lastGC], [1, 0, null]);
    assert.match(publicKeys.join(), /^main\.cache\.example\.org-1:\S+$/);
    assert.deepEqual(
      storages.map(({ name, mode, state, phase, writes }) => [name, mode, state, phase, writes]),
      [
        ['disk', 'ReadWrite', 'Ready', 'Ready', 0],
        ['small', 'ReadWrite', 'Ready', 'Ready', 0],
      ],
    );
    const [disk, small] = storages;
    assert.ok((disk?.usedBytes ?? 0) > 0);
    assert.ok((disk?.capacityBytes ?? 0) > (disk?.freeBytes ?? Number.POSITIVE_INFINITY));
    assert.equal(small?.capacityBytes, 2 ** 30);
  });

  it('says which configuration runs, also while the one that is mounted cannot', async () => {
    await start();
    const files = (text: string) => [{ name: 'cache.yaml', sha256: sha256(text) }];
    assert.deepEqual((await pod.status()).config, { files: files(manifest()), error: null });
    const next = manifest('priority: 30\n');
    await pod.apply(next);
    assert.deepEqual((await pod.status()).config, { files: files(next), error: null });
    assert.match(await (await fetch(`${pod.server.url}/nix-cache-info`)).text(), /^Priority: 30$/m);
    await pod.config.write({ 'cache.yaml': manifest('priority: none\n') });
    await until('the mistake is noticed', async () => (await pod.status()).config.error !== null);
    const { config } = await pod.status();
    assert.deepEqual(config.files, files(next));
    assert.match(config.error ?? '', /cache\.yaml:\d+: spec\.priority/);
    await pod.config.write({ 'cache.yaml': next });
    await until('it runs again', async () => (await pod.status()).config.error === null);
  });

  describe('with a volume that is not mounted', () => {
    const storage = async (name = 'disk') => (await pod.status()).caches[0]?.storages.find((it) => it.name === name);
    const ready = (name = 'disk') => until('it is ready', async () => (await storage(name))?.state === 'Ready');

    it('starts, takes no pushes, and works once it is there', async () => {
      await start({ volumes: [] });
      const { phase, reason } = (await storage()) ?? {};
      assert.equal(phase, 'Unavailable');
      assert.match(reason ?? '', /storages\/disk is not mounted$/);
      await assert.rejects(pushByCachix(pod.server, makePath()), { status: 503 });
      await pod.mount('disk');
      await ready();
      for (const push of [pushByPut, pushByCachix]) {
        const it = makePath();
        await push(pod.server, it);
        assert.ok(await isServed(pod.server, it));
      }
      await pod.server.stop();
      await pod.server.restart();
      assert.equal((await storage())?.state, 'Ready');
    });

    it('takes over a manifest that names it', async () => {
      await start();
      const published = makePath();
      await pushByPut(pod.server, published);
      await pod.apply(manifest('priority: 30\n', disks('new', 'disk')));
      assert.match((await storage('new'))?.reason ?? '', /storages\/new is not mounted$/);
      const it = makePath();
      await pushByPut(pod.server, it);
      assert.ok((await isServed(pod.server, it)) && (await isServed(pod.server, published)));
      await pod.mount('new');
      await ready('new');
      const before = await storage('new');
      await pushByPut(pod.server, makePath());
      assert.ok(((await storage('new'))?.usedBytes ?? 0) > (before?.usedBytes ?? 0), 'it is the first in order');
      // Empty or never used, it may leave the manifest again.
      await pod.apply(manifest('priority: 31\n', disks('new', 'disk', 'third')));
      await pod.apply(manifest('priority: 32\n', disks('new', 'disk')));
    });

    it('never makes its folder anew when it goes away', async () => {
      await start();
      const published = makePath();
      await pushByPut(pod.server, published);
      await rename(pod.volume('disk'), `${pod.volume('disk')}.away`);
      await until('it is missed', async () => (await storage())?.state === 'Unavailable');
      await pod.server.stop();
      await pod.server.restart();
      assert.match((await storage())?.reason ?? '', /is not mounted$/);
      await pod.mount('disk');
      await until('an empty one is told apart', async () => /has no marker/.test((await storage())?.reason ?? ''));
      await rename(`${pod.volume('disk')}.away`, pod.volume('disk'));
      await ready();
      assert.ok(await isServed(pod.server, published));
    });

    it('goes on beside one that holds what is not its own', async () => {
      await start({
        manifest: manifest('', disks('disk', 'other')),
        volumes: ['disk', 'other', 'other/of-somebody-else'],
      });
      assert.match((await storage('other'))?.reason ?? '', /is new to this cache and not empty/);
      await pushByPut(pod.server, makePath());
    });
  });
});
