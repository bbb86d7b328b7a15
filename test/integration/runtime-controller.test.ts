// A whole controller against a real API server: each Widget gets a ConfigMap and a status.
import assert from 'node:assert/strict';
import {
  ApiError,
  applies,
  type ConfigMap,
  type Controller,
  type Informer,
  kinds,
  mergeConditions,
  ownerReference,
  refOf,
  runControllers,
  TerminalError,
  unwanted,
  watches,
  withHash,
} from '../../operator/runtime/index.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import {
  closeRuntimes,
  installWidgets,
  type Runtime,
  requests,
  runtimeFor,
  type Widget,
  widgets,
} from '../support/runtime.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const LABELS = { 'app.kubernetes.io/managed-by': 'narwhal-test' };

describeWith('kubernetes', 'a controller', () => {
  let kubernetes: Kubernetes;
  let namespace: string;
  let runtime: Runtime;
  let widgetStore: Informer<Widget>;
  let configMaps: Informer<ConfigMap>;
  let stop: AbortController;
  let running: Promise<void> = Promise.resolve();

  before(async () => {
    kubernetes = await sharedKubernetes();
    await installWidgets(kubernetes);
  });
  beforeEach(async () => {
    namespace = await kubernetes.namespace('controller');
    runtime = runtimeFor(kubernetes);
    widgetStore = runtime.follow(widgets, { namespaces: [namespace] });
    configMaps = runtime.follow(kinds.ConfigMap, { namespaces: [namespace] });
    stop = new AbortController();
  });
  afterEach(async () => {
    stop.abort();
    await running;
    await closeRuntimes();
  });

  const ownersOf = ({ metadata }: ConfigMap) =>
    (metadata.ownerReferences ?? []).map(({ name }) => `${metadata.namespace}/${name}`);
  const sources = () => [
    watches(widgetStore, ({ metadata }) => [`${metadata.namespace}/${metadata.name}`]),
    watches(configMaps, ownersOf),
  ];
  const start = (controller: Partial<Controller> & Pick<Controller, 'reconcile'>) => {
    const quick = { name: 'widget', sources: sources(), backoff: { baseMs: 20, maxMs: 200 } };
    running = runControllers([{ ...quick, ...controller }], runtime, stop.signal);
  };
  const create = (name: string, size = 'small') =>
    kubernetes.expect(`/apis/test.example.org/v1/namespaces/${namespace}/widgets`, {
      method: 'POST',
      body: { apiVersion: widgets.apiVersion, kind: 'Widget', metadata: { name }, spec: { size } },
    });
  const configMap = (name: string) => configMaps.get({ namespace, name });

  /** What an operator does, in small. */
  async function reconcile(ref: { namespace?: string | undefined; name: string }): Promise<undefined> {
    const widget = widgetStore.get(ref);
    if (widget === undefined) return;
    const { apiVersion, kind } = kinds.ConfigMap;
    const metadata = { ...ref, labels: LABELS, ownerReferences: [ownerReference(widget)] };
    const desired = withHash(
      { apiVersion, kind, metadata, data: { size: widget.spec?.size ?? '' } },
      'test.example.org/applied',
    );
    if (!applies(configMap(ref.name), desired)) await runtime.api.apply(kinds.ConfigMap, desired);
    const ours = { uid: widget.metadata.uid, labels: LABELS };
    for (const { metadata } of unwanted(configMaps.all(namespace), [desired], ours))
      await runtime.api.delete(kinds.ConfigMap, metadata);
    const ready = { type: 'Ready', status: 'True', reason: 'Done', message: '' } as const;
    const conditions = mergeConditions([], [ready], widget.metadata.generation, new Date());
    const status = { phase: 'Ready', conditions: conditions.map(({ type, status }) => ({ type, status })) };
    const next = { apiVersion: widgets.apiVersion, kind: 'Widget', metadata: { ...ref }, status };
    if (!applies(widget, next)) await runtime.api.apply(widgets, next, { sub: 'status' });
  }

  it('makes the world as objects wish, mends it, and then is quiet', async () => {
    await create('one');
    start({ reconcile });
    await until('it is made', () => configMap('one')?.data?.size === 'small');
    await until('the status is written', () => widgetStore.get({ namespace, name: 'one' })?.status?.phase === 'Ready');
    await kubernetes.kubectl(['delete', 'configmap', 'one', '-n', namespace]);
    await until('it is made again', () => configMap('one')?.data?.size === 'small');
    await kubernetes.kubectl([
      'patch',
      'widget',
      'one',
      '-n',
      namespace,
      '--type=merge',
      '-p',
      '{"spec":{"size":"big"}}',
    ]);
    await until('it is big', () => configMap('one')?.data?.size === 'big');
    // One more reconcile of the same state must write nothing.
    const quiet = async () => {
      const [applied, reconciled] = await Promise.all([requests(runtime.metrics, 'apply'), reconciles('ok')]);
      await kubernetes.kubectl([
        'annotate',
        'widget',
        'one',
        '-n',
        namespace,
        '--overwrite',
        `at=${performance.now()}`,
      ]);
      await until('it was reconciled', async () => (await reconciles('ok')) > reconciled);
      return (await requests(runtime.metrics, 'apply')) === applied;
    };
    await until('it is quiet', quiet);
    assert.equal(await reconciles('error'), 0);
  });

  it('removes what is ours and no longer wanted, and nothing else', async () => {
    await create('one');
    start({ reconcile });
    await until('it is made', () => configMap('one') !== undefined);
    const widget = widgetStore.get({ namespace, name: 'one' });
    assert.ok(widget !== undefined);
    const more = (name: string, labels: Record<string, string>) =>
      runtime.api.create(kinds.ConfigMap, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { namespace, name, labels, ownerReferences: [ownerReference(widget)] },
      });
    await more('theirs', {});
    await more('old', LABELS);
    await until('the old one is removed', async () => {
      return (await runtime.api.get(kinds.ConfigMap, { namespace, name: 'old' })) === undefined;
    });
    assert.notEqual(await runtime.api.get(kinds.ConfigMap, { namespace, name: 'theirs' }), undefined);
  });

  it('writes a bounded number of times against somebody who writes the opposite', async () => {
    await create('one');
    start({ reconcile });
    await until('the status is written', () => widgetStore.get({ namespace, name: 'one' })?.status?.phase === 'Ready');
    await until('all is well', () => configMap('one')?.data?.size === 'small');
    const before = await requests(runtime.metrics, 'apply');
    let opposed = 0;
    const oppose = () => {
      opposed += 1;
      return kubernetes.expect(`/api/v1/namespaces/${namespace}/configmaps/one`, {
        method: 'PATCH',
        type: 'application/merge-patch+json',
        body: { data: { size: 'theirs' } },
      });
    };
    configMaps.onChange(({ type, object }) => {
      if (type === 'put' && object.data?.size === 'small' && opposed < 20) void oppose();
    });
    await oppose();
    await until('the opponent gave up', () => opposed === 20);
    await until('we have won', () => configMap('one')?.data?.size === 'small');
    // Each change, theirs or ours, is one pass at most, and each pass one write at most.
    const written = (await requests(runtime.metrics, 'apply')) - before;
    assert.ok(written <= 2 * opposed, `${written} writes against ${opposed}`);
    assert.equal(await requests(runtime.metrics, 'apply', 409), 0);
  });

  const reconciles = async (result: string) => {
    const series = await runtime.metrics.registry.getSingleMetric('test_reconcile_seconds')?.get();
    const counts = (series?.values ?? []).filter((value) => Reflect.get(value, 'metricName')?.endsWith('_count'));
    return counts.find(({ labels }) => labels.result === result)?.value ?? 0;
  };

  it('tries again what failed, and not what only a change can help', async () => {
    await Promise.all(['transient', 'terminal', 'conflict'].map((name) => create(name)));
    const attempts = new Map<string, number>();
    start({
      reconcile: async ({ name }) => {
        const attempt = (attempts.get(name) ?? 0) + 1;
        attempts.set(name, attempt);
        if (name === 'terminal') throw new TerminalError('it is wrong as it is');
        if (attempt < 3 && name === 'transient') throw new ApiError(0, 'Network', 'cut');
        if (attempt < 3) throw new ApiError(409, 'Conflict', 'another was faster');
        return undefined;
      },
    });
    const ended = () => attempts.get('transient') === 3 && attempts.get('conflict') === 3;
    await until('they have succeeded', ended);
    assert.equal(attempts.get('terminal'), 1);
    await kubernetes.kubectl(['label', 'widget', 'terminal', '-n', namespace, 'a=b']);
    await until('a change brought it back', () => attempts.get('terminal') === 2);
    const levels = (key: string) =>
      runtime.log.filter((line) => line.key === `${namespace}/${key}`).map(({ level }) => level);
    assert.deepEqual(
      [levels('transient'), levels('conflict'), levels('terminal')],
      [
        [40, 40],
        [30, 30],
        [50, 50],
      ],
    );
    await until('all is counted', async () => (await reconciles('terminal')) === 2);
    assert.deepEqual([await reconciles('error'), await reconciles('conflict')], [2, 2]);
  });

  it('comes back when it asked for it, and at each resync', async () => {
    await create('one');
    let passes = 0;
    start({
      resyncMs: 100,
      reconcile: async () => {
        passes += 1;
        return passes < 3 ? { requeueAfterMs: 10 } : undefined;
      },
    });
    await until('it came again and again', () => passes > 5);
  });

  it('waits for what it is at when it is told to stop', async () => {
    await create('one');
    let state = 'idle';
    start({
      reconcile: async (_, signal) => {
        state = 'working';
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        await runtime.api.list(kinds.ConfigMap, { namespace });
        state = 'done';
        return undefined;
      },
    });
    await until('it works', () => state === 'working');
    stop.abort();
    await running;
    assert.equal(state, 'done');
  });

  it('does nothing before all its stores are whole', async () => {
    await create('one');
    const absent = { ...widgets, apiVersion: 'absent.example.org/v1' };
    const never = runtime.follow(absent);
    let passes = 0;
    start({
      sources: [...sources(), watches(never, () => [])],
      reconcile: async () => {
        passes += 1;
      },
    });
    await widgetStore.synced;
    await runtime.logged('a watch broke; it goes on');
    stop.abort();
    await running;
    assert.equal(passes, 0);
  });

  it('finds all objects when it begins long after its informers', async () => {
    await create('one');
    await Promise.all([widgetStore.synced, configMaps.synced]);
    start({ reconcile });
    await until('it is made', () => configMap('one') !== undefined);
  });

  it('tells of a change to whom it concerned before, too', async () => {
    const seen: string[] = [];
    const source = watches(widgetStore, ({ spec }) => [`${namespace}/${spec?.size}`]);
    start({
      sources: [source],
      reconcile: async ({ name }) => {
        seen.push(name);
      },
    });
    await create('moving', 'here');
    await until('it is seen', () => seen.includes('here'));
    seen.length = 0;
    await kubernetes.kubectl([
      'patch',
      'widget',
      'moving',
      '-n',
      namespace,
      '--type=merge',
      '-p',
      '{"spec":{"size":"there"}}',
    ]);
    await until('both were told', () => seen.includes('here') && seen.includes('there'));
  });

  it('passes over changes that do not count', async () => {
    const seen: string[] = [];
    const sameGeneration = watches(
      widgetStore,
      ({ metadata }) => [`${namespace}/${metadata.name}`],
      (now, before) => now.metadata.generation !== before.metadata.generation,
    );
    start({
      sources: [sameGeneration],
      reconcile: async ({ name }) => {
        seen.push(`${name} ${widgetStore.get(refOf(`${namespace}/${name}`))?.metadata.generation}`);
        return undefined;
      },
    });
    await create('one');
    await until('it is seen', () => seen.includes('one 1'));
    const status = {
      apiVersion: widgets.apiVersion,
      kind: 'Widget',
      metadata: { namespace, name: 'one' },
      status: { phase: 'a' },
    };
    await runtime.api.apply(widgets, status, { sub: 'status' });
    await until('the status has come', () => widgetStore.get({ namespace, name: 'one' })?.status?.phase === 'a');
    await create('two');
    await until('it is seen', () => seen.includes('two 1'));
    assert.deepEqual(seen, ['one 1', 'two 1']);
  });
});
