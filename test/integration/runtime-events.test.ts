// Events as users see them, and how few are written of very many.
import assert from 'node:assert/strict';
import { type AnyObj, Events, type EventsInit, type Happening, kinds, type Obj } from '../../operator/runtime/index.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { closeRuntimes, counted, type Runtime, requests, runtimeFor } from '../support/runtime.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const FAILED: Happening = { type: 'Warning', reason: 'Failed', action: 'Reconcile', note: 'it did not work' };

describeWith('kubernetes', 'events', () => {
  let kubernetes: Kubernetes;
  let namespace: string;
  let runtime: Runtime;
  let object: Obj;
  let now = 0;

  before(async () => {
    kubernetes = await sharedKubernetes();
  });
  beforeEach(async () => {
    namespace = await kubernetes.namespace('events');
    runtime = runtimeFor(kubernetes);
    now = 0;
    object = await made('one');
  });
  afterEach(closeRuntimes);

  async function made(name: string): Promise<Obj> {
    const { apiVersion, kind } = kinds.ConfigMap;
    const created = await runtime.api.create(kinds.ConfigMap, { apiVersion, kind, metadata: { namespace, name } });
    assert.ok(created !== 'exists');
    return created;
  }

  const recorder = (init: Partial<EventsInit> = {}) =>
    new Events({ ...runtime, controller: 'test.example.org/operator', instance: 'pod-1', clock: () => now, ...init });
  const written = async (): Promise<AnyObj[]> => (await runtime.api.list(kinds.Event, { namespace })).items;
  const dropped = () => counted(runtime.metrics, 'test_events_dropped_total');

  it('are shown by kubectl describe', async () => {
    const events = recorder();
    events.record(object, FAILED);
    await events.flush();
    const described = await kubernetes.kubectl(['describe', 'configmap', 'one', '-n', namespace]);
    assert.match(described, /Warning\s+Failed\s.*it did not work/);
  });

  it('become one that counts when the same happens again, written now and then', async () => {
    const events = recorder({ seriesMs: 1000 });
    const happens = async (times: number) => {
      for (let count = 0; count < times; count += 1) events.record(object, FAILED);
      await events.flush();
    };
    const count = async () => {
      const [event, ...others] = await written();
      assert.equal(others.length, 0);
      return Reflect.get(event?.series ?? {}, 'count');
    };
    await happens(1);
    assert.equal(await count(), undefined);
    await happens(1);
    assert.equal(await count(), 2);
    await happens(5);
    assert.equal(await count(), 2);
    now = 1000;
    await happens(1);
    assert.equal(await count(), 8);
    assert.equal((await requests(runtime.metrics, 'patch')) + (await requests(runtime.metrics, 'create')), 1 + 3);
  });

  it('are created anew when the cluster has forgotten them', async () => {
    const events = recorder();
    events.record(object, FAILED);
    await events.flush();
    for (const { metadata } of await written()) await runtime.api.delete(kinds.Event, metadata);
    events.record(object, FAILED);
    await events.flush();
    assert.partialDeepStrictEqual(await written(), [{ series: { count: 2 } }]);
  });

  it('are limited for each object, and not for others', async () => {
    const other = await made('other');
    const events = recorder({ burst: 2, refillMs: 1000 });
    const happens = (regarding: Obj, note: string) => events.record(regarding, { ...FAILED, note });
    for (const note of ['1', '2', '3', '4']) happens(object, note);
    happens(other, '5');
    now = 1000;
    happens(object, '6');
    happens(object, '7');
    await events.flush();
    const notes = (await written()).map(({ note }) => String(note));
    assert.deepEqual(notes.sort(), ['1', '2', '5', '6']);
    assert.equal(await dropped(), 3);
  });

  it('are forgotten, the longest unused first', async () => {
    const events = recorder({ remembered: 2 });
    for (const note of ['1', '2', '1', '3', '1', '2']) {
      events.record(object, { ...FAILED, note });
      await events.flush();
    }
    const counts = (await written()).map(({ note, series }) => `${note}: ${Reflect.get(series ?? {}, 'count')}`);
    assert.deepEqual(counts.sort(), ['1: 2', '2: undefined', '2: undefined', '3: undefined']);
  });

  it('keep within what the API takes', async () => {
    const events = recorder();
    events.record(object, { ...FAILED, note: 'é'.repeat(2000) });
    const long = await made('n'.repeat(253));
    events.record(long, FAILED);
    await events.flush();
    assert.equal((await written()).length, 2);
    assert.equal(await dropped(), 0);
  });

  it('are kept in the default namespace for objects of the cluster', async () => {
    const metadata = { ...object.metadata, name: `cluster-${object.metadata.uid}` };
    const { namespace: _, ...clusterWide } = metadata;
    const events = recorder();
    events.record({ apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: clusterWide }, FAILED);
    await events.flush();
    const { items } = await runtime.api.list(kinds.Event, { namespace: 'default' });
    assert.equal(items.filter(({ metadata: { name } }) => name.startsWith(clusterWide.name)).length, 1);
  });

  it('fail nothing when they cannot be written', async () => {
    const events = recorder();
    events.record({ ...object, metadata: { ...object.metadata, namespace: 'none' } }, FAILED);
    await events.flush();
    assert.equal(await dropped(), 1);
    await runtime.logged('an event could not be written');
  });
});
