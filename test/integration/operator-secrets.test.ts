// Keys and tokens of caches: given, generated, lost, found again. The operator may not watch Secrets: it looks.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { generateToken, hashToken } from '../../crds/index.ts';
import { kinds } from '../../operator/runtime/index.ts';
import { generateSecretKey } from '../../server/nix/index.ts';
import { BINARY_CACHE } from '../support/cache-conditions.ts';
import { CacheNamespace, type Found } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import type { Value } from '../support/manifests.ts';
import { describeWith } from '../support/needs.ts';
import type { Operator } from '../support/operator.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const TOKEN = { name: 'push', permissions: ['Write'] };

interface Trouble {
  readonly title: string;
  readonly spec: Value;
  /** Content of the Secret `given`; undefined: there is none. */
  readonly wrong: Readonly<Record<string, string>> | undefined;
  readonly right: Readonly<Record<string, string>>;
  readonly reason: 'SecretMissing' | 'SecretInvalid';
  readonly message: RegExp;
}

const signingKey = { 'signing-key': generateSecretKey('given-1') };
const signing = { signing: { secretRefs: [{ name: 'given' }] } };
const rootKey = { 'root.key': randomBytes(32).toString('base64') };
const bucket = { name: 'bucket', s3: { bucket: 'nix', credentialsSecretRef: { name: 'given' } } };

const troubles: readonly Trouble[] = [
  {
    title: 'a signing key that is missing',
    spec: signing,
    wrong: undefined,
    right: signingKey,
    reason: 'SecretMissing',
    message: /^Secret given \(signing key\) is missing$/,
  },
  {
    title: 'a Secret without the key that is asked for',
    spec: signing,
    wrong: { another: 'a' },
    right: signingKey,
    reason: 'SecretMissing',
    message: /^Secret given \(signing key\) has no key signing-key$/,
  },
  {
    title: 'a signing key that is none',
    spec: signing,
    wrong: { 'signing-key': 'a text' },
    right: signingKey,
    reason: 'SecretInvalid',
    message: /^Secret given \(signing key\): signing-key is not a signing key in the form of Nix/,
  },
  {
    title: 'a root key that is too short',
    spec: { rootSecretRef: { name: 'given' } },
    wrong: { 'root.key': 'c2hvcnQ=' },
    right: rootKey,
    reason: 'SecretInvalid',
    message: /^Secret given \(root key\): root\.key is neither 32 bytes nor their base64$/,
  },
  {
    title: 'a token that is missing',
    spec: { tokens: [{ ...TOKEN, secretRef: { name: 'given', key: 'token' } }] },
    wrong: undefined,
    right: { token: generateToken() },
    reason: 'SecretMissing',
    message: /^Secret given \(token push\) is missing$/,
  },
  {
    title: 'credentials of a bucket that are half there',
    spec: { storages: [bucket] },
    wrong: { accessKeyId: 'a' },
    right: { accessKeyId: 'a', secretAccessKey: 'b' },
    reason: 'SecretMissing',
    message: /^Secret given \(credentials of a bucket\) has no key secretAccessKey$/,
  },
];

describeWith('kubernetes', 'the keys and tokens of a cache', () => {
  let namespace: CacheNamespace;
  let operator: Operator;

  before(async () => {
    const kubernetes = await sharedKubernetes();
    await installCrds(kubernetes);
    namespace = await CacheNamespace.make(kubernetes, 'secrets');
    operator = await namespace.operator({
      args: ['--status-interval', '0.5', '--secrets-interval', '0.5', '--tokens-interval', '0.5'],
    });
  });
  after(() => namespace?.remove());

  const secretNames = async (cache: string) => Object.keys(await namespace.secrets(cache)).sort();
  /** What the servers are told. */
  const config = async (cache: string) =>
    (await namespace.get(kinds.ConfigMap, `${cache}-config`)).data?.['cache.yaml'] ?? '';
  const publicKeys = async (cache: string) => (await namespace.get(BINARY_CACHE, cache)).status?.publicKeys;
  const settledCache = async (name: string, spec: Value = { tokens: [TOKEN] }) => {
    await namespace.cache(name, spec);
    await namespace.settled(name);
  };

  for (const [index, { title, spec, wrong, right, reason, message }] of troubles.entries()) {
    it(`are told to be lacking by ${title}, and to be well once it is there`, async () => {
      const name = `given${index}`;
      if (wrong) await namespace.secret('given', wrong);
      await namespace.cache(name, spec);
      const lacking = await namespace.until(name, 'KeysReady', 'False', reason);
      assert.match(lacking.message, message);
      await namespace.until(name, 'Ready', 'False', reason);
      // Nothing is generated in its place.
      const generated = ['root-key', 'signing-key'].map((key) => `${name}-${key}`);
      const given = spec.rootSecretRef ? 'root-key' : spec.signing ? 'signing-key' : undefined;
      assert.deepEqual(
        await secretNames(name),
        generated.filter((it) => it !== `${name}-${given}`),
      );
      await namespace.secret('given', right);
      await namespace.until(name, 'KeysReady', 'True');
      await namespace.settled(name);
      if (spec.tokens) assert.match(await config(name), new RegExp(`sha256: ${hashToken(right.token ?? '')}`));
      await namespace.delete(BINARY_CACHE, name);
      await namespace.delete(kinds.Secret, 'given');
    });
  }

  it('are not in the manifest of the servers', async () => {
    await settledCache('hidden');
    const text = await config('hidden');
    for (const [name, data] of Object.entries(await namespace.secrets('hidden')))
      for (const value of Object.values(data ?? {}))
        assert.ok(!text.includes(Buffer.from(value, 'base64').toString().trim()), name);
  });

  it('are made once more where a token was deleted, and nothing else changes', async () => {
    await settledCache('token');
    const tokenOf = async () =>
      Buffer.from((await namespace.find(kinds.Secret, 'token-token-push'))?.data?.token ?? '', 'base64').toString();
    const [before, old] = [await namespace.versions('token'), await tokenOf()];
    await namespace.delete(kinds.Secret, 'token-token-push');
    await until('there is a new token', async () => /^nwl_/.test(await tokenOf()));
    assert.notEqual(await tokenOf(), old);
    const hash = hashToken(await tokenOf());
    await until('the servers are told its hash', async () => (await config('token')).includes(hash));
    assert.ok(!(await config('token')).includes(hashToken(old)));
    await operator.untilReconciled(3);
    const after = await namespace.versions('token');
    const changed = Object.keys(after).filter((key) => after[key] !== before[key]);
    assert.deepEqual(changed.filter((key) => key !== 'BinaryCache').sort(), [
      'ConfigMap/token-config',
      'Secret/token-token-push',
    ]);
  });

  for (const [use, key] of [
    ['signing', 'signing-key'],
    ['root', 'root-key'],
  ] as const) {
    it(`are not made once more where the ${use} key was deleted, and are well when it is restored`, async () => {
      await settledCache(use);
      const name = `${use}-${key}`;
      const [{ apiVersion, kind, metadata, data, ...rest }, keys] = [
        await namespace.get(kinds.Secret, name),
        await publicKeys(use),
      ];
      await namespace.delete(kinds.Secret, name);
      const { message } = await namespace.until(use, 'KeysReady', 'False', 'SecretMissing');
      assert.match(message, new RegExp(`^Secret ${name} .* is not generated again, .* restore it from a backup`));
      await operator.untilReconciled(5);
      assert.equal(await namespace.find(kinds.Secret, name), undefined);
      assert.deepEqual(await publicKeys(use), keys);
      assert.ok(await namespace.find(kinds.StatefulSet, use));
      const { labels } = metadata;
      await namespace.apply({ apiVersion, kind, metadata: { name, labels }, data, ...rest });
      await namespace.until(use, 'KeysReady', 'True');
      await namespace.settled(use);
      assert.deepEqual(await publicKeys(use), keys);
    });
  }

  it('and the volumes go with the cache or stay, as it says at any time', async () => {
    await settledCache('policy');
    const uid = (await namespace.get(BINARY_CACHE, 'policy')).metadata.uid;
    const held = [
      'PersistentVolumeClaim/policy-db',
      'PersistentVolumeClaim/policy-disk',
      'Secret/policy-root-key',
      'Secret/policy-signing-key',
    ];
    const ownersOf = (found: ReadonlyMap<string, Found>) =>
      held.map((key) => (found.get(key)?.metadata.ownerReferences ?? []).map((owner) => owner.uid).join());
    const untilOwners = (owner: string) =>
      until(`all have the owner "${owner}"`, async () =>
        ownersOf(await namespace.objects('policy')).every((it) => it === owner),
      );
    const contents = await namespace.secrets('policy');
    await untilOwners('');
    for (const reclaimPolicy of ['Delete', 'Retain', 'Delete', 'Retain']) {
      await namespace.cache('policy', { tokens: [TOKEN], reclaimPolicy });
      await untilOwners(reclaimPolicy === 'Delete' ? uid : '');
    }
    assert.deepEqual(await namespace.secrets('policy'), contents);
  });
});
