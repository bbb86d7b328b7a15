// The end of a cache, and what may come after it: what is kept comes back, what is thrown away is gone.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { LivingCache } from '../support/living-cache.ts';
import type { Value } from '../support/manifests.ts';
import { makePath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { NixClient, nixLabelled } from '../support/nix.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { until } from '../support/server.ts';
import { sharedCluster } from '../support/shared-cluster.ts';

const storages: Value[] = [{ name: 'disk', local: {} }];

describeWith(['kubernetes', 'nix'], 'the life of a cache: its end', () => {
  let cache: LivingCache;
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-end-'));
    cache = await LivingCache.start(await sharedCluster(), { storages });
  });
  afterEach(async () => {
    await cache?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  /** Deletes the cache and waits until only these are left of it. */
  async function deleteAll(left: readonly string[]): Promise<void> {
    await cache.kubectl('delete', 'bc', 'main');
    const kinds = 'sts,pods,services,configmaps,secrets,pvc,serviceaccounts,pdb,networkpolicies';
    const own = async () => {
      const text = await cache.kubectl('get', kinds, '-l', 'narwhal.dev/cache=main', '-o', 'name');
      return text.split('\n').filter(Boolean).sort();
    };
    await until('the rest is gone', async () => (await own()).length <= left.length);
    assert.deepEqual(await own(), left);
  }

  it('leaves data and keys, which the next of its name takes over', async () => {
    const paths = [makePath(), makePath()];
    for (const [index, it] of paths.entries()) await (index === 0 ? pushByPut : pushByCachix)(cache, it);
    const { publicKeys = [] } = (await cache.object()).status ?? {};
    const token = await cache.token();
    await deleteAll([
      'persistentvolumeclaim/main-db',
      'persistentvolumeclaim/main-disk',
      'secret/main-root-key',
      'secret/main-signing-key',
    ]);

    await cache.applied({ storages });
    assert.deepEqual((await cache.object()).status?.publicKeys, publicKeys);
    assert.notEqual(await cache.token(), token, 'who may push is not kept');
    for (const it of paths) assert.ok(await isServed(cache, it));
    await pushByPut(cache, makePath());
    const env = { http_proxy: cache.cluster.services.url };
    const nix = new NixClient({ version: await nixLabelled('2.34'), dir: path.join(folder, 'reader'), env });
    const init = { substituters: [cache.serviceUrl], trustedKeys: publicKeys };
    const { code, stderr } = await nix.realise(
      paths.map((it) => it.storePath),
      init,
    );
    assert.equal(code, 0, stderr);
    await nix.remove();
  });

  it('makes no second key for what was signed with a first one that is gone', async () => {
    await pushByPut(cache, makePath());
    await deleteAll([
      'persistentvolumeclaim/main-db',
      'persistentvolumeclaim/main-disk',
      'secret/main-root-key',
      'secret/main-signing-key',
    ]);
    await cache.kubectl('delete', 'secret', 'main-signing-key');
    await cache.apply({ storages });
    const { message } = await cache.until('Ready', 'False', 'SecretMissing');
    assert.match(message, /^Secret main-signing-key .* is not generated again, since clients trust the old key/);
    await cache.until('Available', 'True');
    await assert.rejects(pushByPut(cache, makePath()), { status: 409 });
  });

  it('takes everything along where the manifest says so, whenever it came to say so', async () => {
    await pushByPut(cache, makePath());
    await cache.applied({ storages, reclaimPolicy: 'Delete' });
    await deleteAll([]);
    await cache.applied({ storages });
    assert.equal((await cache.server()).caches[0]?.paths, 0);
  });
});
