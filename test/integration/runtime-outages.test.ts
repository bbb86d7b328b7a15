// The runtime when its API server is killed, frozen, or has forgotten the past.
import assert from 'node:assert/strict';
import { type Informer, kinds, LeaseLost, lead, type Obj } from '../../operator/runtime/index.ts';
import { describeWithOwnKubernetes, Kubernetes } from '../support/kubernetes.ts';
import { closeRuntimes, counted, type Runtime, requests, runtimeFor } from '../support/runtime.ts';
import { until } from '../support/server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const START_MS = 120_000;

describeWithOwnKubernetes('the runtime in an outage of the API server', () => {
  let kubernetes: Kubernetes;
  let namespace: string;
  let words: string[];

  before(async function () {
    this.timeout(START_MS);
    kubernetes = await Kubernetes.start();
  });
  beforeEach(async () => {
    namespace = await kubernetes.namespace('outage');
    words = [];
  });
  afterEach(closeRuntimes);
  after(() => kubernetes.remove());

  const path = (name = '') => `/api/v1/namespaces/${namespace}/configmaps/${name}`.replace(/\/$/, '');
  const create = (name: string) => kubernetes.expect(path(), { method: 'POST', body: { metadata: { name } } });
  const remove = (name: string) => kubernetes.expect(path(name), { method: 'DELETE' });

  function tell<T extends Obj>(informer: Informer<T>): void {
    informer.onChange(({ type, object }) => words.push(`${type} ${object.metadata.name}`));
  }

  async function followed(runtime: Runtime): Promise<void> {
    const informer = runtime.follow(kinds.ConfigMap, { namespaces: [namespace], times: { idleMs: 2000 } });
    tell(informer);
    await informer.synced;
  }

  it('goes on with its watch when the server was killed, without a gap', async () => {
    const runtime = runtimeFor(kubernetes);
    await followed(runtime);
    await create('before');
    await until('it is told', () => words.length === 1);
    await kubernetes.stopApi();
    await runtime.logged('a watch broke; it goes on');
    await kubernetes.restartApi();
    await create('after');
    await until('it is told', () => words.length === 2);
    assert.deepEqual(words, ['put before', 'put after']);
    // A server that starts remembers nothing older than itself: if it has written anything by then, it wants a list.
    const expired = await counted(runtime.metrics, 'test_watch_restarts_total', { reason: 'expired' });
    assert.equal(await requests(runtime.metrics, 'list'), 1 + expired);
    assert.ok(expired <= 1);
  });

  it('lists once when the server has forgotten what happened meanwhile, and tells all of it', async () => {
    for (const name of ['kept', 'gone', 'reborn']) await create(name);
    const { hostname, port } = new URL(kubernetes.url);
    const proxy = await TcpProxy.start({ host: hostname, port: Number(port) });
    try {
      const runtime = runtimeFor(kubernetes, { server: `https://127.0.0.1:${proxy.port}` });
      await followed(runtime);
      words.length = 0;
      await proxy.refuse(true);
      proxy.cut();
      await remove('gone');
      await remove('reborn');
      await create('reborn');
      await create('new');
      await kubernetes.compact();
      await kubernetes.restartApi();
      // Something must be newer than what a server without a memory of its own starts from.
      await kubernetes.namespace('newer');
      await proxy.refuse(false);
      await until('all was told', () => words.length === 4);
      assert.deepEqual(words, ['delete gone', 'put new', 'delete reborn', 'put reborn']);
      assert.equal(await requests(runtime.metrics, 'list', 200), 2);
      assert.equal(await counted(runtime.metrics, 'test_watch_restarts_total', { reason: 'expired' }), 1);
    } finally {
      await proxy.close();
    }
  });

  it('notices that the server is frozen, and goes on once it is not', async () => {
    const runtime = runtimeFor(kubernetes, { timeoutMs: 2000 });
    await followed(runtime);
    kubernetes.freezeApi();
    try {
      const idle = () => counted(runtime.metrics, 'test_watch_restarts_total', { reason: 'idle' });
      const before = await idle();
      await until('the silence was noticed', async () => (await idle()) > before);
    } finally {
      kubernetes.thawApi();
    }
    await create('after');
    await until('it is told', () => words.length === 1);
    assert.equal(await requests(runtime.metrics, 'list', 200), 1);
  });

  it('stops leading in time when the server is frozen, and lets another lead afterwards', async () => {
    const runtime = runtimeFor(kubernetes);
    const lease = { ...runtime, namespace, name: 'frozen', leaseMs: 6000, renewMs: 2500, retryMs: 200, graceMs: 1000 };
    const leaders = new Set<string>();
    /** When it ended, and by what. */
    const candidate = (identity: string) => {
      const work = async (signal: AbortSignal) => {
        leaders.add(identity);
        assert.equal(leaders.size, 1, 'two lead');
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        leaders.delete(identity);
      };
      return lead({ ...lease, identity }, runtime.signal, work).then(
        () => ({ error: undefined, at: performance.now() }),
        (error: unknown) => ({ error, at: performance.now() }),
      );
    };
    const first = candidate('first');
    await until('the first leads', () => leaders.has('first'));
    const second = candidate('second');
    kubernetes.freezeApi();
    const frozenAt = performance.now();
    try {
      const { error, at } = await first;
      assert.ok(error instanceof LeaseLost, String(error));
      // Long before anybody else could have taken it.
      assert.ok(at - frozenAt < lease.leaseMs, `${at - frozenAt} ms`);
      assert.equal(leaders.size, 0);
    } finally {
      kubernetes.thawApi();
    }
    await until('the second leads', () => leaders.has('second'));
    await closeRuntimes();
    assert.equal((await second).error, undefined);
  });
});
