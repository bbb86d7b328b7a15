// Storages that grow, come, are emptied and go, while every byte in them is read all the time.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { LivingCache, Watcher } from '../support/living-cache.ts';
import type { Value } from '../support/manifests.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { until } from '../support/server.ts';
import { sharedCluster } from '../support/shared-cluster.ts';
import { Poller } from '../support/storages.ts';

describeWith('kubernetes', 'the life of a cache: its storages', () => {
  let cache: LivingCache;
  let paths: TestPath[];
  let poller: Poller | undefined;
  /** StorageClasses, which belong to no namespace. */
  let classes: { readonly growing: string; readonly fixed: string };

  before(async () => {
    const cluster = await sharedCluster();
    const suffix = randomBytes(4).toString('hex');
    classes = { growing: `growing-${suffix}`, fixed: `fixed-${suffix}` };
    for (const [kind, name] of Object.entries(classes))
      await cluster.kubernetes.expect('/apis/storage.k8s.io/v1/storageclasses', {
        method: 'POST',
        body: { metadata: { name }, provisioner: 'example.org/none', allowVolumeExpansion: kind === 'growing' },
      });
    cache = await LivingCache.start(cluster, { storages: [first('1Gi')] });
    paths = [100, 300_000, 1_500_000, 100, 2000, 50_000].map((bytes) => makePath({ contents: randomBytes(bytes) }));
    for (const [index, it] of paths.entries()) await (index % 2 ? pushByPut : pushByCachix)(cache, it);
  });
  afterEach(async () => {
    await poller?.stop();
    poller = undefined;
  });
  after(async () => {
    await cache?.remove();
    for (const name of Object.values(classes))
      await cache?.cluster.kubernetes.request(`/apis/storage.k8s.io/v1/storageclasses/${name}`, { method: 'DELETE' });
  });

  const disk = (name: string, more: Value = {}): Value => ({ name, local: {}, ...more });
  const first = (size: string, more: Value = {}) =>
    disk('first', { local: { size, storageClassName: classes.growing }, ...more });
  const claim = async (name: string) => {
    const text = await cache.kubectl('get', 'pvc', name, '-o', 'json', '--ignore-not-found');
    return text === '' ? undefined : JSON.parse(text);
  };
  /** Files of objects on a volume. */
  const filesOn = async (storage: string) => {
    const folder = path.join(cache.cluster.kubelet.volumeOf(cache.namespace, `main-${storage}`), 'objects');
    return (await readdir(folder, { recursive: true })).filter((it) => it.includes('/'));
  };
  async function assertServed(): Promise<void> {
    for (const it of paths) assert.ok(await isServed(cache, it), it.storePath);
  }

  it('grow, which nobody who reads notices', async () => {
    const { kubelet } = cache.cluster;
    const before = await cache.life();
    poller = Poller.start(cache, paths);
    kubelet.resizes = false;
    try {
      await cache.apply({ storages: [first('2Gi')] });
      const { message } = await cache.until('StoragesReady', 'False', 'Resizing');
      assert.equal(message, 'volume main-first grows from 1Gi to 2Gi');
      assert.equal((await claim('main-first')).spec.resources.requests.storage, '2Gi');
      // What is there goes on working.
      await cache.until('Ready', 'True');
    } finally {
      kubelet.resizes = true;
    }
    await cache.until('StoragesReady', 'True');
    assert.equal((await claim('main-first')).status.capacity.storage, '2Gi');
    assert.deepEqual(await cache.life(), before);
  });

  it('cannot shrink', async () => {
    await assert.rejects(cache.apply({ storages: [first('1Gi')] }), /size can only grow/);
  });

  it('come, with one restart, and take what is new', async () => {
    poller = Poller.start(cache, paths, { isPatient: true });
    const watcher = new Watcher(cache);
    await cache.applied({ storages: [disk('second'), first('2Gi')] });
    await watcher.stop();
    assert.equal(watcher.pods.size, 1);
    const it1 = makePath();
    await pushByPut(cache, it1);
    paths.push(it1);
    assert.equal((await filesOn('second')).length, 1);
  });

  it('are emptied, and only then may go', async () => {
    const before = await cache.life();
    const draining = (moveRate: string) => ({
      storages: [disk('second'), first('2Gi', { mode: 'Drain' })],
      limits: { moveRate },
    });
    poller = Poller.start(cache, paths);
    // Slow enough to be looked at on a busy machine.
    await cache.apply(draining('100Ki'));
    await until('some of it is moved', async () => ((await cache.storage('first'))?.movedObjects ?? 0) > 0);
    const { message } = await cache.until('Draining', 'True', 'Moving');
    assert.match(message, /^first: \d+ moved, [1-6] left$/);
    const { phase, objects = 0, movedObjects = 0 } = (await cache.storage('first')) ?? {};
    assert.equal(phase, 'Draining');
    assert.ok(objects > 0 && objects <= 6 && movedObjects > 0, `${objects} ${movedObjects}`);
    await cache.until('Ready', 'True');
    await assert.rejects(
      cache.apply({ storages: [disk('second')] }),
      /a storage can be removed once status.storages says Drained \(set its mode to Drain first\)/,
    );
    await cache.apply(draining('0'));
    const drained = await cache.untilStorage('first', 'Drained');
    assert.equal(drained.objects, 0);
    await cache.until('Ready', 'True');
    assert.equal(await cache.condition('Draining'), undefined);
    assert.deepEqual(await filesOn('first'), []);
    assert.deepEqual(await cache.life(), before);
  });

  it('go when they are empty, with one restart; the volume stays', async () => {
    poller = Poller.start(cache, paths, { isPatient: true });
    const watcher = new Watcher(cache);
    await cache.applied({ storages: [disk('second')] });
    await watcher.stop();
    assert.equal(watcher.pods.size, 1);
    assert.equal(await cache.storage('first'), undefined);
    await assertServed();
    const { metadata, spec } = await cache.pod();
    assert.ok(!JSON.stringify(spec.volumes).includes('main-first'), metadata.name);
    assert.equal((await claim('main-first')).status.phase, 'Bound');
  });

  it('are renamed by one that comes and one that goes; its volume goes too where the manifest says so', async () => {
    poller = Poller.start(cache, paths, { isPatient: true });
    const drop = { reclaimPolicy: 'Delete' };
    await cache.applied({ ...drop, storages: [disk('third'), disk('second', { mode: 'Drain' })] });
    await cache.untilStorage('second', 'Drained');
    const bytes = cache.cluster.kubelet.volumeOf(cache.namespace, 'main-second');
    const watcher = new Watcher(cache);
    await cache.applied({ ...drop, storages: [disk('third')] });
    await until('the volume is gone', async () => (await claim('main-second')) === undefined);
    await watcher.stop();
    assert.equal(watcher.pods.size, 1);
    await until('its bytes are gone', () => !existsSync(bytes));
    await assertServed();
    // Drained under Retain, it is not this cache's to delete.
    assert.equal((await claim('main-first')).metadata.deletionTimestamp, undefined);
    await cache.applied({ storages: [disk('third')] });
    assert.deepEqual((await claim('main-third')).metadata.ownerReferences ?? [], []);
  });

  it('are given up with all that is in them, and may then go at once', async () => {
    await cache.applied({ storages: [disk('third', { mode: 'ReadOnly' }), disk('fourth')] });
    const kept = makePath();
    await pushByPut(cache, kept);
    await cache.applied({ storages: [disk('third', { mode: 'Abandoned' }), disk('fourth')] });
    assert.equal((await cache.untilStorage('third', 'Abandoned')).phase, 'Abandoned');
    for (const it of paths) await until(`${it.storePath} is gone`, async () => !(await isServed(cache, it)));
    const before = await filesOn('third');
    assert.equal(before.length, paths.length);
    await cache.applied({ storages: [disk('fourth')] });
    assert.ok(await isServed(cache, kept));
    assert.deepEqual(await filesOn('third'), before, 'what is given up is not touched');
  });

  it('whose class does not let them grow stay as they are and say so, until it does', async () => {
    const fixed = (size: string) => disk('fixed', { local: { size, storageClassName: classes.fixed } });
    await cache.applied({ storages: [disk('fourth'), fixed('1Gi')] });
    await cache.apply({ storages: [disk('fourth'), fixed('2Gi')] });
    const { message } = await cache.until('Ready', 'False', 'ExpansionNotAllowed');
    assert.match(message, /^storage fixed: .*only dynamically provisioned pvc can be resized/);
    assert.equal((await cache.condition('StoragesReady'))?.reason, 'ExpansionNotAllowed');
    await pushByPut(cache, makePath());
    await cache.cluster.kubernetes.kubectl(['patch', 'sc', classes.fixed, '-p', '{"allowVolumeExpansion":true}']);
    await cache.until('Ready', 'True');
    assert.equal((await claim('main-fixed')).spec.resources.requests.storage, '2Gi');
  });
});
