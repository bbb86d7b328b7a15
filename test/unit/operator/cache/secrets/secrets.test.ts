import assert from 'node:assert/strict';
import { rootCertificates } from 'node:tls';
import { inspect } from 'node:util';
import { generateToken, hashToken } from '../../../../../crds/index.ts';
import { mountedSecrets, secretNeeds } from '../../../../../operator/cache/desired/secret-needs.ts';
import { generateSecret, ownership, signingKeyName } from '../../../../../operator/cache/secrets/generate.ts';
import { factsOf, viewOfNothing } from '../../../../../operator/cache/secrets/secrets.ts';
import type { Cache } from '../../../../../operator/cache/types.ts';
import type { Secret } from '../../../../../operator/runtime/index.ts';
import { generateSecretKey, parseSecretKey } from '../../../../../server/nix/index.ts';
import type { Value } from '../../../../support/manifests.ts';
import { cacheOf, inputsOf, secretOf, secretsOf, secretsView, stored } from '../../../../support/operator-fixtures.ts';
import { CACHES } from '../../../../tables/caches.ts';

const key = generateSecretKey('mine-1');
const token = generateToken();

/** A cache that is given one Secret `mine`, for one use. */
const GIVEN: Readonly<Record<string, Value>> = {
  root: { rootSecretRef: { name: 'mine', key: 'k' } },
  signing: { signing: { secretRefs: [{ name: 'mine', key: 'k' }] } },
  token: { tokens: [{ name: 'ci', permissions: ['Write'], secretRef: { name: 'mine', key: 'k' } }] },
  bucket: { storages: [{ name: 'b', s3: { bucket: 'nix', credentialsSecretRef: { name: 'mine' } } }] },
  database: onPostgres({ secretRef: { name: 'mine', key: 'k' } }),
  ca: onPostgres({
    secretRef: { name: 'pg' },
    tls: { mode: 'VerifyFull', caSecretRef: { name: 'mine', key: 'k' } },
  }),
};

function onPostgres(postgres: Value): Value {
  return { database: { postgres }, rootSecretRef: { name: 'r' }, signing: { secretRefs: [{ name: 's' }] } };
}

/** A use, what the Secret holds, and what is wrong with it; nothing where it is fine. */
const TABLE: readonly (readonly [string, Record<string, string | Buffer> | undefined, (readonly [string, RegExp])?])[] =
  [
    ['root', undefined, ['SecretMissing', /^Secret mine \(root key\) is missing$/]],
    ['root', {}, ['SecretMissing', /^Secret mine \(root key\) has no key k$/]],
    ['root', { k: Buffer.alloc(32, 200) }],
    ['root', { k: Buffer.alloc(32, 200).toString('base64') }],
    ['root', { k: `${Buffer.alloc(32, 200).toString('base64')}\n` }],
    [
      'root',
      { k: Buffer.alloc(31, 200).toString('base64') },
      ['SecretInvalid', /k is neither 32 bytes nor their base64/],
    ],
    ['root', { k: '' }, ['SecretInvalid', /k is empty/]],
    ['signing', undefined, ['SecretMissing', /signing key\) is missing/]],
    ['signing', { 'signing-key': key }, ['SecretMissing', /has no key k/]],
    ['signing', { k: key }],
    ['signing', { k: `${key}\n` }],
    ['signing', { k: key.slice(0, -4) }, ['SecretInvalid', /k is not a signing key in the form of Nix/]],
    ['signing', { k: parseSecretKey(key).publicKey }, ['SecretInvalid', /not a signing key/]],
    ['token', undefined, ['SecretMissing', /^Secret mine \(token ci\) is missing$/]],
    ['token', { k: token }],
    ['token', { k: '' }, ['SecretInvalid', /k is empty/]],
    ['token', { k: ' \n' }, ['SecretInvalid', /k is empty/]],
    ['bucket', { accessKeyId: 'a', secretAccessKey: 'b' }],
    ['bucket', { accessKeyId: 'a' }, ['SecretMissing', /credentials of a bucket\) has no key secretAccessKey/]],
    ['bucket', {}, ['SecretMissing', /has no key accessKeyId, secretAccessKey/]],
    ['database', { k: 'postgresql://db' }],
    ['database', { host: 'db', user: 'u', dbname: 'd' }],
    ['database', { host: 'db', username: 'u', database: 'd', password: 'p' }],
    ['database', { host: 'db', user: 'u' }, ['SecretMissing', /connection to PostgreSQL\) has no key k/]],
    ['token', { k: token.slice(0, -1) }, ['SecretInvalid', /k is a token of Narwhal .* something is missing/]],
    ['token', { k: 'two words' }, ['SecretInvalid', /k has white space/]],
    ['token', { k: Buffer.from([0xff, 0xfe]) }, ['SecretInvalid', /k is not text/]],
    ['bucket', { accessKeyId: '', secretAccessKey: 'b' }, ['SecretInvalid', /accessKeyId is empty/]],
    ['bucket', { accessKeyId: 'a', secretAccessKey: 'b\nb' }, ['SecretInvalid', /secretAccessKey has white space/]],
    [
      'bucket',
      { accessKeyId: 'a', secretAccessKey: 'b', sessionToken: '' },
      ['SecretInvalid', /sessionToken is empty/],
    ],
    ['database', { k: '\n' }, ['SecretInvalid', /k is empty/]],
    ['database', { host: 'db', user: 'u', dbname: 'd', password: '' }, ['SecretInvalid', /password is empty/]],
    ['ca', { k: rootCertificates[0] ?? '' }],
    ['ca', { k: (rootCertificates[0] ?? '').slice(0, 200) }, ['SecretInvalid', /k holds no whole certificate in PEM/]],
    ['ca', {}, ['SecretMissing', /CA of PostgreSQL\) has no key k/]],
  ];

/** A Secret of any bytes. */
function secretWith(content: Record<string, string | Buffer>): Secret {
  const data = Object.entries(content).map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
  return { ...secretOf('mine', {}), data: Object.fromEntries(data) };
}

describe('the Secrets that a cache was given', () => {
  for (const [use, content, problem] of TABLE) {
    const what = content ? inspect(Object.keys(content).map((name) => name)) : 'nothing';
    it(`are judged: a ${use} that holds ${what}${problem ? ` is ${problem[0]}` : ' is fine'}`, () => {
      const cache = cacheOf(GIVEN[use]);
      const others = secretsOf(cache).filter(({ metadata }) => metadata.name !== 'mine');
      const { problems } = secretsView(cache, content ? [...others, secretWith(content)] : others);
      assert.deepEqual(
        problems.map(({ need, reason }) => [need.name, reason]),
        problem ? [['mine', problem[0]]] : [],
      );
      if (problem) assert.match(problems[0]?.message ?? '', problem[1]);
    });
  }

  it('show nothing of their content, in errors neither', () => {
    const content = { k: 'TOP-SECRET', [`${token}`.slice(0, 8)]: 'x' };
    for (const use of Object.keys(GIVEN)) {
      const cache = cacheOf(GIVEN[use]);
      const view = secretsView(cache, [secretWith(content)]);
      assert.doesNotMatch(inspect(view, { depth: 20 }), /TOP-SECRET/);
      assert.doesNotMatch(inspect(factsOf(secretWith(content)), { depth: 20 }), /TOP-SECRET|VE9QLVNFQ1JFV/);
    }
  });
});

describe('what is known of Secrets', () => {
  it('are the hashes of tokens, of the text without white space around it', () => {
    const { tokenHashes } = secretsView(cacheOf(GIVEN.token), [secretWith({ k: ` ${token}\n` })]);
    assert.deepEqual([...tokenHashes], [['ci', hashToken(token)]]);
  });

  it('is no hash of a token that is given by its hash, or whose Secret cannot be used', () => {
    const byHash = cacheOf({ tokens: [{ name: 'ci', permissions: ['Read'], sha256: 'a'.repeat(64) }] });
    assert.equal(secretsView(byHash, secretsOf(byHash)).tokenHashes.size, 0);
    assert.equal(secretsView(cacheOf(GIVEN.token), [secretWith({ k: '' })]).tokenHashes.size, 0);
  });

  it('are the public keys of the keys that sign, in their order', () => {
    const cache = cacheOf({ signing: { secretRefs: [{ name: 'b' }, { name: 'a' }] } });
    const { publicKeys } = secretsView(cache, secretsOf(cache));
    assert.deepEqual(
      publicKeys.map((it) => it.split(':')[0]),
      ['b-1', 'a-1'],
    );
  });

  it('are the caches that own generated Secrets, and no other owners', () => {
    const cache = cacheOf({ tokens: [{ name: 'ci', permissions: ['Read'] }] });
    const other = { apiVersion: 'v1', kind: 'ConfigMap', name: 'x', uid: 'uid-of-x' };
    const secrets = secretsOf(cache).map(({ metadata, ...secret }) => ({
      ...secret,
      metadata: { ...metadata, ownerReferences: [...(metadata.ownerReferences ?? []), other] },
    }));
    assert.deepEqual(
      [...secretsView(cache, secrets).owners].map(([{ name }, uids]) => [name, uids]),
      [
        ['main-root-key', []],
        ['main-signing-key', []],
        ['main-token-ci', ['uid-of-main']],
      ],
    );
  });

  it('are no owners of Secrets that were given, or that somebody else made', () => {
    const given = cacheOf(CACHES[0]?.spec);
    assert.equal(secretsView(given, secretsOf(given)).owners.size, 0);
    const byHand = secretOf('main-root-key', { 'root.key': Buffer.alloc(32).toString('base64') });
    assert.equal(secretsView(cacheOf(), [byHand]).owners.size, 0);
  });

  it('is that one of another cache opens nothing, though it has the name that is needed', () => {
    const cache = cacheOf({ tokens: [{ name: 'b-token-c', permissions: ['Read'] }] }, { name: 'a' });
    const [name = ''] = secretNeeds(cache).flatMap((need) => (need.use === 'token' ? [need.name] : []));
    const theirs = secretOf(name, { token });
    const labels = { 'narwhal.dev/cache': 'a-token-b' };
    const view = secretsView(cache, [{ ...theirs, metadata: { ...theirs.metadata, labels } }]);
    assert.match(view.problems.find(({ need }) => need.name === name)?.message ?? '', /belongs to the cache a-token-b/);
    assert.equal(view.tokenHashes.size, 0);
  });

  it('is that all are missing, where there are none', () => {
    for (const { spec, name } of CACHES) {
      const cache = cacheOf(spec, { name });
      const { problems, ...rest } = viewOfNothing(cache);
      assert.deepEqual(
        problems.map(({ need, reason }) => [need.name, reason]),
        secretNeeds(cache).map((need) => [need.name, 'SecretMissing']),
      );
      assert.deepEqual(rest, { owners: new Map(), tokenHashes: new Map(), publicKeys: [], leftovers: [] });
    }
  });
});

describe('the Secrets that a cache needs', () => {
  const needsOf = (spec: Value) =>
    secretNeeds(cacheOf(spec)).map(
      ({ use, name, isGenerated }) => `${use} ${name}${isGenerated ? ' (generated)' : ''}`,
    );

  it('are keys and tokens, generated where nobody gives them', () => {
    const tokens = [
      { name: 'a', permissions: ['Read'] },
      { name: 'b', permissions: ['Read'], sha256: 'a'.repeat(64) },
      { name: 'c', permissions: ['Read'], secretRef: { name: 'mine' } },
    ];
    assert.deepEqual(needsOf({ tokens }), [
      'root main-root-key (generated)',
      'signing main-signing-key (generated)',
      'token main-token-a (generated)',
      'token mine',
    ]);
  });

  it('are no key to sign with, where others sign', () => {
    assert.deepEqual(needsOf({ signing: { mode: 'SelfSigned' } }), ['root main-root-key (generated)']);
  });

  it('are all that the manifest names', () => {
    assert.deepEqual(needsOf(CACHES[0]?.spec ?? {}), [
      'root fleet-root',
      'signing fleet-signing',
      'signing fleet-signing-next',
      'token fleet-tokens',
      'storage fleet-s3',
      'database fleet-database',
      'ca fleet-database-ca',
    ]);
  });
});

describe('the Secrets that pods mount', () => {
  const mounted = (spec: Value) => mountedSecrets(cacheOf(spec)).map(({ name, optional }) => [name, optional]);

  it('are keys, without which a server still serves, and what it cannot start without', () => {
    assert.deepEqual(mounted(GIVEN.bucket ?? {}), [
      ['main-root-key', true],
      ['main-signing-key', true],
      ['mine', false],
    ]);
  });

  it('are no tokens: a server knows their hashes only', () => {
    assert.deepEqual(mounted(GIVEN.token ?? {}), mounted({}));
  });

  it('are each mounted once, and may be missing only if no use needs them', () => {
    const one = { name: 'one' };
    const spec = {
      ...onPostgres({ secretRef: one }),
      rootSecretRef: one,
      signing: { secretRefs: [one, { ...one, key: 'next' }] },
    };
    assert.deepEqual(mounted(spec), [['one', false]]);
  });
});

describe('a generated Secret', () => {
  const cache = cacheOf({ tokens: [{ name: 'ci', permissions: ['Write'] }] });
  const inputs = inputsOf();
  const generated = (of: Cache, use: string) => {
    const need = secretNeeds(of).find((it) => it.use === use);
    assert.ok(need?.isGenerated);
    return generateSecret(need, of, inputs, []);
  };

  for (const use of ['root', 'signing', 'token'])
    it(`cannot be changed, and has another content each time: ${use}`, () => {
      const [one, other] = [generated(cache, use), generated(cache, use)];
      assert.equal(one.immutable, true);
      assert.equal(one.type, 'Opaque');
      assert.notDeepEqual(one.stringData, other.stringData);
      assert.deepEqual(
        secretsView(cache, [stored(one)]).problems.filter(({ need }) => need.use === use),
        [],
      );
    });

  it('goes with the cache where it is a token, and stays where it is a key', () => {
    assert.equal(generated(cache, 'token').metadata.ownerReferences?.length, 1);
    for (const use of ['root', 'signing']) assert.equal(generated(cache, use).metadata.ownerReferences, undefined);
  });

  it('is given to the cache, or taken from it, without a word about its content', () => {
    const [need] = secretNeeds(cache);
    assert.ok(need);
    for (const [reclaimPolicy, owners] of [
      ['Delete', 1],
      ['Retain', undefined],
    ] as const) {
      const { metadata, ...rest } = ownership(need, cacheOf({ reclaimPolicy }));
      assert.equal(metadata.ownerReferences?.length, owners);
      assert.deepEqual(rest, { apiVersion: 'v1', kind: 'Secret' });
    }
  });

  it('signs by the public name where the cache has it, else by its namespace', () => {
    assert.equal(signingKeyName(cache, { apiUrl: 'https://cache.example.org:8443' }), 'main.cache.example.org-1');
    assert.equal(signingKeyName(cache, { apiUrl: undefined }), 'main.team-1');
    const data = generated(cache, 'signing').stringData as Record<string, string>;
    assert.equal(parseSecretKey(data['signing-key'] ?? '').name, 'main.cache.example.org-1');
  });
});
