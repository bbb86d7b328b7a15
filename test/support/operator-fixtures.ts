/** What the operator's pure parts take: caches, inputs, and what is observed, made of the real types by the real code. */
import {
  formatManifestError,
  generateToken,
  type ServerStatus,
  type StorageStatus,
  type UsageStatus,
  type WaitingStatus,
} from '../../crds/index.ts';
import type { Inputs, Leftover } from '../../operator/cache/desired/inputs.ts';
import { NOTHING_MOUNTED } from '../../operator/cache/desired/inputs.ts';
import { type SecretNeed, secretNeeds } from '../../operator/cache/desired/secret-needs.ts';
import { labelsOf } from '../../operator/cache/names.ts';
import type { Observed } from '../../operator/cache/observe/observed.ts';
import { generateSecret } from '../../operator/cache/secrets/generate.ts';
import { factsOf, type SecretsView, viewOf } from '../../operator/cache/secrets/secrets.ts';
import type { Cache } from '../../operator/cache/types.ts';
import type { Desired, Metadata, Pod, Secret } from '../../operator/runtime/index.ts';
import { generateSecretKey } from '../../server/nix/index.ts';
import { cacheText, load, type Value } from './manifests.ts';

/** When everything in these tests was created. */
export const CREATED = '2030-01-01T00:00:00Z';

/** A BinaryCache as the API server gives it: held against the schema and its rules, defaults filled in. */
export function cacheOf(spec: Value = {}, metadata: Partial<Metadata> = {}, status?: Cache['status']): Cache {
  const [cache] = cachesOf(cacheText(spec, { name: metadata.name ?? 'main' }));
  if (!cache) throw new Error('no cache came of it');
  return { ...cache, metadata: { ...cache.metadata, ...metadata }, ...(status && { status }) };
}

/** Every BinaryCache of a manifest. */
export function cachesOf(text: string): Cache[] {
  const { documents, errors } = load(text);
  if (errors.length > 0) throw new Error(errors.map(formatManifestError).join('\n'));
  return documents.binaryCaches.map(({ apiVersion, kind, metadata: { name }, spec }) => ({
    apiVersion,
    kind,
    metadata: {
      name,
      namespace: 'team',
      uid: `uid-of-${name}`,
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: CREATED,
    },
    spec,
  }));
}

/** With a gateway, where a cache has its public name. */
export function inputsOf(more: Partial<Inputs> = {}): Inputs {
  return {
    image: 'narwhal:1.0.0',
    apiUrl: 'https://cache.example.org',
    trustedProxies: [],
    operatorNamespace: 'narwhal-system',
    stillMounted: NOTHING_MOUNTED,
    leftovers: [],
    tokenHashes: new Map(),
    served: { httpRoute: true, serviceMonitor: true },
    ...more,
  };
}

/** Of a cache of which there is nothing but what `more` says. */
export function observedOf(cache: Cache, more: Partial<Observed> = {}): Observed {
  return {
    children: new Map(),
    pods: [],
    secrets: secretsView(cache, []),
    reports: new Map(),
    obstacles: [],
    publicName: { holder: 'this cache', isServed: true, refused: new Map() },
    ...more,
  };
}

/** What the operator keeps of Secrets. */
export function secretsView(
  cache: Cache,
  secrets: readonly Secret[],
  leftovers: readonly Leftover[] = [],
): SecretsView {
  const found = new Map(secrets.map((secret) => [secret.metadata.name, factsOf(secret)]));
  return viewOf(cache, secretNeeds(cache), found, leftovers);
}

/** Every Secret that a cache needs, with something real in it. */
export function secretsOf(cache: Cache, inputs: Inputs = inputsOf()): Secret[] {
  const texts = new Map<string, Record<string, string>>();
  const generated = new Map<string, Secret>();
  for (const need of secretNeeds(cache)) {
    if (need.isGenerated) generated.set(need.name, stored(generateSecret(need, cache, inputs, [])));
    else texts.set(need.name, { ...texts.get(need.name), ...contentOf(need) });
  }
  const given = [...texts].map(([name, stringData]) => secretOf(name, stringData));
  return [...generated.values(), ...given];
}

/** A Secret that somebody made by hand. */
export function secretOf(name: string, stringData: Record<string, string>): Secret {
  return stored({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: 'team' }, stringData });
}

/** A Secret as it is read back. */
export function stored({ stringData, ...secret }: Desired): Secret {
  const data = Object.entries((stringData ?? {}) as Record<string, string>).map(([key, text]) => [
    key,
    Buffer.from(text).toString('base64'),
  ]);
  const { metadata } = secret;
  return {
    ...secret,
    metadata: { ...metadata, uid: `uid-of-Secret-${metadata.name}`, resourceVersion: '1', creationTimestamp: CREATED },
    data: Object.fromEntries(data),
  } as Secret;
}

function contentOf({ use, name, keys: [key = ''] }: SecretNeed): Record<string, string> {
  switch (use) {
    case 'root':
      return { [key]: Buffer.alloc(32, name).toString('base64') };
    case 'signing':
      return { [key]: generateSecretKey(`${name}-1`) };
    case 'token':
      return { [key]: generateToken() };
    case 'storage':
      return { accessKeyId: `(access key of ${name})`, secretAccessKey: `(secret key of ${name})` };
    case 'database':
      return { [key]: `postgresql://narwhal:password-in-${name}@db.example.org/narwhal` };
    case 'ca':
      return { [key]: `-----BEGIN CERTIFICATE-----\n${name}\n-----END CERTIFICATE-----\n` };
  }
}

/** A pod of the cache; ready, unless `status` says otherwise. */
export function podOf(cache: Cache, index = 0, more: { status?: Pod['status']; claims?: string[] } = {}): Pod {
  const name = `${cache.metadata.name}-${index}`;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: cache.metadata.namespace ?? '',
      uid: `uid-of-Pod-${name}`,
      resourceVersion: '1',
      creationTimestamp: CREATED,
      labels: labelsOf(cache),
    },
    spec: {
      containers: [],
      volumes: (more.claims ?? []).map((claimName) => ({ name: claimName, persistentVolumeClaim: { claimName } })),
    },
    status: more.status ?? { phase: 'Running', podIP: '10.0.0.1', conditions: [{ type: 'Ready', status: 'True' }] },
  };
}

/** What a server that runs the file of `hash` says of itself. */
export function reportOf(
  cache: Cache,
  hash: string,
  more: {
    readonly error?: string;
    readonly keysLost?: string;
    readonly databaseError?: string;
    readonly publicKeys?: readonly string[];
    readonly lostObjects?: number;
    readonly waiting?: WaitingStatus;
    readonly usage?: UsageStatus;
    readonly pins?: ServerStatus['caches'][number]['pins'];
    readonly storages?: readonly StorageStatus[];
  } = {},
): ServerStatus {
  const { name } = cache.metadata;
  return {
    version: '1.0.0',
    ready: true,
    config: { files: [{ name: 'cache.yaml', sha256: hash }], error: more.error ?? null },
    caches: [
      {
        name,
        access: cache.spec.access,
        paths: 3,
        publicKeys: more.publicKeys ?? [`${name}.cache.example.org-1:${'A'.repeat(43)}=`],
        databaseError: more.databaseError ?? null,
        keysLost: more.keysLost ?? null,
        uploads: 0,
        lostObjects: more.lostObjects ?? 0,
        waiting: more.waiting ?? { paths: 0, since: null },
        usage: more.usage ?? null,
        pins: more.pins ?? null,
        scrubs: [],
        storages: more.storages ?? cache.spec.storages.map(({ name }) => storageReport(name)),
      },
    ],
  };
}

export function storageReport(name: string, more: Partial<StorageStatus> = {}): StorageStatus {
  return { name, mode: 'ReadWrite', state: 'Ready', phase: 'Ready', usedBytes: 5 * 2 ** 20, writes: 0, ...more };
}
