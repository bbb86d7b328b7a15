/** A pod whose cache has all its keys in mounted Secrets, and what it looks like while one of them is missing. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { generateToken } from '../../crds/index.ts';
import { generateSecretKey, parseSecretKey } from '../../server/nix/index.ts';
import { makePath, type TestPath } from './nars.ts';
import { Pod, type PodInit } from './pod.ts';
import { isServed, pushByCachix, pushByPut, Refusal } from './push.ts';
import { cacheManifest, until } from './server.ts';

const token = generateToken();
const signingKey = generateSecretKey('main.cache.example.org-1');

/** Values by the name of their Secret. */
export const podSecrets = {
  tokens: { push: token },
  'main-root': { 'root.key': randomBytes(32).toString('base64') },
  'main-signing': { key: signingKey },
};

export const podPublicKey = parseSecretKey(signingKey).publicKey;

export const podKeys =
  'rootSecretRef: {name: main-root, key: root.key}\nsigning: {secretRefs: [{name: main-signing, key: key}]}\n';

/** A cache `main`. @param spec further lines of it, `podKeys` first. @param storages lines of a list */
export function podManifest(spec = podKeys, storages = '  - {name: disk, local: {}}\n'): string {
  const tokens = '  - {name: push, permissions: [Write], secretRef: {name: tokens, key: push}}\n';
  return cacheManifest('main', `${spec}storages:\n${storages}tokens:\n${tokens}`);
}

export function startPod(init: Partial<PodInit> = {}): Promise<Pod> {
  return Pod.start({ manifest: podManifest(), secrets: podSecrets, tokens: podSecrets.tokens, ...init });
}

/** Ends a pod that may have any of the Secrets above, none of which may be in its log. */
export async function removePod(pod: Pod): Promise<void> {
  const { output } = pod.server;
  await pod.remove();
  const values = [token, podSecrets['main-root']['root.key'], signingKey.slice(signingKey.indexOf(':') + 1)];
  for (const value of values) assert.ok(!output.includes(value), 'no value is in the log');
}

/** Which key is missing; undefined: none. */
export async function lostKeys(pod: Pod): Promise<string | undefined> {
  return (await pod.status()).caches[0]?.keysLost ?? undefined;
}

export function untilMended(pod: Pod): Promise<void> {
  return until('the keys are there', async () => (await lostKeys(pod)) === undefined);
}

export function untilLost(pod: Pod): Promise<void> {
  return until('a key is missed', async () => (await lostKeys(pod)) !== undefined);
}

/** Pulls go on, both kinds of push are refused with the reason, probes and people are told. */
export async function isFrozen(pod: Pod, published: TestPath | undefined, reason: RegExp): Promise<void> {
  if (published !== undefined) assert.ok(await isServed(pod.server, published));
  for (const push of [pushByPut, pushByCachix])
    await assert.rejects(push(pod.server, makePath()), (error) => {
      assert.ok(error instanceof Refusal && error.status === 409, String(error));
      assert.match(error.text, /^this cache takes no pushes: /);
      assert.match(error.text, reason);
      return true;
    });
  assert.match((await lostKeys(pod)) ?? '', reason);
  const verbose = await fetch(`${pod.server.adminUrl}/readyz?verbose`);
  assert.equal(verbose.status, 200);
  assert.match(await verbose.text(), /^\[!\] cache main signing key: .*there is no Secret/m);
}
