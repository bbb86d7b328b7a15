// A token that is revoked while its servers run: from when on it opens nothing, and how that is known.
import assert from 'node:assert/strict';
import { hashToken } from '../../crds/index.ts';
import { LivingCache } from '../support/living-cache.ts';
import type { Value } from '../support/manifests.ts';
import { describeWith } from '../support/needs.ts';
import { until } from '../support/server.ts';
import { sharedCluster } from '../support/shared-cluster.ts';

describeWith('kubernetes', 'the life of a cache: its tokens', () => {
  let cache: LivingCache;
  const storages: Value[] = [{ name: 'disk', local: {} }];

  before(async () => {
    cache = await LivingCache.start(await sharedCluster(), { storages, access: 'Private' });
  });
  after(() => cache?.remove());

  const status = async (token: string) => {
    const headers = { authorization: `Bearer ${token}` };
    return (await fetch(cache.api(), { headers })).status;
  };

  it('open nothing any more once the status says that every pod runs the new manifest', async () => {
    const old = await cache.token();
    assert.equal(await status(old), 200);
    const before = (await cache.object()).status?.configHash;
    await cache.kubectl('delete', 'secret', 'main-token-push');
    await cache.kubectl('annotate', '--overwrite', 'bc', 'main', 'narwhal.dev/reconcile=revoke-1');
    await until('it was done', async () => (await cache.object()).status?.lastReconcile === 'revoke-1');
    await cache.until('ConfigCurrent', 'True');
    assert.equal(await status(old), 401);
    const next = await cache.token();
    assert.notEqual(hashToken(next), hashToken(old));
    assert.equal(await status(next), 200);
    const { configHash, pods = [] } = (await cache.object()).status ?? {};
    assert.notEqual(configHash, before);
    assert.deepEqual(
      pods.map(({ name, config }) => [name, config]),
      [['main-0', 'Current']],
    );
  });
});
