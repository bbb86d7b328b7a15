// Edits that come fast, that come while nobody looks, and that come from somebody else: the manifest always wins.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { pathOf } from '../support/crds.ts';
import { LivingCache, Watcher } from '../support/living-cache.ts';
import type { Value } from '../support/manifests.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { isServed, pushByPut } from '../support/push.ts';
import { until } from '../support/server.ts';
import { sharedCluster } from '../support/shared-cluster.ts';

describeWith('kubernetes', 'the life of a cache: edits that race', () => {
  let cache: LivingCache;
  let published: TestPath;

  before(async () => {
    cache = await LivingCache.start(await sharedCluster(), { storages });
    published = makePath();
    await pushByPut(cache, published);
  });
  after(() => cache?.remove());

  const storages: Value[] = [{ name: 'disk', local: {} }];
  const priority = async () =>
    Number(/^Priority: (\d+)$/m.exec(await (await fetch(`${cache.api()}/nix-cache-info`)).text())?.[1]);
  const manifest = async () =>
    JSON.parse(await cache.kubectl('get', 'cm', 'main-config', '-o', 'json')).data['cache.yaml'];
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
  /** An edit without kubectl's second. */
  const patch = (spec: Value) =>
    cache.cluster.kubernetes.expect(pathOf('BinaryCache', cache.namespace, 'main'), {
      method: 'PATCH',
      type: 'application/merge-patch+json',
      body: { spec },
    });

  it('many in a row end with the last', async () => {
    const before = await cache.life();
    for (let rank = 1; rank <= 20; rank++) await patch({ priority: rank });
    await cache.until('Ready', 'True');
    assert.equal(await priority(), 20);
    assert.equal((await cache.server()).config.files[0]?.sha256, sha256(await manifest()));
    assert.deepEqual(await cache.life(), before);
  });

  it('one that restarts pods is overtaken by one that takes it back', async () => {
    const watcher = new Watcher(cache);
    await patch({ image: 'missing:1' });
    await until('the pod is replaced', () => watcher.pods.size > 0);
    await patch({ image: null, priority: 21 });
    await cache.until('Ready', 'True');
    await watcher.stop();
    assert.equal((await cache.pod()).spec.containers[0]?.image, 'narwhal:test');
    assert.equal(await priority(), 21);
    assert.ok(await isServed(cache, published));
  });

  it('those that come while no operator runs are all there when it comes back', async () => {
    const before = await cache.life();
    await cache.killOperator();
    for (const rank of [22, 23]) await patch({ priority: rank });
    await cache.operator.restart();
    await cache.until('Ready', 'True');
    assert.equal(await priority(), 23);
    assert.deepEqual(await cache.life(), before);
  });

  describe('with the hands of others', () => {
    const restored = async (text: string) => {
      await until('it is put back', async () => (await manifest().catch(() => '')) === text);
      await until('the server runs it', async () => (await cache.server()).config.files[0]?.sha256 === sha256(text));
    };

    it('are taken back in the mounted manifest', async () => {
      const before = await cache.life();
      const text = await manifest();
      const rank = await priority();
      const data = { 'cache.yaml': text.replace(`priority: ${rank}`, 'priority: 1') };
      await cache.kubectl('patch', 'cm', 'main-config', '--type=merge', '-p', JSON.stringify({ data }));
      await restored(text);
      const log = await readFile(cache.operator.log, 'utf8');
      assert.match(log, /"object":"ConfigMap main-config","because":"something else has changed data\.cache\.yaml"/);
      await cache.kubectl('delete', 'cm', 'main-config');
      await restored(text);
      await cache.until('Ready', 'True');
      assert.equal(await priority(), rank);
      assert.deepEqual(await cache.life(), before);
    });

    it('are taken back in the Service and in the pods, which stay where nothing was wrong with them', async () => {
      const before = await cache.life();
      await cache.kubectl('delete', 'service', 'main');
      await until('it is there again', async () => isServed(cache, published).catch(() => false));
      assert.deepEqual(await cache.life(), before);
      await cache.kubectl('scale', 'sts', 'main', '--replicas=0');
      await until('it is put back', async () => {
        return (await cache.kubectl('get', 'sts', 'main', '-o', 'jsonpath={.spec.replicas}')) === '1';
      });
      await cache.until('Ready', 'True');
      assert.ok(await isServed(cache, published));
    });
  });

  it('none of them is acted upon while the cache is paused', async () => {
    const before = await cache.life();
    await cache.kubectl('annotate', 'bc', 'main', 'narwhal.dev/paused=true');
    await cache.until('Paused', 'True');
    assert.deepEqual((await cache.until('Ready', 'Unknown')).reason, 'Paused');
    await patch({ priority: 30, image: 'missing:1' });
    await cache.looked();
    assert.equal(await priority(), 23);
    assert.ok(await isServed(cache, published));
    await patch({ image: null });
    await cache.kubectl('annotate', 'bc', 'main', 'narwhal.dev/paused-');
    await cache.until('Ready', 'True');
    assert.equal(await cache.condition('Paused'), undefined);
    assert.equal(await priority(), 30);
    assert.deepEqual(await cache.life(), before);
  });
});
