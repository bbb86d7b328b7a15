/** What the schemas say of specs of a BinaryCache, and some that break no rule: for a process and an API server alike. */
import { disk, type Value } from '../support/manifests.ts';

export const s3: Value = { name: 'cloud', s3: { bucket: 'nix' } };
export const shared: Value = { name: 'nfs', local: { accessMode: 'ReadWriteMany' } };
export const hash = 'a'.repeat(64);
export const key = `k:${'A'.repeat(43)}=`;

/** Everything that PostgreSQL needs beside storages. */
export const postgres: Value = {
  database: { postgres: { secretRef: { name: 'pg' } } },
  rootSecretRef: { name: 'root' },
  signing: { secretRefs: [{ name: 'key' }] },
};

export const split = (...weights: (number | undefined)[]): Value => ({
  strategy: 'Split',
  storages: weights.map((weight, index) => ({ name: `s${index}`, local: {}, ...(weight !== undefined && { weight }) })),
});

export const token = (more: Value): Value => ({ name: 'a', permissions: ['Read'], ...more });

/** A sentence, a spec, and the field that is refused; no field where the spec is fine. */
export const cacheSpecs: readonly (readonly [string, Value, string?])[] = [
  ['a storage with a local folder', { storages: [disk] }],
  ['no storage', { storages: [] }, 'spec.storages'],
  ['two storages of one name', { storages: [disk, disk] }, 'spec.storages[1].name'],
  ['a storage with a dash', { storages: [{ ...disk, name: 'my-disk' }] }, 'spec.storages[0].name'],
  ['a storage named by 15 letters', { storages: [{ ...disk, name: 'a'.repeat(15) }] }],
  ['a storage named by 16 letters', { storages: [{ ...disk, name: 'a'.repeat(16) }] }, 'spec.storages[0].name'],
  ['weights with another strategy', { ...split(1, 2), strategy: 'InOrder' }],
  ['an ingress', { ingress: { host: 'nix.example.org' } }],
  ['no replica', { replicas: 0 }],
  ['a replica too few', { replicas: -1 }, 'spec.replicas'],
  ['SQLite with a token to generate', { tokens: [token({})] }],
  ['a token without permissions', { tokens: [token({ permissions: [] })] }, 'spec.tokens[0].permissions'],
  [
    'a token with a permission twice',
    { tokens: [token({ permissions: ['Read', 'Read'] })] },
    'spec.tokens[0].permissions[1]',
  ],
  ['two tokens of one name', { tokens: [token({}), token({})] }, 'spec.tokens[1].name'],
  ['a token for some years', { tokens: [token({ expiresAt: '2030-01-31T00:00:00Z' })] }],
  ['a token until a day', { tokens: [token({ expiresAt: '2030-01-31' })] }, 'spec.tokens[0].expiresAt'],
  [
    'a public key without a name',
    { signing: { mode: 'SelfSigned', publicKeys: [key.slice(2)] } },
    'spec.signing.publicKeys[0]',
  ],
  ['two signing keys in one Secret', { signing: { secretRefs: [{ name: 'k' }, { name: 'k', key: 'new' }] } }],
  [
    'one signing key twice',
    { signing: { secretRefs: [{ name: 'k' }, { name: 'k', key: 'signing-key' }] } },
    'spec.signing.secretRefs[1].name',
  ],
  ['an upstream to skip', { upstreams: [{ url: 'https://cache.nixos.org' }] }],
  [
    'an endpoint that is no URL',
    { storages: [{ ...s3, s3: { bucket: 'nix', endpoint: 'nowhere' } }] },
    'spec.storages[0].s3.endpoint',
  ],
  ['a size with a wrong unit', { quota: { maxSize: '10GB' } }, 'spec.quota.maxSize'],
  ['a size below nothing', { quota: { maxSize: -1 } }, 'spec.quota.maxSize'],
  ['a size by half bytes', { quota: { maxSize: 1.5 } }, 'spec.quota.maxSize'],
  ['a size as a number', { quota: { maxSize: 1024 } }],
  ['a field that nobody knows', { quotas: {} }, 'spec.quotas'],
  ['a text where a number belongs', { priority: '41' }, 'spec.priority'],
];
