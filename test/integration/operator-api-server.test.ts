// An operator whose API server is killed, stands still, or has forgotten what it missed.
import assert from 'node:assert/strict';
import { kinds, type Lease, type Obj } from '../../operator/runtime/index.ts';
import { BINARY_CACHE } from '../support/cache-conditions.ts';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import { describeWithOwnKubernetes, Kubernetes } from '../support/kubernetes.ts';
import { QUIET_LEASE } from '../support/operator.ts';
import { until } from '../support/server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const RESTARTS = 'narwhal_operator_watch_restarts_total';

describeWithOwnKubernetes('an operator whose API server', () => {
  let kubernetes: Kubernetes;
  let namespace: CacheNamespace;

  before(async () => {
    kubernetes = await Kubernetes.start();
    await installCrds(kubernetes);
  });
  beforeEach(async () => {
    namespace = await CacheNamespace.make(kubernetes, 'chaos');
  });
  afterEach(() => namespace?.remove());
  after(() => kubernetes?.remove());

  const configOf = async (cache: string) =>
    (await namespace.find(kinds.ConfigMap, `${cache}-config`))?.data?.['cache.yaml'] ?? '';

  it('is killed goes on when it is there again, and writes nothing anew', async () => {
    const operator = await namespace.operator({ args: QUIET_LEASE });
    await namespace.cache('main');
    await namespace.settled('main');
    await operator.untilReconciled(3);
    const before = await namespace.versions('main');
    await kubernetes.stopApi();
    await until('it has noticed', async () => (await operator.metric(RESTARTS, { reason: 'error' })) > 0);
    await kubernetes.restartApi();
    await operator.untilReconciled(3);
    await namespace.cache('main', { priority: 7 });
    await until('it hears of changes', async () => /priority: 7/.test(await configOf('main')));
    const { 'ConfigMap/main-config': _, BinaryCache: __, ...others } = await namespace.versions('main');
    for (const [key, version] of Object.entries(others)) assert.equal(version, before[key], key);
    assert.equal(operator.process.running, true);
  });

  it('stands still stops leading in time, and another one leads when it moves again', async () => {
    const args = ['--lease-duration', '5', '--renew-deadline', '3'];
    const [first, second] = [await namespace.operator({ args }), await namespace.operator({ args })];
    await namespace.cache('main');
    await namespace.settled('main');
    await first.untilReconciled(3);
    const lease = async () => ((await namespace.get(kinds.Lease, 'narwhal-operator')) as Obj as Lease).spec ?? {};
    const [before, then] = [await namespace.versions('main'), await lease()];
    kubernetes.freezeApi();
    const frozenAt = performance.now();
    let code: number | null;
    try {
      code = await first.process.ended;
    } finally {
      kubernetes.thawApi();
    }
    // Its deadline is 3 s. Others may take over after 5 s.
    const heldMs = performance.now() - frozenAt;
    assert.ok(heldMs < 12_000, `${heldMs} ms`);
    assert.equal(code, 1);
    assert.equal(second.process.running, true);
    await until('the other one leads', async () => (await second.metric('narwhal_operator_leader')) === 1);
    const { holderIdentity, leaseTransitions, acquireTime = '' } = await lease();
    assert.notEqual(holderIdentity, then.holderIdentity);
    assert.equal(leaseTransitions, (then.leaseTransitions ?? 0) + 1);
    await second.untilReconciled(3);
    assert.deepEqual(await namespace.versions('main'), before);
    await namespace.cache('main', { priority: 7 });
    await namespace.settled('main');
    const { metadata } = await namespace.get(kinds.ConfigMap, 'main-config');
    const written = (metadata.managedFields ?? []).map(({ time }) => Date.parse(time)).sort();
    assert.ok((written.at(-1) ?? 0) >= Math.floor(Date.parse(acquireTime) / 1000) * 1000);
  });

  it('has forgotten the past notices what was made and deleted meanwhile', async () => {
    const { hostname: host, port } = new URL(kubernetes.url);
    const proxy = await TcpProxy.start({ host, port: Number(port) });
    try {
      const kubeconfig = await kubernetes.kubeconfigThrough(`https://127.0.0.1:${proxy.port}`);
      const operator = await namespace.operator({ kubeconfig, args: QUIET_LEASE });
      for (const name of ['stays', 'goes']) await namespace.cache(name);
      for (const name of ['stays', 'goes']) await namespace.settled(name);
      await proxy.refuse(true);
      proxy.cut();
      await namespace.delete(kinds.Service, 'stays');
      await namespace.delete(BINARY_CACHE, 'goes');
      await namespace.cache('comes');
      await kubernetes.compact();
      await kubernetes.restartApi();
      // Only now is every version that the operator knows too old.
      await namespace.cache('stays', { priority: 7 });
      await proxy.refuse(false);
      await namespace.settled('comes');
      await namespace.settled('stays');
      await until(
        'what was deleted is there again',
        async () => (await namespace.find(kinds.Service, 'stays')) !== undefined,
      );
      assert.match(await configOf('stays'), /priority: 7/);
      assert.ok((await operator.metric(RESTARTS, { reason: 'expired' })) > 0);
      // What is left of a cache that is gone is the garbage collector's.
      await namespace.delete(kinds.Service, 'goes');
      await operator.untilReconciled(6);
      assert.equal(await namespace.find(kinds.Service, 'goes'), undefined);
    } finally {
      await proxy.close();
    }
  });
});
