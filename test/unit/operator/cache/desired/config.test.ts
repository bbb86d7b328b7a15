import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { parse } from 'yaml';
import { clusterOnly, loadManifests, processOnly, without } from '../../../../../crds/index.ts';
import { configHash } from '../../../../../operator/cache/desired/config.ts';
import { desired } from '../../../../../operator/cache/desired/desired.ts';
import type { Inputs } from '../../../../../operator/cache/desired/inputs.ts';
import { mountedSecrets } from '../../../../../operator/cache/desired/secret-needs.ts';
import { namesOf, ROUTES_ANNOTATION } from '../../../../../operator/cache/names.ts';
import type { Cache } from '../../../../../operator/cache/types.ts';
import type { Secret } from '../../../../../operator/runtime/index.ts';
import { anyCache } from '../../../../support/cache-arbitrary.ts';
import type { Value } from '../../../../support/manifests.ts';
import { cacheOf, inputsOf, secretsOf, secretsView } from '../../../../support/operator-fixtures.ts';

function fileOf(cache: Cache, inputs: Inputs): string {
  return (configMapOf(cache, inputs).data as Record<string, string>)['cache.yaml'] ?? '';
}

function configMapOf(cache: Cache, inputs: Inputs) {
  const found = desired(cache, inputs).find(({ kind }) => kind === 'ConfigMap');
  assert.ok(found);
  return found;
}

/** The Secrets that a pod mounts, as the documents that a server makes of them. */
function mountedText(cache: Cache, secrets: readonly Secret[]): string {
  const names = mountedSecrets(cache).map(({ name }) => name);
  return secrets
    .filter(({ metadata }) => names.includes(metadata.name))
    .map(({ metadata, data }) =>
      JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name: metadata.name }, data }),
    )
    .join('\n---\n');
}

/** The cache that a server in a pod makes of what is mounted. */
function loadedIn(cache: Cache, secrets: readonly Secret[], inputs: Inputs) {
  const { documents, errors } = loadManifests(
    [
      { file: 'cache.yaml', text: fileOf(cache, inputs) },
      { file: 'secrets.yaml', text: mountedText(cache, secrets) },
    ],
    { target: 'server' },
  );
  assert.deepEqual(errors, []);
  const [loaded] = documents.binaryCaches;
  assert.ok(loaded && documents.binaryCaches.length === 1);
  return loaded;
}

describe('the manifest that the pods mount', () => {
  it('is taken by the server, and says what the cache says', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        const secrets = secretsOf(cache);
        const { tokenHashes } = secretsView(cache, secrets);
        const loaded = loadedIn(cache, secrets, inputsOf({ tokenHashes }));
        assert.equal(loaded.metadata.name, cache.metadata.name);
        const { rootSecretRef, signing, tokens, ...rest } = withoutCluster(loaded.spec);
        const { rootSecretRef: root, signing: signed, tokens: listed, ...wanted } = withoutCluster(cache.spec);
        assert.deepEqual(rest, wanted);
        const names = namesOf(cache);
        assert.deepEqual(rootSecretRef, root ?? { name: names.rootKey, key: 'root.key' });
        const generated = { secretRefs: [{ name: names.signingKey, key: 'signing-key' }] };
        assert.deepEqual(signing, { ...(signed.mode === 'Managed' && generated), ...signed });
        // Every token is a hash there, wherever it came from.
        assert.deepEqual(
          tokens,
          listed?.map(({ secretRef: _, ...token }) => ({
            ...token,
            sha256: token.sha256 ?? tokenHashes.get(token.name),
          })),
        );
      }),
      { numRuns: 200 },
    );
  });

  it('needs no Secret that is not mounted', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        const secrets = secretsOf(cache);
        const { tokenHashes } = secretsView(cache, secrets);
        const mounted = mountedSecrets(cache).map(({ name }) => name);
        loadedIn(
          cache,
          secrets.filter(({ metadata }) => mounted.includes(metadata.name)),
          inputsOf({ tokenHashes }),
        );
      }),
      { numRuns: 50 },
    );
  });

  // kubectl and the server read YAML 1.1's words for true and false with suspicion.
  for (const word of ['y', 'n', 'yes', 'no', 'on', 'off', 'true', 'null', 'constructor'])
    it(`says what it means where things are called ${word}`, () => {
      const cache = cacheOf(
        {
          storages: [{ name: word, local: {} }],
          tokens: [{ name: word, permissions: ['Read'], sha256: 'a'.repeat(64) }],
        },
        { name: word },
      );
      const { metadata, spec } = loadedIn(cache, secretsOf(cache), inputsOf());
      assert.deepEqual([metadata.name, spec.storages[0]?.name, spec.tokens?.[0]?.name], [word, word, word]);
    });

  it('lacks a token whose Secret is missing: a token without a hash does not exist', () => {
    const cache = cacheOf({
      tokens: [
        { name: 'here', permissions: ['Read'] },
        { name: 'missing', permissions: ['Write'] },
      ],
    });
    const { spec } = loadedIn(cache, secretsOf(cache), inputsOf({ tokenHashes: new Map([['here', 'b'.repeat(64)]]) }));
    assert.deepEqual(spec.tokens, [{ name: 'here', permissions: ['Read'], sha256: 'b'.repeat(64) }]);
  });

  it('does not change by what only a cluster acts on', () => {
    const plain = fileOf(cacheOf(), inputsOf());
    const changed = cacheOf({
      storages: [{ name: 'disk', local: { size: '99Gi', storageClassName: 'fast', path: '/mnt' } }],
      database: { sqlite: { size: '20Gi' } },
      replicas: 0,
      image: 'other',
      reclaimPolicy: 'Delete',
      monitoring: { serviceMonitor: { enabled: true } },
      networkPolicy: { enabled: false },
      podTemplate: { spec: { priorityClassName: 'high' } },
    });
    // A change would make every server read it again, and the operator wait for them.
    assert.equal(fileOf(changed, inputsOf()), plain);
  });

  it('names the hosts of Ingress and HTTPRoute, which a server takes over while it runs', () => {
    const ingress = { host: 'a.b', className: 'nginx', tlsSecretName: 'tls', annotations: { 'a.b/c': 'd' } };
    const httpRoute = { hostnames: ['a.b', 'c.d'], parentRefs: [{ name: 'gw' }] };
    const specOf = (spec: Value) => loadedIn(cacheOf(spec), secretsOf(cacheOf()), inputsOf()).spec;
    assert.deepEqual(specOf({ ingress }).ingress, { host: 'a.b', tlsSecretName: 'tls' });
    assert.deepEqual(specOf({ httpRoute }).httpRoute, httpRoute);
  });

  it('says nothing that is so by default, which a server of an older version may not know', () => {
    const said = (cache: Cache) => parse(fileOf(cache, inputsOf())).spec;
    const names = namesOf(cacheOf());
    const keys = {
      rootSecretRef: { name: names.rootKey },
      signing: { secretRefs: [{ name: names.signingKey }] },
    };
    assert.deepEqual(said(cacheOf()), { ...keys, storages: [{ local: {}, name: 'disk' }] });
    const spoken = cacheOf({ priority: 41, access: 'Private', limits: {}, database: {} });
    assert.deepEqual(said(spoken), { ...keys, access: 'Private', storages: [{ local: {}, name: 'disk' }] });
  });

  it('has the hash that servers tell of', () => {
    const inputs = inputsOf();
    const hash = createHash('sha256').update(fileOf(cacheOf(), inputs)).digest('hex');
    assert.equal(configHash(cacheOf(), inputs), hash);
    assert.notEqual(configHash(cacheOf({ priority: 1 }), inputs), hash);
  });
});

function withoutCluster(spec: Cache['spec']): Cache['spec'] {
  return without({ spec }, [...clusterOnly, ...processOnly]).spec;
}

describe('the routes that the ConfigMap tells the gateway', () => {
  const tokens = (...hashes: string[]): Value => ({
    tokens: hashes.map((sha256, index) => ({ name: `t${index}`, permissions: ['Read'], sha256 })),
  });
  const routes = (spec: Value, tokenHashes: Inputs['tokenHashes'] = new Map()) =>
    configMapOf(cacheOf(spec), inputsOf({ tokenHashes })).metadata.annotations?.[ROUTES_ANNOTATION];

  it('are the first 16 digits of the hash of each token, each once and in order', () => {
    const [a, b] = ['a'.repeat(64), 'b'.repeat(64)];
    assert.equal(routes(tokens(b, a, `${a.slice(0, 16)}${'c'.repeat(48)}`)), `${'a'.repeat(16)},${'b'.repeat(16)}`);
  });

  it('know the tokens that were generated', () => {
    const spec: Value = { tokens: [{ name: 'ci', permissions: ['Read'] }] };
    assert.equal(routes(spec, new Map([['ci', 'd'.repeat(64)]])), 'd'.repeat(16));
  });

  it('are none without tokens', () => assert.equal(routes({}), ''));
});
