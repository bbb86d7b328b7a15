// Storages when something is wrong: a lie in the status, a target without room, processes that are killed in the middle.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { pathOf } from '../support/crds.ts';
import { LivingCache } from '../support/living-cache.ts';
import type { Value } from '../support/manifests.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { until } from '../support/server.ts';
import { sharedCluster } from '../support/shared-cluster.ts';
import { Poller } from '../support/storages.ts';

describeWith('kubernetes', 'the life of a cache: its storages in trouble', () => {
  let cache: LivingCache;
  let paths: TestPath[];
  let poller: Poller | undefined;

  before(async function () {
    this.timeout(120_000);
    cache = await LivingCache.start(await sharedCluster(), { storages: [disk('first'), disk('second')] });
    paths = [100, 300_000, 1_500_000, 100, 2000, 50_000].map((bytes) => makePath({ contents: randomBytes(bytes) }));
    for (const [index, it] of paths.entries()) await (index % 2 ? pushByPut : pushByCachix)(cache, it);
  });
  afterEach(async () => {
    await poller?.stop();
    poller = undefined;
  });
  after(() => cache?.remove());

  const disk = (name: string, more: Value = {}): Value => ({ name, local: {}, ...more });

  async function assertServed(): Promise<void> {
    for (const it of paths) assert.ok(await isServed(cache, it), it.storePath);
  }

  it('a removal behind a forged status is refused by the server, and mended by putting the storage back', async () => {
    const both = { reclaimPolicy: 'Delete', storages: [disk('first'), disk('second')] };
    await cache.applied(both);
    const before = await cache.life();
    // Whoever may write statuses, at a moment when nobody writes better ones.
    await cache.operator.kill();
    const status = {
      storages: [
        { name: 'first', phase: 'Drained' },
        { name: 'second', phase: 'Ready' },
      ],
    };
    await cache.cluster.kubernetes.expect(`${pathOf('BinaryCache', cache.namespace, 'main')}/status`, {
      method: 'PATCH',
      type: 'application/merge-patch+json',
      body: { status },
    });
    await cache.apply({ ...both, storages: [disk('second')] });
    poller = Poller.start(cache, paths);
    await cache.operator.restart();
    const { message } = await cache.until('Ready', 'False', 'ConfigRejected');
    assert.match(message, /^main-0: cache main: storage first holds 6 objects .* put it back with "mode: Drain"/);
    assert.equal((await cache.storage('first'))?.phase, 'Ready');
    // Looked at several times, it stays so: no pod restarts, and no volume goes.
    for (let times = 0; times < 3; times++) await cache.looked();
    assert.equal((await cache.condition('Ready'))?.reason, 'ConfigRejected');
    assert.match(await cache.kubectl('get', 'pvc', 'main-first'), /Bound/);
    await cache.applied(both);
    assert.deepEqual(await cache.life(), before);
    await assertServed();
  });
});
