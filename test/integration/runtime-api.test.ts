// The runtime's client against a real API server: what it may rely on, and what it makes of refusals.
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import {
  ApiError,
  applies,
  type ConfigMap,
  type Desired,
  type Kind,
  kinds,
  metadataOf,
  type Obj,
  withHash,
} from '../../operator/runtime/index.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { closeRuntimes, crd, installWidgets, type Runtime, requests, runtimeFor, widgets } from '../support/runtime.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

describeWith('kubernetes', 'the API client', () => {
  let kubernetes: Kubernetes;
  let namespace: string;
  let runtime: Runtime;

  before(async () => {
    kubernetes = await sharedKubernetes();
    namespace = await kubernetes.namespace('api');
    await installWidgets(kubernetes);
  });
  beforeEach(() => {
    runtime = runtimeFor(kubernetes);
  });
  afterEach(closeRuntimes);

  const configMap = (name: string, fields: object = {}): Desired => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { namespace, name },
    ...fields,
  });
  const widget = (name: string, fields: object = {}): Desired => ({
    apiVersion: widgets.apiVersion,
    kind: 'Widget',
    metadata: { namespace, name },
    ...fields,
  });

  async function made<T extends Obj>(kind: Kind<T>, object: Desired): Promise<T> {
    const created = await runtime.api.create(kind, object);
    assert.ok(created !== 'exists');
    return created;
  }

  async function failure(promise: Promise<unknown>): Promise<ApiError> {
    const error = await promise.then(
      () => assert.fail('it succeeded'),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof ApiError, String(error));
    return error;
  }

  describe('reading', () => {
    it('lists page by page, and tells each object its kind', async () => {
      const many = await kubernetes.namespace('many');
      const names = Array.from({ length: 1200 }, (_, index) => `c-${index}`);
      for (let start = 0; start < names.length; start += 50) {
        await Promise.all(
          names
            .slice(start, start + 50)
            .map((name) =>
              runtime.api.create(kinds.ConfigMap, { ...configMap(name), metadata: { namespace: many, name } }),
            ),
        );
      }
      const before = await requests(runtime.metrics, 'list');
      const { items, resourceVersion } = await runtime.api.list(kinds.ConfigMap, { namespace: many });
      assert.deepEqual(items.map(({ metadata }) => metadata.name).sort(), names.sort());
      assert.ok(items.every(({ kind, apiVersion }) => kind === 'ConfigMap' && apiVersion === 'v1'));
      assert.match(resourceVersion, /^\d+$/);
      assert.equal((await requests(runtime.metrics, 'list')) - before, 3);
    });

    it('finds nothing where nothing is', async () => {
      assert.equal(await runtime.api.get(kinds.ConfigMap, { namespace, name: 'none' }), undefined);
      assert.deepEqual((await runtime.api.list(kinds.ConfigMap, { namespace: 'none' })).items, []);
    });

    it('selects by labels and fields', async () => {
      const labels = { app: 'selected' };
      await made(kinds.ConfigMap, { ...configMap('labelled'), metadata: { namespace, name: 'labelled', labels } });
      await made(kinds.ConfigMap, configMap('plain'));
      const names = async (query: object) =>
        (await runtime.api.list(kinds.ConfigMap, { namespace, ...query })).items.map(({ metadata }) => metadata.name);
      assert.deepEqual(await names({ labelSelector: 'app=selected' }), ['labelled']);
      assert.deepEqual(await names({ fieldSelector: 'metadata.name=plain' }), ['plain']);
    });

    it('reads metadata without what it belongs to', async () => {
      await made(kinds.Secret, { ...configMap('hidden', { stringData: { a: 'b' } }), kind: 'Secret' });
      const kind = metadataOf(kinds.Secret);
      const got = await runtime.api.get(kind, { namespace, name: 'hidden' });
      const { items } = await runtime.api.list(kind, { namespace, fieldSelector: 'metadata.name=hidden' });
      for (const secret of [got, items[0]]) {
        assert.equal(secret?.kind, 'Secret');
        assert.equal(secret.metadata.name, 'hidden');
        assert.ok(!('data' in secret));
      }
    });

    it('knows which kinds are served, and looks again after a while', async () => {
      assert.equal(await runtime.api.served(kinds.StatefulSet), true);
      assert.equal(await runtime.api.served(kinds.ServiceMonitor), false);
      const group = 'later.example.org';
      const later = { ...widgets, apiVersion: `${group}/v1` };
      const { api } = runtimeFor(kubernetes, { servedMs: 0 });
      assert.equal(await api.served(later), false);
      assert.equal(await runtime.api.served(later), false);
      const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
      const { definition } = crd('widgets', 'Widget', group);
      await kubernetes.expect(definitions, { method: 'POST', body: definition });
      try {
        await until('the kind is served', () => api.served(later));
        assert.equal(await runtime.api.served(later), false, 'the answer is believed for five minutes');
      } finally {
        await kubernetes.expect(`${definitions}/widgets.${group}`, { method: 'DELETE' });
      }
    });
  });

  describe('applying', () => {
    it('changes nothing when nothing is new, and says so before it asks', async () => {
      const container = {
        name: 'a',
        image: 'a',
        resources: { requests: { cpu: '1000m', memory: '1024Mi' } },
        env: [{ name: 'A', value: 'b' }],
        ports: [{ name: 'http', containerPort: 8080 }],
        volumeMounts: [{ name: 'data', mountPath: '/data' }],
      };
      const desired = withHash(
        {
          apiVersion: 'apps/v1',
          kind: 'StatefulSet',
          metadata: { namespace, name: 'stable', labels: { app: 'a' } },
          spec: {
            replicas: 1,
            serviceName: 'a',
            selector: { matchLabels: { app: 'a' } },
            template: {
              metadata: { labels: { app: 'a' } },
              spec: { containers: [container], volumes: [{ name: 'data', emptyDir: {} }] },
            },
          },
        },
        'test.example.org/applied',
      );
      const first = await runtime.api.apply(kinds.StatefulSet, desired);
      for (let round = 0; round < 3; round += 1) {
        const { metadata } = await runtime.api.apply(kinds.StatefulSet, desired);
        assert.equal(metadata.resourceVersion, first.metadata.resourceVersion);
      }
      assert.ok(applies(first, desired));
      assert.ok(applies(await runtime.api.get(kinds.StatefulSet, { namespace, name: 'stable' }), desired));
    });

    it('removes what it no longer asks for, and leaves what others have set', async () => {
      await runtime.api.apply(kinds.ConfigMap, configMap('shared', { data: { ours: '1', more: '2' } }));
      await kubernetes.kubectl(['annotate', 'configmap', 'shared', 'theirs=3', '-n', namespace]);
      const { data, metadata } = await runtime.api.apply(kinds.ConfigMap, configMap('shared', { data: { ours: '1' } }));
      assert.deepEqual(data, { ours: '1' });
      assert.equal(metadata.annotations?.theirs, '3');
    });

    it('notices by the hash alone that a field was asked for earlier', async () => {
      const desired = (data: object) => withHash(configMap('hashed', { data }), 'test.example.org/applied');
      const live = await runtime.api.apply(kinds.ConfigMap, desired({ a: '1', b: '2' }));
      assert.ok(applies(live, desired({ a: '1', b: '2' })));
      assert.ok(!applies(live, desired({ a: '1' })));
    });

    it('wins against another manager by force', async () => {
      await runtime.api.apply(kinds.ConfigMap, configMap('fought', { data: { owner: 'us' } }));
      const other = runtimeFor(kubernetes, { manager: 'somebody-else' });
      const theirs = await other.api.apply<ConfigMap>(
        kinds.ConfigMap,
        configMap('fought', { data: { owner: 'them' } }),
      );
      assert.equal(theirs.data?.owner, 'them');
      const ours = await runtime.api.apply<ConfigMap>(kinds.ConfigMap, configMap('fought', { data: { owner: 'us' } }));
      assert.equal(ours.data?.owner, 'us');
    });

    it('writes the status alone through its own door', async () => {
      await runtime.api.apply(widgets, widget('status', { spec: { size: 'big' } }));
      const written = await runtime.api.apply(
        widgets,
        widget('status', { spec: { size: 'small' }, status: { phase: 'Ready' } }),
        { sub: 'status' },
      );
      assert.deepEqual([written.spec?.size, written.status?.phase], ['big', 'Ready']);
    });

    it('writes nothing in a dry run', async () => {
      const { data } = await runtime.api.apply(kinds.ConfigMap, configMap('dry', { data: { a: '1' } }), {
        dryRun: true,
      });
      assert.deepEqual(data, { a: '1' });
      assert.notEqual(await runtime.api.create(kinds.ConfigMap, configMap('dry'), { dryRun: true }), 'exists');
      assert.equal(await runtime.api.get(kinds.ConfigMap, { namespace, name: 'dry' }), undefined);
    });

    it('recognises a schema that lacks a field, and does not call it transient', async () => {
      const error = await failure(runtime.api.apply(widgets, widget('new', { spec: { weight: '1' } })));
      assert.equal(error.code, 500);
      assert.ok(error.isSchemaMismatch);
      assert.ok(!error.transient);
      assert.match(error.message, /^apply Widget api-\w+\/new: 500 .*\.spec\.weight/);
    });

    it('refuses to touch an object that was created anew', async () => {
      const before = await made(kinds.ConfigMap, configMap('reborn'));
      await runtime.api.delete(kinds.ConfigMap, before.metadata);
      const { uid } = before.metadata;
      const stale = { ...configMap('reborn', { data: { a: '1' } }), metadata: { namespace, name: 'reborn', uid } };
      const gone = await failure(runtime.api.apply(kinds.ConfigMap, stale));
      assert.ok(gone.conflict, gone.message);
      await made(kinds.ConfigMap, configMap('reborn'));
      const another = await failure(runtime.api.apply(kinds.ConfigMap, stale));
      assert.ok(another.conflict, another.message);
    });
  });

  describe('creating, replacing, patching and deleting', () => {
    it('creates once', async () => {
      await made(kinds.ConfigMap, configMap('once', { data: { a: '1' } }));
      assert.equal(await runtime.api.create(kinds.ConfigMap, configMap('once', { data: { a: '2' } })), 'exists');
    });

    it('refuses to create what the schema lacks', async () => {
      const error = await failure(runtime.api.create(widgets, widget('strict', { spec: { weight: '1' } })));
      assert.match(error.message, /unknown field "spec.weight"/);
    });

    it('replaces only the version that it knows', async () => {
      const before = await made(kinds.ConfigMap, configMap('swap', { data: { a: '1' } }));
      const after = await runtime.api.replace(kinds.ConfigMap, { ...before, data: { a: '2' } });
      assert.deepEqual(after.data, { a: '2' });
      const error = await failure(runtime.api.replace(kinds.ConfigMap, { ...before, data: { a: '3' } }));
      assert.ok(error.conflict && !error.transient);
    });

    it('patches by merging', async () => {
      await made(kinds.ConfigMap, configMap('patched', { data: { a: '1', b: '2' } }));
      const ref = { namespace, name: 'patched' };
      assert.deepEqual((await runtime.api.patch(kinds.ConfigMap, ref, { data: { a: null, c: '3' } })).data, {
        b: '2',
        c: '3',
      });
    });

    it('deletes the object that it means, and no other of its name', async () => {
      const first = await made(kinds.ConfigMap, configMap('named'));
      await runtime.api.delete(kinds.ConfigMap, first.metadata);
      await runtime.api.delete(kinds.ConfigMap, first.metadata);
      const second = await made(kinds.ConfigMap, configMap('named'));
      await runtime.api.delete(kinds.ConfigMap, first.metadata);
      const still = await runtime.api.get(kinds.ConfigMap, { namespace, name: 'named' });
      assert.equal(still?.metadata.uid, second.metadata.uid);
    });

    it('says clearly that a namespace is being deleted', async () => {
      const dying = await kubernetes.namespace('dying');
      const inside = (name: string, finalizers: string[]): Desired => ({
        ...configMap(name),
        metadata: { namespace: dying, name, finalizers },
      });
      const keeper = await made(kinds.ConfigMap, inside('keeper', ['test.example.org/keep']));
      await kubernetes.expect(`/api/v1/namespaces/${dying}`, { method: 'DELETE' });
      try {
        for (const attempt of [
          runtime.api.create(kinds.ConfigMap, inside('late', [])),
          runtime.api.apply(kinds.ConfigMap, inside('late', [])),
        ]) {
          const error = await failure(attempt);
          assert.equal(error.code, 403);
          assert.ok(error.isNamespaceTerminating && !error.transient);
        }
      } finally {
        await runtime.api.patch(kinds.ConfigMap, keeper.metadata, { metadata: { finalizers: null } });
      }
    });

    it('fails at once on a name without a namespace', async () => {
      await assert.rejects(runtime.api.get(kinds.ConfigMap, { name: 'a' }), TypeError);
      await assert.rejects(runtime.api.get(kinds.StorageClass, { namespace, name: 'a' }), TypeError);
    });
  });

  describe('and its connections', () => {
    let proxy: TcpProxy;
    beforeEach(async () => {
      const { hostname, port } = new URL(kubernetes.url);
      proxy = await TcpProxy.start({ host: hostname, port: Number(port) });
      runtime = runtimeFor(kubernetes, { server: `https://127.0.0.1:${proxy.port}` });
    });
    afterEach(() => proxy.close());

    it('are at most two for 200 calls', async () => {
      for (let call = 0; call < 200; call += 1) await runtime.api.get(kinds.ConfigMap, { namespace, name: 'none' });
      assert.ok(proxy.accepted <= 2, `${proxy.accepted} connections`);
    });

    it('end with a watch that nobody reads any more', async () => {
      const { resourceVersion } = await runtime.api.list(kinds.ConfigMap, { namespace });
      await made(kinds.ConfigMap, configMap('watched'));
      const query = { namespace, resourceVersion, timeoutSeconds: 300, idleMs: 60_000 };
      for await (const { type, object } of runtime.api.watch(kinds.ConfigMap, query)) {
        assert.deepEqual([type, Reflect.get(object.metadata, 'name')], ['ADDED', 'watched']);
        break;
      }
      await until('at most the kept one is left', () => proxy.connections <= 1);
    });
  });

  it('leaves nothing behind at its caller’s signal', async () => {
    const { signal } = new AbortController();
    await runtime.api.get(kinds.ConfigMap, { namespace, name: 'none' }, { signal });
    assert.deepEqual(getEventListeners(signal, 'abort'), []);
  });

  it('stops waiting as soon as its caller does', async () => {
    const stop = new AbortController();
    const call = runtime.api.list(kinds.ConfigMap, {}, { signal: stop.signal });
    stop.abort();
    await assert.rejects(call, { name: 'AbortError' });
  });
});
