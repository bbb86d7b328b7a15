// Storages when something is wrong: a lie in the status, a target without room, processes that are killed in the middle.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { LivingCache, Watcher } from '../support/living-cache.ts';
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

  before(async () => {
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
    await cache.killOperator();
    await cache.forge({ first: 'Drained', second: 'Ready' });
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

  it('a drain into a target without room pauses, loses nothing, and goes on when there is room', async () => {
    poller = Poller.start(cache, paths);
    const full = [disk('first', { mode: 'Drain' }), disk('second', { capacity: '100Ki' })];
    await cache.apply({ storages: full });
    const { message } = await cache.until('Ready', 'False', 'DrainPaused');
    assert.match(message, /^storage first is not drained further \(NoSpace\): no storage of this cache has room for/);
    const { phase, objects } = await cache.untilStorage('first', 'Paused');
    assert.deepEqual([phase, objects], ['Paused', 2]);
    assert.equal((await cache.condition('StoragesReady'))?.reason, 'DrainPaused');
    await assertServed();
    await cache.applied({ storages: [disk('first', { mode: 'Drain' }), disk('second')] });
    await cache.untilStorage('first', 'Drained');
    await assertServed();
  });

  const serverSide = async (storage: string) =>
    (await cache.server()).caches[0]?.storages.find(({ name }) => name === storage);

  /** Begins to empty a storage into another, slowly; returns the manifest that ends it soon. */
  async function beginDrain(from: string, to: string): Promise<Value> {
    const storages = [disk(from, { mode: 'Drain' }), disk(to)];
    await cache.apply({ storages, limits: { moveRate: '500Ki' } });
    await until('some of it is moved', async () => ((await serverSide(from))?.movedObjects ?? 0) > 0);
    return { storages };
  }

  it('a server that is killed in the middle of a drain goes on with it', async () => {
    const rest = await beginDrain('second', 'first');
    poller = Poller.start(cache, paths, { isPatient: true });
    const before = await cache.life();
    cache.process()?.signal('SIGKILL');
    await until('it runs again', async () => (await cache.life()).restarts > before.restarts);
    await cache.until('Available', 'True');
    await cache.applied(rest);
    await cache.untilStorage('second', 'Drained');
    const { uid, restarts } = await cache.life();
    assert.deepEqual([uid, restarts], [before.uid, before.restarts + 1]);
    await assertServed();
  });

  it('an operator that is killed in the middle of a drain is not missed by it', async () => {
    await beginDrain('first', 'second');
    poller = Poller.start(cache, paths);
    await cache.killOperator();
    await until('all is moved', async () => (await serverSide('first'))?.phase === 'Drained');
    assert.notEqual((await cache.storage('first'))?.phase, 'Drained', 'nobody has told yet');
    await cache.operator.restart();
    await cache.untilStorage('first', 'Drained');
    await assertServed();
  });

  it('an operator that is killed between any two steps of adding a storage adds it all the same', async () => {
    const before = await cache.life();
    poller = Poller.start(cache, paths, { isPatient: true });
    const watcher = new Watcher(cache);
    await cache.killOperator();
    const storages = [disk('first'), disk('second'), disk('third')];
    await cache.apply({ storages });
    // The manifest for the servers, the volume, the pods: each time one step further.
    for (let steps = 0; steps < 3; steps++) {
      const code = await cache.operator.runToEnd({ env: { NARWHAL_OPERATOR_CRASH_AFTER: '1' } });
      assert.equal(code, null, 'it was not killed');
      await cache.killOperator();
    }
    await cache.operator.restart();
    await cache.applied({ storages });
    await watcher.stop();
    assert.equal(watcher.pods.size, 1);
    assert.notEqual((await cache.life()).uid, before.uid);
    assert.equal((await cache.storage('third'))?.phase, 'Ready');
    await assertServed();
  });
});
