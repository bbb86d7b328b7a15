import assert from 'node:assert/strict';
import fc from 'fast-check';
import { desired } from '../../../../../operator/cache/desired/desired.ts';
import { secretNeeds } from '../../../../../operator/cache/desired/secret-needs.ts';
import { labelsOf } from '../../../../../operator/cache/names.ts';
import { generateSecret } from '../../../../../operator/cache/secrets/generate.ts';
import type { Cache } from '../../../../../operator/cache/types.ts';
import { type Desired, ownerReference } from '../../../../../operator/runtime/index.ts';
import { anyCache } from '../../../../support/cache-arbitrary.ts';
import type { Value } from '../../../../support/manifests.ts';
import { cacheOf, inputsOf, secretsOf, secretsView } from '../../../../support/operator-fixtures.ts';

/** Objects as the operator makes them once every Secret is there. */
function objectsOf(cache: Cache): Desired[] {
  const { tokenHashes } = secretsView(cache, secretsOf(cache));
  return desired(cache, inputsOf({ tokenHashes }));
}

function templateOf(cache: Cache): unknown {
  const { template } = workloadOf(cache).spec as { template: unknown };
  return template;
}

function workloadOf(cache: Cache): Desired {
  const found = desired(cache, inputsOf()).find(({ kind }) => kind === 'StatefulSet');
  assert.ok(found);
  return found;
}

/** Every text below a value, and every name of a field. */
function* textsIn(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  if (typeof value !== 'object' || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    yield name;
    yield* textsIn(inner);
  }
}

const LABEL_1035 = /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/;
const LABEL_1123 = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$/;

describe('the objects of any cache', () => {
  it('are the same bytes each time', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        const again = structuredClone(cache);
        assert.equal(JSON.stringify(desired(cache, inputsOf())), JSON.stringify(desired(again, inputsOf())));
      }),
    );
  });

  // Argo CD takes that label for the name of an application, and prunes what bears it, has no owner and is not in git.
  it('bear the label of the instance only where they have an owner, so that nobody prunes keys and volumes', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        const inputs = inputsOf();
        const keys = secretNeeds(cache)
          .filter(({ isGenerated }) => isGenerated)
          .map((need) => generateSecret(need, cache, inputs, []));
        for (const { kind, metadata } of [...objectsOf(cache), ...keys]) {
          const isOwned = (metadata.ownerReferences ?? []).length > 0;
          if (!isOwned)
            assert.ok(!('app.kubernetes.io/instance' in (metadata.labels ?? {})), `${kind}/${metadata.name}`);
          assert.equal(metadata.labels?.['narwhal.dev/cache'], cache.metadata.name);
        }
      }),
    );
  });

  it('each have a name of their own, in the namespace of the cache', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        const objects = objectsOf(cache);
        const names = objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
        assert.equal(new Set(names).size, names.length);
        for (const { metadata } of objects) assert.equal(metadata.namespace, cache.metadata.namespace);
      }),
    );
  });

  it('carry the labels by which they are found', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        const found = { 'app.kubernetes.io/managed-by': 'narwhal-operator', 'narwhal.dev/cache': cache.metadata.name };
        for (const { metadata } of objectsOf(cache)) {
          const labels = metadata.ownerReferences ? labelsOf(cache) : found;
          for (const [name, value] of Object.entries(labels)) assert.equal(metadata.labels?.[name], value);
        }
        const { labels = {} } = (templateOf(cache) as Desired).metadata;
        for (const [name, value] of Object.entries(labelsOf(cache))) assert.equal(labels[name], value);
      }),
    );
  });

  it('go with the cache, except what holds data unless it says so', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        for (const { kind, metadata } of objectsOf(cache)) {
          const isKept = kind === 'PersistentVolumeClaim' && cache.spec.reclaimPolicy === 'Retain';
          assert.deepEqual(metadata.ownerReferences, isKept ? undefined : [ownerReference(cache)], kind);
        }
      }),
    );
  });

  it('have names and labels that the API server takes', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        for (const { kind, metadata } of objectsOf(cache)) {
          assert.match(metadata.name, kind === 'Service' || kind === 'StatefulSet' ? LABEL_1035 : SUBDOMAIN);
          for (const name of Object.keys(labelsOf(cache))) assert.match(metadata.labels?.[name] ?? '', LABEL_VALUE);
        }
        // The hash of a revision is a dash and ten digits; the number of a pod at most two, with its dash three.
        assert.ok(workloadOf(cache).metadata.name.length + 11 <= 63);
        const { volumes } = (templateOf(cache) as { spec: { volumes: { name: string }[] } }).spec;
        for (const { name } of volumes) assert.match(name, LABEL_1123);
      }),
    );
  });

  it('mount each volume once, and nothing that is no volume', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        const { spec } = templateOf(cache) as {
          spec: { volumes: { name: string }[]; containers: { volumeMounts: { name: string; mountPath: string }[] }[] };
        };
        const mounts = spec.containers.flatMap(({ volumeMounts }) => volumeMounts);
        const names = spec.volumes.map(({ name }) => name);
        assert.equal(new Set(names).size, names.length);
        assert.deepEqual(mounts.map(({ name }) => name).sort(), [...names].sort());
        assert.equal(new Set(mounts.map(({ mountPath }) => mountPath)).size, mounts.length);
      }),
    );
  });

  it('hold nothing that a Secret holds', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        const secrets = secretsOf(cache);
        const { tokenHashes } = secretsView(cache, secrets);
        const texts = [...textsIn(desired(cache, inputsOf({ tokenHashes })))].join('\n');
        for (const { data = {} } of secrets) {
          for (const base64 of Object.values(data)) {
            const text = Buffer.from(base64, 'base64').toString('utf8');
            assert.ok(!texts.includes(base64) && !texts.includes(text));
            // Of a signing key, `name:base64`, not even the part behind the name.
            const secretPart = text.slice(text.indexOf(':') + 1);
            assert.ok(!texts.includes(secretPart));
          }
        }
      }),
      { numRuns: 50 },
    );
  });

  it('run nothing as root, and nothing that talks to the API server', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        const { spec } = templateOf(cache) as { spec: Record<string, unknown> & { containers: Value[] } };
        assert.equal(spec.automountServiceAccountToken, false);
        assert.deepEqual(spec.securityContext, {
          runAsNonRoot: true,
          runAsUser: 65532,
          runAsGroup: 65532,
          fsGroup: 65532,
          fsGroupChangePolicy: 'OnRootMismatch',
          seccompProfile: { type: 'RuntimeDefault' },
        });
        for (const { securityContext } of spec.containers)
          assert.deepEqual(securityContext, {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          });
      }),
    );
  });
});

const disk: Value = { name: 'disk', local: { size: '10Gi' } };
const slow: Value = { name: 'slow', local: {} };
const cloud: Value = { bucket: 'nix', credentialsSecretRef: { name: 's3' } };
const bucket: Value = { name: 'bucket', s3: cloud };
const ci: Value = { name: 'ci', permissions: ['Write'] };

const storages = (...list: Value[]): Value => ({ storages: list });
const tokens = (...list: Value[]): Value => ({ tokens: list });
const pod = (spec: Value): Value => ({ podTemplate: { spec } });

const LIVELY: Value = { ...storages(disk, bucket, slow), ...tokens(ci) };

/** What a running server takes over by itself, or what does not concern pods. */
const RELOADED: readonly (readonly [string, Value])[] = [
  ['access', { access: 'Private' }],
  ['priority', { priority: 10 }],
  ['compression', { compression: 'Xz' }],
  ['strategy', { strategy: 'RoundRobin' }],
  ['limits', { limits: { maxNarSize: '1Gi' } }],
  ['a token more', tokens(ci, { name: 'dev', permissions: ['Read'] })],
  ['a token less', tokens()],
  ['a token by its hash', tokens({ ...ci, sha256: 'a'.repeat(64) })],
  ['a token in a Secret', tokens({ ...ci, secretRef: { name: 'mine' } })],
  ['permissions of a token', tokens({ ...ci, permissions: ['Admin'] })],
  ['the end of a token', tokens({ ...ci, expiresAt: '2040-01-01T00:00:00Z' })],
  ['the mode of a storage', storages(disk, { ...bucket, mode: 'ReadOnly' }, slow)],
  ['a storage to drain', storages({ ...disk, mode: 'Drain' }, bucket, slow)],
  ['weights', storages({ ...disk, weight: 40 }, { ...bucket, weight: 60 }, { ...slow, weight: 0 })],
  ['the capacity of a storage', storages({ ...disk, capacity: '5Gi' }, bucket, slow)],
  ['the size of a volume', storages({ ...disk, local: { size: '20Gi' } }, bucket, slow)],
  ['the order of storages', storages(slow, bucket, disk)],
  ['how a bucket is read', storages(disk, { ...bucket, s3: { ...cloud, reads: 'Proxy' } }, slow)],
  ['a bucket more', storages(disk, bucket, slow, { name: 'more', s3: { bucket: 'more' } })],
  ['pins', { pins: [{ name: 'a', storePath: `/nix/store/${'0'.repeat(32)}-x` }] }],
  ['retention', { retention: { days: 30, graceSeconds: 3600 } }],
  ['replicas', { replicas: 0 }],
  ['the size of the database', { database: { sqlite: { size: '20Gi' } } }],
  ['the NetworkPolicy', { networkPolicy: { enabled: false } }],
  ['monitoring', { monitoring: { serviceMonitor: { enabled: true } } }],
  ['reclaimPolicy', { reclaimPolicy: 'Delete' }],
  ['the host of an Ingress', { ingress: { host: 'nix.example.org', tlsSecretName: 'tls' } }],
  ['the hosts of an HTTPRoute', { httpRoute: { hostnames: ['nix.example.org'], parentRefs: [{ name: 'gw' }] } }],
];

/** What needs another pod. */
const RESTARTS: readonly (readonly [string, Value])[] = [
  ['the image', { image: 'narwhal:2.0.0' }],
  ['a local storage more', storages(disk, bucket, slow, { name: 'more', local: {} })],
  ['a local storage less', storages(disk, bucket)],
  ['a bucket without credentials', storages(disk, { ...bucket, s3: { bucket: 'nix' } }, slow)],
  ['a root key of its own', { rootSecretRef: { name: 'mine' } }],
  ['a signing key of its own', { signing: { secretRefs: [{ name: 'mine' }] } }],
  ['another signer', { signing: { mode: 'SelfSigned' } }],
  ['a database elsewhere', onPostgres()],
  ['labels of pods', { podTemplate: { metadata: { labels: { team: 'builds' } } } }],
  ['annotations of pods', { podTemplate: { metadata: { annotations: { a: 'b' } } } }],
  ['resources', pod({ resources: { limits: { memory: '2Gi' } } })],
  ['nodeSelector', pod({ nodeSelector: { disk: 'fast' } })],
  ['tolerations', pod({ tolerations: [{ operator: 'Exists' }] })],
  ['affinity', pod({ affinity: { nodeAffinity: {} } })],
  ['topologySpreadConstraints', pod({ topologySpreadConstraints: [] })],
  ['priorityClassName', pod({ priorityClassName: 'important' })],
  ['serviceAccountName', pod({ serviceAccountName: 'other' })],
  ['imagePullSecrets', pod({ imagePullSecrets: [{ name: 'registry' }] })],
  ['a variable more', pod({ env: [{ name: 'NO_PROXY', value: '*' }] })],
  ['a variable of ours', pod({ env: [{ name: 'NARWHAL_LOG_FORMAT', value: 'pretty' }] })],
];

function onPostgres(): Value {
  return {
    database: { postgres: { secretRef: { name: 'pg' } } },
    rootSecretRef: { name: 'root' },
    signing: { secretRefs: [{ name: 'key' }] },
    tokens: [],
  };
}

describe('the pod template', () => {
  const before = cacheOf(LIVELY);
  for (const [title, change] of RELOADED)
    it(`stays as it is, so that no pod restarts: ${title}`, () => {
      const after = cacheOf({ ...LIVELY, ...change });
      assert.notDeepEqual(after.spec, before.spec);
      assert.deepEqual(templateOf(after), templateOf(before));
    });

  for (const [title, change] of RESTARTS)
    it(`becomes another: ${title}`, () => {
      assert.notDeepEqual(templateOf(cacheOf({ ...LIVELY, ...change })), templateOf(before));
    });

  it('knows no token, so that a new one restarts nothing', () => {
    const template = (hash: string) =>
      desired(before, inputsOf({ tokenHashes: new Map([['ci', hash.repeat(64)]]) })).find(
        ({ kind }) => kind === 'StatefulSet',
      );
    assert.deepEqual(template('a'), template('b'));
  });

  it('names a variable once, with the value of the manifest where both have it', () => {
    const cache = cacheOf(
      pod({
        env: [
          { name: 'NARWHAL_LOG_FORMAT', value: 'pretty' },
          { name: 'A', value: 'b' },
        ],
      }),
    );
    const { spec } = templateOf(cache) as { spec: { containers: { env: { name: string; value: string }[] }[] } };
    const env = spec.containers[0]?.env ?? [];
    assert.deepEqual(
      env.filter(({ name }) => ['NARWHAL_LOG_FORMAT', 'A'].includes(name)),
      [
        { name: 'NARWHAL_LOG_FORMAT', value: 'pretty' },
        { name: 'A', value: 'b' },
      ],
    );
  });

  it('keeps our labels where the manifest wants others of their name', () => {
    const cache = cacheOf({ podTemplate: { metadata: { labels: { 'app.kubernetes.io/name': 'other', team: 'a' } } } });
    const { labels } = (templateOf(cache) as Desired).metadata;
    assert.equal(labels?.['app.kubernetes.io/name'], 'narwhal');
    assert.equal(labels?.team, 'a');
  });
});

describe('the account of the pods', () => {
  const accountsOf = (serviceAccountName?: string) => {
    const objects = desired(cacheOf(pod({ ...(serviceAccountName && { serviceAccountName }) })), inputsOf());
    return objects.filter(({ kind }) => kind === 'ServiceAccount').map(({ metadata }) => metadata.name);
  };

  it('is one of their own, also where the manifest names that one', () => {
    assert.deepEqual(accountsOf(), ['main-server']);
    assert.deepEqual(accountsOf('main-server'), ['main-server']);
  });

  it('is no concern of ours where somebody else has made it', () => assert.deepEqual(accountsOf('other'), []));
});

function specOfKind(kind: string, spec: Value, inputs = inputsOf()): Record<string, unknown> | undefined {
  return desired(cacheOf(spec), inputs).find((object) => object.kind === kind)?.spec as Record<string, unknown>;
}

describe('the NetworkPolicy', () => {
  const operator = {
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'narwhal-system' } },
    podSelector: { matchLabels: { 'app.kubernetes.io/name': 'narwhal' } },
  };
  const rules = (networkPolicy: Value) =>
    specOfKind('NetworkPolicy', { networkPolicy })?.ingress as { from?: unknown; ports: Value[] }[];

  it('lets everyone use the cache, and its namespace read the metrics', () => {
    const [clients, metrics] = rules({});
    assert.deepEqual(clients, { ports: [{ port: 'http', protocol: 'TCP' }] });
    assert.deepEqual(metrics?.from, [{ podSelector: {} }, operator]);
  });

  it('lets only chosen clients use the cache, and the gateway', () => {
    const peer = { ipBlock: { cidr: '10.0.0.0/8' } };
    assert.deepEqual(rules({ clientsFrom: [peer] })[0]?.from, [peer, operator]);
  });

  it('lets nobody but gateway and operator in where the lists are empty', () => {
    const [clients, metrics] = rules({ clientsFrom: [], metricsFrom: [] });
    // An absent or empty `from` would let in everyone.
    assert.deepEqual(clients?.from, [operator]);
    assert.deepEqual(metrics?.from, [operator]);
  });

  it('is not there where the manifest switches it off', () => {
    assert.equal(specOfKind('NetworkPolicy', { networkPolicy: { enabled: false } }), undefined);
  });
});

describe('what a cluster may not know', () => {
  const served = { httpRoute: false, serviceMonitor: false };
  const asked: Value = {
    httpRoute: { hostnames: ['a.b'], parentRefs: [{ name: 'gw' }] },
    monitoring: { serviceMonitor: { enabled: true } },
  };
  for (const kind of ['HTTPRoute', 'ServiceMonitor'])
    it(`is asked for only where it is known: ${kind}`, () => {
      assert.ok(specOfKind(kind, asked));
      assert.equal(specOfKind(kind, asked, inputsOf({ served })), undefined);
      assert.equal(specOfKind(kind, {}), undefined);
    });
});
