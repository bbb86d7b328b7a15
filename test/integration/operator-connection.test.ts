// The operator's way to the API server: credentials that change under it, and a server that wants to be left alone.
import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { kinds } from '../../operator/runtime/index.ts';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { CertificateAuthority } from '../support/certificates.ts';
import { installCrds } from '../support/crds.ts';
import type { Seen } from '../support/fault-proxy.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { type Operator, QUIET_LEASE } from '../support/operator.ts';
import { podAccess } from '../support/pod-access.ts';
import { proxyFor } from '../support/runtime.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

describeWith('kubernetes', 'an operator', () => {
  let kubernetes: Kubernetes;
  let namespace: CacheNamespace;
  let folder: string;

  before(async () => {
    kubernetes = await sharedKubernetes();
    await installCrds(kubernetes);
  });
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-connection-'));
    namespace = await CacheNamespace.make(kubernetes, 'connection');
  });
  afterEach(async () => {
    await namespace?.remove();
    await rm(folder, { recursive: true });
  });

  const file = (name: string) => path.join(folder, name);
  const requests = (operator: Operator, code: string) =>
    operator.metric('narwhal_operator_api_request_seconds_count', { code });

  /** An operator that finds its way as in a pod. */
  async function operatorOf(token: string): Promise<Operator> {
    return namespace.operator({ args: QUIET_LEASE, env: await podAccess(kubernetes, folder, token) });
  }

  it('takes over another token, and waits for one that cannot be read', async () => {
    const operator = await operatorOf(await namespace.administrator('first'));
    const second = await namespace.administrator('second');
    await namespace.cache('main');
    await namespace.settled('main');
    await rm(file('token'));
    await namespace.cache('main', { priority: 7 });
    await until('it has no token', async () => (await requests(operator, '0')) > 0);
    await kubernetes.expect(namespace.path(kinds.ServiceAccount, 'first'), { method: 'DELETE' });
    await writeFile(file('token'), second);
    await namespace.settled('main');
    assert.equal(operator.process.running, true);
  });

  it('believes the authority that the file names now, and goes on', async () => {
    const operator = await operatorOf(await namespace.administrator('believer'));
    await namespace.cache('main');
    await namespace.settled('main');
    const foreign = await CertificateAuthority.make(file('foreign'));
    await copyFile(foreign.caFile, file('ca.crt'));
    await namespace.cache('main', { priority: 7, tokens: [{ name: 'push', permissions: ['Write'] }] });
    await until('it no longer believes the server', async () => (await requests(operator, '0')) > 0);
    await copyFile(kubernetes.caFile, file('ca.crt'));
    await namespace.settled('main');
    assert.equal(operator.process.running, true);
  });

  it('comes back when an overloaded API server says, and not before', async () => {
    const proxy = await proxyFor(kubernetes);
    try {
      const putOff = new Map<string, number>();
      const early: string[] = [];
      const isChosen = ({ url }: Seen) => /\/(secrets|statefulsets|binarycaches)\b/.test(url.split('?')[0] ?? '');
      proxy.fate = (request) => {
        const what = `${request.method} ${request.url.split('?')[0]}`;
        const at = putOff.get(what);
        if (at !== undefined && performance.now() - at < 1000) early.push(what);
        if (!isChosen(request) || at !== undefined) return undefined;
        putOff.set(what, performance.now());
        const status = putOff.size % 2 === 0 ? 429 : 503;
        return { status, headers: { 'Retry-After': '1' }, forward: false };
      };
      const kubeconfig = await kubernetes.kubeconfigThrough(proxy.url);
      const operator = await namespace.operator({ kubeconfig, args: QUIET_LEASE });
      await namespace.cache('main');
      await namespace.settled('main');
      assert.ok(putOff.size >= 7, [...putOff.keys()].join());
      assert.deepEqual(early, []);
      assert.ok((await requests(operator, '429')) > 0 && (await requests(operator, '503')) > 0);
      assert.equal((await namespace.objects('main')).size, 11);
    } finally {
      await proxy.close();
    }
  });

  it('gives up a look at a cache that does not end, says so, and looks again', async () => {
    const proxy = await proxyFor(kubernetes);
    try {
      proxy.fate = ({ url }) =>
        url.includes('/secrets/stuck-root-key') ? { status: 'hang', forward: false } : undefined;
      const kubeconfig = await kubernetes.kubeconfigThrough(proxy.url);
      const operator = await namespace.operator({ kubeconfig, args: [...QUIET_LEASE, '--reconcile-timeout', '5'] });
      await namespace.cache('stuck');
      await namespace.cache('other');
      const { message } = await namespace.until('stuck', 'Ready', 'Unknown', 'ReconcileTimeout');
      assert.match(message, /did not end within 5 s/);
      await namespace.settled('other');
      const events = await kubernetes.expect(namespace.path(kinds.Event));
      const told = (events.items as { reason: string; regarding?: { name: string } }[]).filter(
        ({ reason }) => reason === 'ReconcileTimeout',
      );
      assert.deepEqual([...new Set(told.map(({ regarding }) => regarding?.name))], ['stuck']);
      const timeouts = { controller: 'caches', result: 'timeout' };
      assert.ok((await operator.metric('narwhal_operator_reconcile_seconds_count', timeouts)) > 0);
      proxy.fate = () => undefined;
      await namespace.settled('stuck');
    } finally {
      await proxy.close();
    }
  });
});
