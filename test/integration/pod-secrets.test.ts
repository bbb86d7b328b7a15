// Secrets that are mounted into the server: found by name, read again when they change, missed with a sentence.
import assert from 'node:assert/strict';
import { generateToken } from '../../crds/index.ts';
import { generateSecretKey, parseSecretKey } from '../../server/nix/index.ts';
import { runCli } from '../support/cli.ts';
import { makePath } from '../support/nars.ts';
import type { Pod } from '../support/pod.ts';
import {
  isFrozen,
  lostKeys,
  podManifest,
  podPublicKey,
  podSecrets,
  removePod,
  startPod,
  untilLost,
  untilMended,
} from '../support/pod-keys.ts';
import { pushByCachix, pushByPut } from '../support/push.ts';
import { until } from '../support/server.ts';

describe('mounted Secrets', () => {
  let pod: Pod;
  afterEach(() => removePod(pod));

  const without = (...names: readonly string[]) =>
    Object.fromEntries(Object.entries(podSecrets).map(([name, values]) => [name, names.includes(name) ? {} : values]));

  it('are found whatever the namespace of the cache, and give way to those of the manifest', async () => {
    const own = generateToken();
    const manifest = podManifest().replace('  name: main', '  name: main\n  namespace: team');
    pod = await startPod({ manifest });
    await pushByPut(pod.server, makePath());
    const secret = `apiVersion: v1\nkind: Secret\nmetadata: {name: tokens, namespace: team}\nstringData: {push: ${own}}\n`;
    await pod.apply(`${manifest}---\n${secret}`);
    await assert.rejects(pushByPut(pod.server, makePath()), { status: 401 });
  });

  it('are taken over when they change', async () => {
    pod = await startPod();
    const published = makePath();
    await pushByPut(pod.server, published);
    const next = generateToken();
    const read = (text: string) =>
      fetch(`${pod.server.api()}/${published.narUrl}`, { method: 'PUT', headers: { authorization: `Bearer ${text}` } });
    await pod.setSecret('tokens', { push: next });
    await until('the old token is unknown', async () => (await read(podSecrets.tokens.push)).status === 401);
    assert.equal((await read(next)).status, 405);
    assert.equal((await pod.status()).config.error, null);
  });

  it('with tokens must be there: the last good state stays, and a server does not start', async () => {
    pod = await startPod();
    await pod.setSecret('tokens', {});
    await until('it is missed', async () =>
      /there is no Secret "tokens"/.test((await pod.status()).config.error ?? ''),
    );
    await pushByPut(pod.server, makePath());
    await pod.server.stop();
    const { code, stderr } = await runCli([], { env: pod.env });
    assert.equal(code, 1);
    assert.match(stderr, /cache\.yaml:\d+: spec\.tokens\[0\]\.secretRef: there is no Secret "tokens"/);
  });

  it('with keys that are missing at the start freeze the cache, and nothing is made instead', async () => {
    pod = await startPod({ secrets: without('main-signing', 'main-root') });
    await isFrozen(
      pod,
      undefined,
      /there is no Secret "main-root" .*; signing\.secretRefs: there is no Secret "main-signing"/,
    );
    assert.deepEqual((await pod.status()).caches[0]?.publicKeys, []);
    await pod.setSecret('main-signing', podSecrets['main-signing']);
    await until('one is back', async () => !/main-signing/.test((await lostKeys(pod)) ?? ''));
    await isFrozen(pod, undefined, /"main-root"/);
    await pod.setSecret('main-root', podSecrets['main-root']);
    await untilMended(pod);
    for (const push of [pushByPut, pushByCachix]) await push(pod.server, makePath());
    assert.deepEqual((await pod.status()).caches[0]?.publicKeys, [podPublicKey]);
  });

  for (const name of ['main-signing', 'main-root'] as const) {
    it(`freeze the cache when ${name} goes away, until it is back`, async () => {
      pod = await startPod();
      const published = makePath();
      await pushByPut(pod.server, published);
      await pod.setSecret(name, {});
      await untilLost(pod);
      await isFrozen(pod, published, new RegExp(`there is no Secret "${name}"`));
      await pod.server.stop();
      await pod.server.restart();
      await isFrozen(pod, published, new RegExp(`there is no Secret "${name}"`));
      await pod.setSecret(name, podSecrets[name]);
      await untilMended(pod);
      await pushByCachix(pod.server, makePath());
    });
  }

  it('with keys that only a new manifest names come with the next pod: until then the present keys sign', async () => {
    pod = await startPod();
    const refs = '[{name: later, key: key}, {name: main-signing, key: key}]';
    const root = 'rootSecretRef: {name: main-root, key: root.key}\n';
    // A second change of the manifest does not make them ones that were there.
    for (const priority of [51, 52]) {
      await pod.apply(podManifest(`${root}signing: {secretRefs: ${refs}}\npriority: ${priority}\n`));
      await until('the new manifest runs', async () => {
        const info = await fetch(`${pod.server.api()}/nix-cache-info`, { headers: await pod.server.auth('push') });
        return (await info.text()).includes(`Priority: ${priority}\n`);
      });
      for (const push of [pushByPut, pushByCachix]) await push(pod.server, makePath());
      const { caches, config } = await pod.status();
      assert.deepEqual([caches[0]?.keysLost, caches[0]?.publicKeys, config.error], [null, [podPublicKey], null]);
    }
    assert.match(pod.server.output, /there is no Secret \\"later\\"/);
    const next = generateSecretKey('main.cache.example.org-2');
    await pod.setSecret('later', { key: next });
    await until('both sign', async () => (await pod.status()).caches[0]?.publicKeys.length === 2);
    assert.deepEqual((await pod.status()).caches[0]?.publicKeys, [parseSecretKey(next).publicKey, podPublicKey]);
    // One that was there and goes is missed.
    await pod.setSecret('later', {});
    await untilLost(pod);
  });

  it('that no manifest names any more sign nothing, whatever else is awaited', async () => {
    const old = generateSecretKey('main.cache.example.org-0');
    const refs = (other: string) =>
      `signing: {secretRefs: [{name: ${other}, key: key}, {name: main-signing, key: key}]}\n`;
    pod = await startPod({ manifest: podManifest(refs('old')), secrets: { ...podSecrets, old: { key: old } } });
    const { publicKeys } = (await pod.status()).caches[0] ?? {};
    assert.deepEqual(publicKeys, [parseSecretKey(old).publicKey, podPublicKey]);
    await pod.apply(podManifest(refs('later')));
    await until('the new manifest runs', () => /there is no Secret \\"later\\"/.test(pod.server.output));
    await until('one key signs', async () => (await pod.status()).caches[0]?.publicKeys.length === 1);
    const { caches } = await pod.status();
    assert.deepEqual([caches[0]?.keysLost, caches[0]?.publicKeys], [null, [podPublicKey]]);
    const it = makePath();
    await pushByPut(pod.server, it);
    const headers = await pod.server.auth('push');
    const narinfo = await (await fetch(`${pod.server.api()}/${it.hashPart}.narinfo`, { headers })).text();
    assert.deepEqual(narinfo.match(/^Sig: [^:]+/gm), [`Sig: ${podPublicKey.split(':')[0]}`]);
  });

  it('freeze the cache when one of several keys is missing', async () => {
    const keys = 'signing: {secretRefs: [{name: main-signing, key: key}, {name: main-signing, key: next}]}\n';
    pod = await startPod({ manifest: podManifest(keys) });
    assert.match((await lostKeys(pod)) ?? '', /Secret "main-signing" has no key "next"; it has key/);
    await assert.rejects(pushByPut(pod.server, makePath()), { status: 409 });
    const next = generateSecretKey('main.cache.example.org-2');
    await pod.setSecret('main-signing', { ...podSecrets['main-signing'], next });
    await untilMended(pod);
    assert.deepEqual((await pod.status()).caches[0]?.publicKeys, [podPublicKey, parseSecretKey(next).publicKey]);
  });
});
