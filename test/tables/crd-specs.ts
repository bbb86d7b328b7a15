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

const pathOf = (name: string, hash = '0'.repeat(32)): string => `/nix/store/${hash}-${name}`;

export const pin = (more: Value): Value => ({ name: 'a', storePath: pathOf('x'), ...more });

/** Names as a URL and as a store path may end, and as they may not. */
const pinNames = ['v1', 'a b', '...', '..a', '.a', 'release/v1.0', 'é'.repeat(200), '😀'.repeat(200)];
const notPinNames = [
  '',
  '.',
  '..',
  'a/..',
  './a',
  '/a',
  'a/',
  'a//b',
  'a\\b',
  'a\nb',
  'a\u0000',
  '\u007f',
  '\u0085',
  'x'.repeat(201),
];
const pathNames = ['x', '.x', '..x', '...', '.x-', '-x', 'a+b-c._?=1', 'x'.repeat(211)];
const notPathNames = ['', '.', '..', '.-x', '..-x', 'x/bin', 'x y', 'é', 'x\n', 'x'.repeat(212)];

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
  ['two pins of one path', { pins: [pin({}), pin({ name: 'b' })] }],
  ['two pins of one name', { pins: [pin({}), pin({})] }, 'spec.pins[1].name'],
  ['a pin without a path', { pins: [{ name: 'a' }] }, 'spec.pins[0].storePath'],
  ['a pin kept for 0 days', { pins: [pin({ keep: { days: 0 } })] }, 'spec.pins[0].keep.days'],
  ['a pin of which 0 revisions are kept', { pins: [pin({ keep: { revisions: 0 } })] }, 'spec.pins[0].keep.revisions'],
  ['a pin kept for a thousand years', { pins: [pin({ keep: { days: 365_000 } })] }, 'spec.pins[0].keep.days'],
  ['as many pins as may be', { pins: Array.from({ length: 1000 }, (_, index) => pin({ name: `pin-${index}` })) }],
  ['a pin too many', { pins: Array.from({ length: 1001 }, (_, index) => pin({ name: `pin-${index}` })) }, 'spec.pins'],
  ...named('a pin called', pinNames, (name) => ({ name })),
  ...named('a pin called', notPinNames, (name) => ({ name }), 'spec.pins[0].name'),
  ...named('a pin of a path called', pathNames, (name) => ({ storePath: pathOf(name) })),
  ...named('a pin of a path called', notPathNames, (name) => ({ storePath: pathOf(name) }), 'spec.pins[0].storePath'),
  ['a pin of another store', { pins: [pin({ storePath: '/gnu/store/x' })] }, 'spec.pins[0].storePath'],
  ['a pin by a hash with an e', { pins: [pin({ storePath: pathOf('x', 'e'.repeat(32)) })] }, 'spec.pins[0].storePath'],
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

function named(
  what: string,
  names: readonly string[],
  fields: (name: string) => Value,
  field?: string,
): [string, Value, string?][] {
  return names.map((name) => {
    const text = JSON.stringify(name.length > 20 ? `${name.slice(0, 20)}... (${name.length})` : name);
    const spec = { pins: [pin(fields(name))] };
    return field === undefined ? [`${what} ${text}`, spec] : [`${what} ${text}`, spec, field];
  });
}
