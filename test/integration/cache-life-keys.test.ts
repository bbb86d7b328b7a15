// Keys that are lost, restored and replaced, and pods that cannot start: what stays up, what is said, what heals.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { generateSecretKey, parseSecretKey } from '../../server/nix/index.ts';
import { LivingCache, Watcher } from '../support/living-cache.ts';
import { secretText, type Value } from '../support/manifests.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { NixClient, nixLabelled } from '../support/nix.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { until } from '../support/server.ts';
import { sharedCluster } from '../support/shared-cluster.ts';

describeWith(['kubernetes', 'nix'], 'the life of a cache: its keys', () => {
  let cache: LivingCache;
  let published: TestPath;

  before(async () => {
    cache = await LivingCache.start(await sharedCluster(), { storages });
    published = makePath();
    await pushByPut(cache, published);
  });
  after(() => cache?.remove());

  const storages: Value[] = [{ name: 'disk', local: {} }];

  for (const [key, words] of [
    ['signing', 'signing key'],
    ['root', 'root key'],
  ] as const)
    describe(`of which the ${words} is lost`, () => {
      const name = `main-${key}-key`;
      let backup: string;

      /** What must hold as long as it is lost. */
      async function assertPullsOnly(): Promise<void> {
        assert.ok(await isServed(cache, published));
        for (const push of [pushByPut, pushByCachix])
          await assert.rejects(push(cache, makePath()), (error: { status: number; text: string }) => {
            assert.equal(error.status, 409);
            assert.match(error.text, /^this cache takes no pushes: /);
            return true;
          });
        const { reason, message } = await cache.until('KeysReady', 'False', 'SecretMissing');
        assert.match(message, new RegExp(`^Secret ${name} \\(${words}\\) is missing and is not generated again`));
        await cache.until('Ready', 'False', reason);
        await cache.until('Available', 'True');
      }

      it('it goes on serving, takes no pushes, and says why', async () => {
        backup = await cache.kubectl('get', 'secret', name, '-o', 'json');
        const before = await cache.life();
        await cache.kubectl('delete', 'secret', name);
        await until('the server misses it', async () => (await cache.server()).caches[0]?.keysLost !== null);
        await assertPullsOnly();
        assert.deepEqual(await cache.life(), before);
      });

      it('it does so in a new pod too', async () => {
        await cache.replacePod();
        await assertPullsOnly();
      });

      it('it heals without a restart when the Secret is restored', async () => {
        const before = await cache.life();
        const { metadata, ...rest } = JSON.parse(backup);
        const { labels } = metadata;
        await cache.cluster.apply(cache.namespace, JSON.stringify({ ...rest, metadata: { name, labels } }));
        await cache.until('Ready', 'True');
        await pushByPut(cache, makePath());
        assert.deepEqual(await cache.life(), before);
      });
    });

  describe('that are replaced', () => {
    let folder: string;
    let nix: NixClient;
    before(async () => {
      folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-keys-'));
      const env = { http_proxy: cache.cluster.services.url };
      nix = new NixClient({ version: await nixLabelled('2.34'), dir: path.join(folder, 'client'), env });
    });
    after(async () => {
      await nix.remove();
      await rm(folder, { recursive: true, force: true });
    });

    /** Whether a client takes a path who trusts this key alone. */
    async function isTrusted(storePath: string, key: string): Promise<boolean> {
      const reader = nix.fresh('reader');
      const { code } = await reader.realise([storePath], { substituters: [cache.serviceUrl], trustedKeys: [key] });
      await reader.remove();
      return code === 0;
    }

    /** A path that nix believes by its signature only: it is not content-addressed. */
    async function pushed(): Promise<string> {
      const it = makePath();
      await pushByPut(cache, it);
      return it.storePath;
    }

    it('sign side by side until the old one is removed', async () => {
      const [old = ''] = (await cache.object()).status?.publicKeys ?? [];
      const before = await pushed();
      const second = generateSecretKey(`main.${cache.namespace}-2`);
      const { publicKey } = parseSecretKey(second);
      await cache.cluster.apply(cache.namespace, secretText('second', { 'signing-key': second }));
      const refs = [{ name: 'main-signing-key' }, { name: 'second' }];
      await cache.applied({ storages, signing: { secretRefs: refs } });
      assert.deepEqual((await cache.object()).status?.publicKeys, [old, publicKey]);

      const between = await pushed();
      for (const storePath of [before, between])
        for (const key of [old, publicKey]) assert.ok(await isTrusted(storePath, key), `${storePath} by ${key}`);

      await cache.applied({ storages, signing: { secretRefs: [{ name: 'second' }] } });
      assert.deepEqual((await cache.object()).status?.publicKeys, [publicKey]);
      const after = await pushed();
      for (const storePath of [before, between, after]) assert.ok(await isTrusted(storePath, publicKey), storePath);
      assert.ok(!(await isTrusted(after, old)));
      // A key is never thrown away: who goes back to it finds it.
      await cache.applied({ storages });
      assert.ok(await isTrusted(after, old));
    });

    it('are one of its own once it is no more up to those who push', async () => {
      const own = await LivingCache.start(await sharedCluster(), { storages, signing: { mode: 'SelfSigned' } });
      try {
        await own.applied({ storages });
        const [key = ''] = (await own.object()).status?.publicKeys ?? [];
        const it = makePath();
        await pushByPut(own, it);
        const text = await (await fetch(`${own.api()}/${it.hashPart}.narinfo`)).text();
        assert.match(text, new RegExp(`^Sig: ${key.split(':')[0]}:`, 'm'));
        assert.equal((await own.condition('KeysReady'))?.status, 'True');
      } finally {
        await own.remove();
      }
    });

    it('are refused when they are none', async () => {
      await cache.cluster.apply(cache.namespace, secretText('broken', { 'signing-key': 'not a key' }));
      await cache.apply({ storages, signing: { secretRefs: [{ name: 'main-signing-key' }, { name: 'broken' }] } });
      const { message } = await cache.until('Ready', 'False', 'SecretInvalid');
      assert.match(message, /^Secret broken \(signing key\): signing-key is not a signing key in the form of Nix/);
      await cache.applied({ storages });
    });
  });

  describe('and its pods, which cannot start', () => {
    for (const [title, spec, words] of [
      ['with an image that is not there', { image: 'missing:1' }, /^main-0: ErrImagePull: .*missing:1: not found/],
      [
        'with a setting that the server refuses',
        { podTemplate: { spec: { env: [{ name: 'NARWHAL_LOG_LEVEL', value: 'shout' }] } } },
        /^main-0: (CrashLoopBackOff: .*|it does not stay up: )\(?it ended with exit code 1; kubectl logs --previous tells why\)?$/,
      ],
    ] as const)
      it(`${title}, say so, and a mended manifest is all that it takes`, async () => {
        await cache.apply({ storages, ...spec });
        const { message } = await cache.until('Ready', 'False', 'PodFailing');
        assert.match(message, words);
        await cache.until('Available', 'False');
        await until('kubectl tells it', async () =>
          /^main +False +PodFailing +0 /m.test(await cache.kubectl('get', 'bc', 'main')),
        );
        const watcher = new Watcher(cache);
        await cache.applied({ storages });
        await watcher.stop();
        assert.equal(watcher.pods.size, 1);
        assert.ok(await isServed(cache, published));
      });
  });
});
