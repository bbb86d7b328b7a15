import assert from 'node:assert/strict';
import { kinds } from '../../../crds/index.ts';
import { cacheText, disk, errorsOf, linesOf, load, secretText, type Value } from './build.ts';

const s3: Value = { name: 'cloud', s3: { bucket: 'nix' } };
const shared: Value = { name: 'nfs', local: { accessMode: 'ReadWriteMany' } };
const postgres: Value = {
  database: { postgres: { secretRef: { name: 'pg' } } },
  rootSecretRef: { name: 'root' },
  signing: { secretRefs: [{ name: 'key' }] },
};
const onPostgres = (database: Value, tls?: Value): Value => ({
  ...postgres,
  database: { ...database, postgres: { secretRef: { name: 'pg' }, ...(tls && { tls }) } },
});
const split = (...weights: (number | undefined)[]): Value => ({
  strategy: 'Split',
  storages: weights.map((weight, index) => ({ name: `s${index}`, local: {}, ...(weight !== undefined && { weight }) })),
});
const token = (more: Value): Value => ({ name: 'a', permissions: ['Read'], ...more });
const hash = 'a'.repeat(64);
const key = `k:${'A'.repeat(43)}=`;

/** A sentence, a spec, and the field that is refused; no field where the spec is fine. */
const table: [string, Value, string?][] = [
  ['a storage with a local folder', { storages: [disk] }],
  ['a storage in a bucket', { storages: [s3] }],
  ['a storage without a place', { storages: [{ name: 'disk' }] }, 'spec.storages[0]'],
  ['a storage in two places', { storages: [{ ...s3, local: {} }] }, 'spec.storages[0]'],
  ['no storage', { storages: [] }, 'spec.storages'],
  ['two storages of one name', { storages: [disk, disk] }, 'spec.storages[1].name'],
  ['a storage named db', { storages: [{ ...disk, name: 'db' }] }, 'spec.storages[0].name'],
  ['a storage with a dash', { storages: [{ ...disk, name: 'my-disk' }] }, 'spec.storages[0].name'],
  ['a storage named by 15 letters', { storages: [{ ...disk, name: 'a'.repeat(15) }] }],
  ['a storage named by 16 letters', { storages: [{ ...disk, name: 'a'.repeat(16) }] }, 'spec.storages[0].name'],
  ['Split with weights that make 100', split(40, 60)],
  ['Split with a weight of 0', split(0, 100)],
  ['Split with weights that make 90', split(40, 50), 'spec.storages'],
  ['Split with a weight missing', split(100, undefined), 'spec.storages[1]'],
  ['weights with another strategy', { ...split(1, 2), strategy: 'InOrder' }],
  ['an ingress', { ingress: { host: 'nix.example.org' } }],
  [
    'an ingress and an HTTPRoute',
    { ingress: { host: 'a.b' }, httpRoute: { hostnames: ['a.b'], parentRefs: [{ name: 'gw' }] } },
    'spec.httpRoute',
  ],
  ['two replicas with PostgreSQL and a bucket', { ...postgres, replicas: 2, storages: [s3] }],
  ['two replicas with PostgreSQL and a shared folder', { ...postgres, replicas: 2, storages: [shared] }],
  ['two replicas with SQLite', { replicas: 2, storages: [s3] }, 'spec.replicas'],
  ['two replicas with a disk of one node', { ...postgres, replicas: 2, storages: [s3, disk] }, 'spec.replicas'],
  ['no replica', { replicas: 0 }],
  ['autoscaling with PostgreSQL and a bucket', { ...postgres, autoscaling: { maxReplicas: 3 }, storages: [s3] }],
  ['autoscaling with SQLite', { autoscaling: { maxReplicas: 3 }, storages: [s3] }, 'spec.autoscaling'],
  [
    'autoscaling from more to fewer',
    { ...postgres, autoscaling: { minReplicas: 4, maxReplicas: 3 }, storages: [s3] },
    'spec.autoscaling.minReplicas',
  ],
  ['PostgreSQL without a root key', { ...postgres, rootSecretRef: undefined }, 'spec.rootSecretRef'],
  ['PostgreSQL without a signing key', { ...postgres, signing: {} }, 'spec.signing.secretRefs'],
  ['PostgreSQL without a signing key, self-signed', { ...postgres, signing: { mode: 'SelfSigned' } }],
  ['PostgreSQL with a token to generate', { ...postgres, tokens: [token({})] }, 'spec.tokens[0]'],
  ['PostgreSQL with hashed tokens', { ...postgres, tokens: [token({ sha256: hash })] }],
  ['PostgreSQL beside SQLite', { ...onPostgres({ sqlite: {} }) }, 'spec.database.postgres'],
  ['TLS without a CA of its own', onPostgres({}, { mode: 'VerifyFull' })],
  ['TLS with a CA of its own', onPostgres({}, { mode: 'VerifyCa', caSecretRef: { name: 'ca' } })],
  ['TLS by any CA', onPostgres({}, { mode: 'VerifyCa' }), 'spec.database.postgres.tls.caSecretRef'],
  [
    'a CA that verifies nothing',
    onPostgres({}, { mode: 'Require', caSecretRef: { name: 'ca' } }),
    'spec.database.postgres.tls.caSecretRef',
  ],
  ['SQLite with a token to generate', { tokens: [token({})] }],
  [
    'a token with hash and Secret',
    { tokens: [token({ sha256: hash, secretRef: { name: 'x' } })] },
    'spec.tokens[0].secretRef',
  ],
  ['a token without permissions', { tokens: [token({ permissions: [] })] }, 'spec.tokens[0].permissions'],
  [
    'a token with a permission twice',
    { tokens: [token({ permissions: ['Read', 'Read'] })] },
    'spec.tokens[0].permissions[1]',
  ],
  ['two tokens of one name', { tokens: [token({}), token({})] }, 'spec.tokens[1].name'],
  ['keys of pushers with SelfSigned', { signing: { mode: 'SelfSigned', publicKeys: [key] } }],
  ['keys of pushers with Managed', { signing: { publicKeys: [key] } }, 'spec.signing.publicKeys'],
  [
    'a public key without a name',
    { signing: { mode: 'SelfSigned', publicKeys: [key.slice(2)] } },
    'spec.signing.publicKeys[0]',
  ],
  [
    'signing keys with SelfSigned',
    { signing: { mode: 'SelfSigned', secretRefs: [{ name: 'k' }] } },
    'spec.signing.secretRefs',
  ],
  ['two signing keys in one Secret', { signing: { secretRefs: [{ name: 'k' }, { name: 'k', key: 'new' }] } }],
  [
    'one signing key twice',
    { signing: { secretRefs: [{ name: 'k' }, { name: 'k', key: 'signing-key' }] } },
    'spec.signing.secretRefs[1].name',
  ],
  ['a retention by days', { retention: { days: 3 } }],
  ['a retention by nothing', { retention: {} }, 'spec.retention'],
  ['an upstream to skip', { upstreams: [{ url: 'https://cache.nixos.org' }] }],
  [
    'an upstream to proxy, unverified',
    { upstreams: [{ url: 'https://cache.nixos.org', mode: 'Proxy' }] },
    'spec.upstreams[0].publicKeys',
  ],
  ['a size beyond all numbers', { quota: { maxSize: '9Pi' } }, 'spec.quota.maxSize'],
  ['a size with a wrong unit', { quota: { maxSize: '10GB' } }, 'spec.quota.maxSize'],
];

const without = (spec: Value): Value =>
  Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== undefined));

describe('the rules of a BinaryCache', () => {
  for (const [sentence, spec, field] of table) {
    it(`${field ? 'refuse' : 'accept'} ${sentence}`, () => {
      const paths = load(cacheText(without(spec))).errors.map(({ path }) => path);
      assert.deepEqual(paths, field ? [field] : []);
    });
  }

  it('judge one entry although another is wrong', () => {
    const errors = errorsOf({ storages: [{ name: 'a', local: { size: 'big' } }, { name: 'b' }] });
    assert.equal(errors.length, 2);
    assert.equal(errors[1], 'spec.storages[1]: needs exactly one of local and s3');
  });

  const names: [string, boolean][] = [
    ['main', true],
    ['a', true],
    ['my-cache-2', true],
    ['2fast', true],
    ['a'.repeat(45), true],
    ['a'.repeat(46), false],
    ['api', false],
    ['api2', true],
    ['Main', false],
    ['a.b', false],
    ['-a', false],
    ['a-', false],
    ['a_b', false],
    ['', false],
    ['../a', false],
  ];
  for (const [name, fine] of names) {
    it(`${fine ? 'accept' : 'refuse'} the name ${JSON.stringify(name)}`, () => {
      const errors = load(cacheText({}, { name })).errors;
      assert.deepEqual([...new Set(errors.map(({ path }) => path))], fine ? [] : ['metadata.name']);
    });
  }

  it('have a text of their own each, so that a person can tell them apart', () => {
    for (const { rules } of kinds) {
      for (const { at, rules: here } of rules) {
        assert.equal(new Set(here.map(({ message }) => message)).size, here.length, at);
      }
    }
  });
});

describe('what a server of this version supports', () => {
  const server = (spec: Value): string[] =>
    linesOf(
      [
        cacheText(spec),
        secretText('pg', { uri: 'x' }),
        secretText('root', { 'root.key': 'x' }),
        secretText('key', { 'signing-key': 'x' }),
      ],
      { target: 'server' },
    );
  const refused: [string, Value][] = [
    ['spec.retention', { retention: { days: 1 } }],
    ['spec.quota', { quota: { maxSize: 1 } }],
    ['spec.upstreams', { upstreams: [{ url: 'https://cache.nixos.org' }] }],
    ['spec.peers', { peers: {} }],
  ];
  for (const [field, spec] of refused) {
    it(`leaves out ${field}`, () => assert.deepEqual(server(spec), [`m.yaml:1: ${field}: not supported yet`]));
  }

  for (const mode of ['Drain', 'Abandoned']) {
    it(`includes the mode ${mode}`, () => {
      assert.deepEqual(server({ storages: [disk, { name: 'old', mode, local: {} }] }), []);
    });
  }

  it('leaves out workspaces and agents, which are valid all the same', () => {
    const texts = [
      { kind: 'Workspace', metadata: { name: 'w' }, spec: { cacheRef: { name: 'main' } } },
      { kind: 'Agent', metadata: { name: 'a' }, spec: { workspaceRef: { name: 'w' } } },
    ].map((manifest) => JSON.stringify({ apiVersion: 'narwhal.dev/v1alpha1', ...manifest }));
    assert.deepEqual(linesOf(texts), []);
    assert.deepEqual(linesOf(texts, { target: 'server' }), [
      'm.yaml:1: kind: Workspace is not supported yet',
      'm.yaml:3: kind: Agent is not supported yet',
    ]);
  });

  it('includes ReadOnly storages, with a note where nothing can be written', () => {
    const { errors, notes } = load(cacheText({ storages: [{ ...disk, mode: 'ReadOnly' }] }), { target: 'server' });
    assert.deepEqual(errors, []);
    assert.match(notes.join(), /no storage has the mode ReadWrite/);
  });

  it('ignores fields for clusters with one note a manifest, and only those that are written', () => {
    const spec = {
      replicas: 1,
      reclaimPolicy: 'Delete',
      ingress: { host: 'a.b' },
      storages: [{ name: 'disk', local: { size: '1Gi' } }],
    };
    const { errors, notes } = load([cacheText(spec), cacheText({}, { name: 'other' })], { target: 'server' });
    assert.deepEqual(errors, []);
    assert.deepEqual(notes, [
      'm.yaml:1: BinaryCache main: only a cluster acts on spec.storages[0].local.size, spec.replicas, spec.ingress, spec.reclaimPolicy',
    ]);
  });

  it('checks fields for clusters although it ignores them', () => {
    assert.match(server({ ingress: { host: 'https://a.b' } }).join(), /spec\.ingress\.host: must be a host name/);
  });
});
