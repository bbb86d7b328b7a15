// What an edit of the manifest does to running pods: most are taken over while they run, some restart them once.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { generateToken } from '../../crds/index.ts';
import { LivingCache, PUSH, Watcher } from '../support/living-cache.ts';
import { secretText, type Value } from '../support/manifests.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { send } from '../support/raw-http.ts';
import { until } from '../support/server.ts';
import { sharedCluster } from '../support/shared-cluster.ts';

const disks = (...disks: Value[]) => disks.map((fields) => ({ local: {}, ...fields }));
const TWO = disks({ name: 'first' }, { name: 'second' });

describeWith('kubernetes', 'the life of a cache: an edit of its manifest', () => {
  let cache: LivingCache;
  let published: TestPath;
  let given: string;

  before(async () => {
    given = generateToken();
    cache = await LivingCache.start(
      await sharedCluster(),
      { storages: TWO, tokens: [PUSH, GIVEN] },
      { before: [secretText('given', { token: given })] },
    );
    published = makePath();
    await pushByPut(cache, published);
  });
  after(() => cache?.remove());

  const GIVEN: Value = { name: 'given', permissions: ['Read'], secretRef: { name: 'given', key: 'token' } };
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  const narinfo = async (headers: Record<string, string> = {}) =>
    (await fetch(`${cache.api()}/${published.hashPart}.narinfo`, { headers })).status;
  /** Bytes in a storage, as the server counts them. */
  const usedBy = async (name: string) =>
    (await cache.server()).caches[0]?.storages.find((it) => it.name === name)?.usedBytes ?? 0;

  describe('that servers take over', () => {
    /** Applies it and waits: nothing restarts, and the server runs exactly what the ConfigMap holds. */
    async function reload(spec: Value): Promise<void> {
      const before = await cache.life();
      const watcher = new Watcher(cache);
      await cache.applied({ storages: TWO, ...spec });
      await watcher.stop();
      assert.match(watcher.ready.join(', '), /(False|Unknown) Progressing, True Ready$/);
      assert.deepEqual(await cache.life(), before);
      const { data } = JSON.parse(await cache.kubectl('get', 'configmap', 'main-config', '-o', 'json'));
      const sha256 = createHash('sha256').update(data['cache.yaml']).digest('hex');
      assert.deepEqual((await cache.server()).config, { files: [{ name: 'cache.yaml', sha256 }], error: null });
    }

    it('who may read', async () => {
      assert.equal(await narinfo(), 200);
      await reload({ access: 'Private', tokens: [PUSH, GIVEN] });
      assert.equal(await narinfo(), 404);
      assert.equal(await narinfo(bearer(given)), 200);
      assert.equal(await narinfo(bearer(generateToken())), 401);
    });

    it('a token that comes with a Secret of its own, and goes', async () => {
      const ci = { name: 'ci', permissions: ['Write'] };
      await reload({ access: 'Private', tokens: [PUSH, GIVEN, ci] });
      const token = await cache.token('ci');
      assert.equal(await narinfo(bearer(token)), 200);
      await pushByCachix(cache.with('ci'), makePath());
      await reload({ access: 'Private', tokens: [PUSH, GIVEN] });
      assert.equal(await narinfo(bearer(token)), 401);
    });

    it('a token whose Secret is replaced', async () => {
      const before = await cache.life();
      const next = generateToken();
      await cache.cluster.apply(cache.namespace, secretText('given', { token: next }));
      await until('the new one counts', async () => (await narinfo(bearer(next))) === 200);
      assert.equal(await narinfo(bearer(given)), 401);
      assert.deepEqual(await cache.life(), before);
      given = next;
    });

    it('a generated token whose Secret is deleted, by which it is replaced', async () => {
      const before = await cache.life();
      const old = await cache.token();
      await cache.kubectl('delete', 'secret', 'main-token-push');
      await until('there is another one', async () => {
        const token = await cache.token().catch(() => old);
        return token !== old && (await narinfo(bearer(token))) === 200;
      });
      assert.equal(await narinfo(bearer(old)), 401);
      assert.deepEqual(await cache.life(), before);
    });

    it('its rank among caches', async () => {
      await reload({ priority: 30 });
      assert.match(await (await fetch(`${cache.api()}/nix-cache-info`)).text(), /^Priority: 30$/m);
    });

    it('a host of its own', async () => {
      const uriAt = async (host: string) =>
        JSON.parse((await send(cache.url, '/api/v1/cache/main', { headers: { host } })).text).uri;
      for (const host of ['nix.example.org', 'new.example.org']) {
        await reload({ ingress: { host, tlsSecretName: 'tls' } });
        assert.equal(await uriAt(host), `https://${host}`);
      }
      assert.notEqual(await uriAt('nix.example.org'), 'https://nix.example.org');
    });

    it('where new objects go', async () => {
      await pushByPut(cache, makePath());
      assert.equal(await usedBy('second'), 0);
      await reload({ strategy: 'RoundRobin' });
      for (let n = 0; n < 2; n++) await pushByPut(cache, makePath());
      assert.ok((await usedBy('second')) > 0);
    });

    it('which storages take anything new', async () => {
      await reload({ storages: disks({ name: 'first', mode: 'ReadOnly' }, { name: 'second' }) });
      const [first, second] = [await usedBy('first'), await usedBy('second')];
      await pushByPut(cache, makePath());
      assert.equal(await usedBy('first'), first);
      assert.ok((await usedBy('second')) > second);
      assert.ok(await isServed(cache, published));
      const before = await cache.life();
      await cache.apply({ storages: disks({ name: 'first', mode: 'ReadOnly' }, { name: 'second', capacity: 1 }) });
      const { message } = await cache.until('Ready', 'False', 'StorageFull');
      assert.match(message, /^storage second has no room: pushes are refused, pulls go on/);
      await assert.rejects(pushByPut(cache, makePath()), { status: 413 });
      assert.ok(await isServed(cache, published));
      assert.deepEqual(await cache.life(), before);
    });

    it('what is pinned, also what is not there yet', async () => {
      const coming = makePath();
      const pins = [
        { name: 'here', storePath: published.storePath },
        { name: 'coming', storePath: coming.storePath, keep: { revisions: 1 } },
      ];
      await reload({ pins });
      const before = await cache.life();
      const { message } = await cache.until('PinsPresent', 'False', 'PinMissing');
      assert.ok(message.endsWith(`: coming (${coming.storePath})`), message);
      await pushByPut(cache, coming);
      await cache.until('PinsPresent', 'True');
      const body = JSON.stringify({ name: 'here', storePath: coming.storePath });
      const pinned = await fetch(`${cache.api()}/pin`, { method: 'POST', headers: await cache.auth(), body });
      assert.equal(pinned.status, 409);
      await reload({ priority: 35 });
      await until('nothing is pinned', async () => (await cache.server()).caches[0]?.pins?.names === 0);
      assert.deepEqual(await cache.life(), before);
    });

    it('its limits', async () => {
      const query = async () => {
        const body = JSON.stringify([published.hashPart, makePath().hashPart]);
        return (await fetch(`${cache.api()}/narinfo`, { method: 'POST', headers: await cache.auth(), body })).status;
      };
      await reload({});
      assert.equal(await query(), 200);
      await reload({ limits: { maxQueryHashes: 1 } });
      assert.equal(await query(), 413);
    });

    it('all of it at once, as narwhal-operator plan has foretold', async () => {
      const spec = {
        access: 'Private',
        priority: 20,
        strategy: 'LeastUsed',
        compression: 'Xz',
        storages: disks({ name: 'first', mode: 'ReadOnly' }, { name: 'second', capacity: '5Gi' }),
        tokens: [GIVEN],
        limits: { moveRate: '1Mi' },
      };
      const planned = await cache.plan(spec);
      assert.equal(planned.code, 2, planned.stderr);
      assert.deepEqual(planned.stdout.match(/^# .*$/gm), [
        `# BinaryCache ${cache.namespace}/main: 2 steps`,
        '# change ConfigMap main-config: what is wanted has changed',
        '# delete Secret main-token-push: the token push was taken out of the manifest',
      ]);
      await reload(spec);
      const { code, stdout } = await cache.plan(spec);
      assert.deepEqual([code, stdout], [0, `# BinaryCache ${cache.namespace}/main: nothing to do\n`]);
      await reload({});
    });
  });

  describe('that restarts each pod once', () => {
    const IN = 'spec.containers[server]';

    /** Applies it and waits: what was foretold happens, once. */
    async function restart(spec: Value, because: readonly string[]): Promise<void> {
      const planned = await cache.plan(spec);
      assert.equal(planned.code, 2, planned.stderr);
      const [, foretold] = /^# change StatefulSet main: .*; pods restart because of (.*)$/m.exec(planned.stdout) ?? [];
      assert.equal(foretold, because.join(', '));
      const before = await cache.life();
      const watcher = new Watcher(cache);
      await cache.applied(spec);
      const { uid, restarts } = await cache.life();
      assert.ok(uid !== before.uid && restarts === 0);
      assert.ok(await isServed(cache, published));
      await watcher.stop();
      assert.deepEqual([...watcher.pods], [uid]);
    }

    it('another image', async () => {
      await restart({ storages: TWO, image: 'narwhal:other' }, [`${IN}.image`]);
      assert.equal((await cache.object()).status?.image, 'narwhal:other');
    });

    it('other resources', async () => {
      const resources = { requests: { cpu: '50m' }, limits: { memory: '2Gi' } };
      await restart({ storages: TWO, image: 'narwhal:other', podTemplate: { spec: { resources } } }, [
        `${IN}.resources.requests.cpu`,
        `${IN}.resources.requests.memory (removed)`,
        `${IN}.resources.limits.memory`,
      ]);
    });

    it('another environment, and what the manifest says no longer', async () => {
      const env = [{ name: 'NARWHAL_MAX_DOWNLOADS', value: '7' }];
      const resources = ['requests.cpu', 'requests.memory (added)', 'limits.memory'];
      await restart({ storages: TWO, podTemplate: { spec: { env } } }, [
        `${IN}.image`,
        `${IN}.env[NARWHAL_MAX_DOWNLOADS] (added)`,
        ...resources.map((it) => `${IN}.resources.${it}`),
      ]);
    });

    it('a storage on a volume of its own', async () => {
      await restart({ storages: [...TWO, ...disks({ name: 'third' })] }, [
        `${IN}.env[NARWHAL_MAX_DOWNLOADS] (removed)`,
        `${IN}.volumeMounts[/storages/third] (added)`,
        'spec.volumes[storage-third] (added)',
      ]);
      assert.equal((await cache.storage('third'))?.phase, 'Ready');
    });
  });
});
