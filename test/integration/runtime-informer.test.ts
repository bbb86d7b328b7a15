// Informers against a real API server: what they hold, what they tell, and how they go on after a failure.
import assert from 'node:assert/strict';
import {
  type Change,
  type ConfigMap,
  type Informer,
  kinds,
  metadataOf,
  type Obj,
} from '../../operator/runtime/index.ts';
import { type Fault, type FaultProxy, inTurn, type Seen } from '../support/fault-proxy.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { closeRuntimes, counted, crd, proxyFor, requests, runtimeFor } from '../support/runtime.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

/** What an informer told, in words: `put a`, `update a`, `delete a`. */
function told<T extends Obj>(informer: Informer<T>): string[] {
  const words: string[] = [];
  informer.onChange((change: Change<T>) => {
    const word = change.type === 'delete' ? 'delete' : change.before === undefined ? 'put' : 'update';
    words.push(`${word} ${change.object.metadata.name}`);
  });
  return words;
}

describeWith('kubernetes', 'an informer', () => {
  let kubernetes: Kubernetes;
  let namespace: string;

  before(async () => {
    kubernetes = await sharedKubernetes();
  });
  beforeEach(async () => {
    namespace = await kubernetes.namespace('informer');
  });
  afterEach(closeRuntimes);

  const path = (name = '', where = namespace) => `/api/v1/namespaces/${where}/configmaps/${name}`.replace(/\/$/, '');
  const create = async (name: string, fields: object = {}, where = namespace) => {
    const { labels, ...rest } = fields as { labels?: object };
    const body = { metadata: { name, ...(labels && { labels }) }, ...rest };
    await kubernetes.expect(path('', where), { method: 'POST', body });
  };
  const change = (name: string, data: object) =>
    kubernetes.expect(path(name), { method: 'PATCH', type: 'application/merge-patch+json', body: { data } });
  const remove = (name: string) => kubernetes.expect(path(name), { method: 'DELETE' });

  describe('on a good day', () => {
    it('holds what there is, tells what happens, and forgets what is gone', async () => {
      await create('early', { data: { a: '1' } });
      const informer = runtimeFor(kubernetes).follow(kinds.ConfigMap, { namespaces: [namespace] });
      const words = told(informer);
      await informer.synced;
      await create('late');
      await change('early', { a: '2' });
      await remove('late');
      await until('all was told', () => words.length === 4);
      assert.deepEqual(words, ['put early', 'put late', 'update early', 'delete late']);
      assert.equal(informer.get({ namespace, name: 'early' })?.data?.a, '2');
      assert.equal(informer.get({ namespace, name: 'late' }), undefined);
      assert.equal(informer.size, 1);
    });

    it('keeps no managed fields, unless it is told what to keep', async () => {
      await create('trimmed', { data: { a: '1' } });
      const runtime = runtimeFor(kubernetes);
      const trimmed = runtime.follow(kinds.ConfigMap, { namespaces: [namespace] });
      const bare = runtime.follow<ConfigMap>(kinds.ConfigMap, {
        namespaces: [namespace],
        trim: ({ apiVersion, kind, metadata }) => ({ apiVersion, kind, metadata }),
      });
      await Promise.all([trimmed.synced, bare.synced]);
      const ref = { namespace, name: 'trimmed' };
      assert.ok(!('managedFields' in (trimmed.get(ref)?.metadata ?? {})));
      assert.deepEqual(trimmed.get(ref)?.data, { a: '1' });
      assert.ok('managedFields' in (bare.get(ref)?.metadata ?? {}));
      assert.equal(bare.get(ref)?.data, undefined);
    });

    it('follows several namespaces, and no others, behind one store', async () => {
      const other = await kubernetes.namespace('informer');
      const third = await kubernetes.namespace('informer');
      for (const where of [namespace, other, third]) await create('same', {}, where);
      const informer = runtimeFor(kubernetes).follow(kinds.ConfigMap, { namespaces: [namespace, other] });
      await informer.synced;
      assert.equal(informer.size, 2);
      assert.deepEqual(
        [...informer.all(other)].map(({ metadata }) => metadata.namespace),
        [other],
      );
      assert.equal(informer.get({ namespace: third, name: 'same' }), undefined);
      await create('later', {}, other);
      await until('it is seen', () => informer.get({ namespace: other, name: 'later' }) !== undefined);
    });

    it('finds by an index what has a value now', async () => {
      await create('a', { data: { colour: 'red' } });
      await create('b', { data: { colour: 'red' } });
      const informer = runtimeFor(kubernetes).follow(kinds.ConfigMap, {
        namespaces: [namespace],
        indexes: { colour: ({ data }) => (data?.colour === undefined ? [] : [data.colour]) },
      });
      const names = (colour: string) => informer.by('colour', colour).map(({ metadata }) => metadata.name);
      await informer.synced;
      assert.deepEqual(names('red').sort(), ['a', 'b']);
      await change('a', { colour: 'blue' });
      await until('it is blue', () => names('blue').length === 1);
      assert.deepEqual([names('red'), names('blue')], [['b'], ['a']]);
      await remove('b');
      await until('none is red', () => names('red').length === 0);
      assert.throws(() => informer.by('size', 'big'), TypeError);
    });

    it('follows the metadata of Secrets without their data', async () => {
      const body = { metadata: { name: 'secret' }, stringData: { a: 'b' } };
      const informer = runtimeFor(kubernetes).follow(metadataOf(kinds.Secret), { namespaces: [namespace] });
      await informer.synced;
      await kubernetes.expect(`/api/v1/namespaces/${namespace}/secrets`, { method: 'POST', body });
      const found = () => informer.get({ namespace, name: 'secret' });
      await until('it is seen', () => found() !== undefined);
      assert.equal(found()?.kind, 'Secret');
      assert.ok(!('data' in (found() ?? {})));
    });

    it('goes on when a listener or an index throws', async () => {
      const runtime = runtimeFor(kubernetes);
      const informer = runtime.follow(kinds.ConfigMap, {
        namespaces: [namespace],
        indexes: { bad: () => assert.fail('a bad index') },
      });
      informer.onChange(() => assert.fail('a bad listener'));
      const words = told(informer);
      await informer.synced;
      await create('first');
      await create('second');
      await until('both were told', () => words.length === 2);
      assert.equal(await counted(runtime.metrics, 'test_informer_handler_errors_total'), 4);
    });

    it('has no objects of a kind that is not served, until it is', async () => {
      const group = `${namespace}.example.org`;
      const kind = { apiVersion: `${group}/v1`, kind: 'Gadget', plural: 'gadgets', namespaced: true };
      const informer = runtimeFor(kubernetes).follow(kind, { optional: true, times: { absentMs: 50 } });
      await informer.synced;
      assert.equal(informer.size, 0);
      const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
      await kubernetes.expect(definitions, { method: 'POST', body: crd('gadgets', 'Gadget', group).definition });
      try {
        const gadgets = `/apis/${group}/v1/namespaces/${namespace}/gadgets`;
        const body = { apiVersion: kind.apiVersion, kind: 'Gadget', metadata: { name: 'one' } };
        const create = async () => (await kubernetes.request(gadgets, { method: 'POST', body })).status === 201;
        await until('it can be created', create);
        await until('it is seen', () => informer.size === 1);
      } finally {
        await kubernetes.expect(`${definitions}/gadgets.${group}`, { method: 'DELETE' });
      }
      await until('it is gone with its kind', () => informer.size === 0);
    });
  });

  describe('whose network fails', () => {
    let proxy: TcpProxy;
    beforeEach(async () => {
      const { hostname, port } = new URL(kubernetes.url);
      proxy = await TcpProxy.start({ host: hostname, port: Number(port) });
    });
    afterEach(() => proxy.close());

    it('goes on where it was after a cut, and tells an object that was created anew as another one', async () => {
      await create('reborn');
      await create('kept');
      const runtime = runtimeFor(kubernetes, { server: `https://127.0.0.1:${proxy.port}` });
      const informer = runtime.follow(kinds.ConfigMap, { namespaces: [namespace] });
      await informer.synced;
      const words = told(informer);
      await proxy.refuse(true);
      proxy.cut();
      await runtime.logged('a watch broke; it goes on');
      await remove('reborn');
      await create('reborn');
      await create('new');
      await proxy.refuse(false);
      await until('all was told', () => words.length === 3);
      assert.deepEqual(words, ['delete reborn', 'put reborn', 'put new']);
      assert.equal(await requests(runtime.metrics, 'list'), 1);
    });

    it('gives up a connection that has gone silent, and goes on where it was', async () => {
      const runtime = runtimeFor(kubernetes, { server: `https://127.0.0.1:${proxy.port}`, timeoutMs: 2000 });
      const informer = runtime.follow(kinds.ConfigMap, { namespaces: [namespace], times: { idleMs: 1000 } });
      await informer.synced;
      await until('it watches', async () => (await requests(runtime.metrics, 'watch', 200)) > 0);
      proxy.pause();
      await create('unseen');
      const ended = (reason: string) => counted(runtime.metrics, 'test_watch_restarts_total', { reason });
      const idleBefore = await ended('idle');
      await until('the silence was noticed', async () => (await ended('idle')) > idleBefore);
      assert.equal(informer.size, 0);
      proxy.resume();
      await until('it is seen', () => informer.size === 1);
      assert.equal(await requests(runtime.metrics, 'list', 200), 1);
    });
  });

  describe('that is refused', () => {
    let proxy: FaultProxy;
    before(async () => {
      proxy = await proxyFor(kubernetes);
    });
    beforeEach(() => {
      proxy.fate = () => undefined;
      proxy.seen.length = 0;
    });
    after(() => proxy.close());

    const isWatch = ({ url }: Seen) => url.includes('watch=true');
    const watched = () => proxy.seen.filter(isWatch).map(({ url }) => new URL(url, 'http://x').searchParams);
    const follow = (...faults: Fault[]) => {
      proxy.fate = inTurn(isWatch, faults);
      const runtime = runtimeFor(kubernetes, { server: proxy.url });
      const informer = runtime.follow(kinds.ConfigMap, { namespaces: [namespace], labelSelector: 'a!=b' });
      return { ...runtime, informer };
    };
    const status = (code: number, reason: string) => JSON.stringify({ kind: 'Status', code, reason });
    const errorEvent = (code: number, reason: string): Fault => ({
      status: 200,
      body: `{"type":"ERROR","object":${status(code, reason)}}\n`,
      forward: false,
    });

    it('asks for bookmarks, an end, and the selectors of its list', async () => {
      const { informer } = follow();
      await informer.synced;
      await until('it watches', () => watched().length > 0);
      const [query] = watched();
      assert.equal(query?.get('allowWatchBookmarks'), 'true');
      assert.equal(query.get('labelSelector'), 'a!=b');
      const seconds = Number(query.get('timeoutSeconds'));
      assert.ok(seconds >= 290 && seconds <= 350, `${seconds}`);
    });

    for (const [how, fault] of [
      ['by the status', { status: 410, body: status(410, 'Expired'), forward: false }],
      ['by an event', errorEvent(410, 'Expired')],
    ] as const) {
      it(`lists again when its version is too old, ${how}`, async () => {
        await create('there');
        const { informer, metrics } = follow(fault);
        const words = told(informer);
        await until('it watches again', () => watched().length === 2);
        assert.equal(await requests(metrics, 'list'), 2);
        assert.equal(await counted(metrics, 'test_watch_restarts_total', { reason: 'expired' }), 1);
        assert.deepEqual(words, ['put there'], 'what has not changed is not told again');
        assert.equal(informer.size, 1);
      });
    }

    it('goes on from the same version after any other error', async () => {
      const { informer, metrics } = follow(errorEvent(500, 'InternalError'), {
        status: 500,
        body: status(500, 'InternalError'),
        forward: false,
      });
      await informer.synced;
      await until('it watches again', () => watched().length === 3);
      assert.equal(new Set(watched().map((query) => query.get('resourceVersion'))).size, 1);
      assert.equal(await requests(metrics, 'list'), 1);
    });

    it('goes on from where a bookmark says', async () => {
      const bookmark = { type: 'BOOKMARK', object: { kind: 'ConfigMap', metadata: { resourceVersion: '7' } } };
      const { informer } = follow({ status: 200, body: `${JSON.stringify(bookmark)}\n`, forward: false });
      await informer.synced;
      await until('it watches again', () => watched().length >= 2);
      assert.equal(watched()[1]?.get('resourceVersion'), '7');
    });

    it('waits between watches that end at once', async () => {
      const empty: Fault = { status: 200, body: '', forward: false };
      const { informer, metrics } = follow(empty, empty, empty);
      await informer.synced;
      await until('it watches again', () => watched().length === 4);
      // On a machine that stands still, one may not have ended at once.
      assert.ok((await counted(metrics, 'test_watch_restarts_total', { reason: 'short' })) > 0);
    });

    it('comes back when the server said', async () => {
      const { informer } = follow();
      const at: number[] = [];
      const putOff = inTurn(isWatch, [{ status: 429, headers: { 'Retry-After': '1' }, forward: false }]);
      proxy.fate = (seen) => {
        if (isWatch(seen)) at.push(performance.now());
        return putOff(seen);
      };
      await informer.synced;
      await until('it watches again', () => at.length === 2);
      const [first = 0, second = 0] = at;
      assert.ok(second - first >= 1000, `${second - first} ms`);
    });
  });
});
