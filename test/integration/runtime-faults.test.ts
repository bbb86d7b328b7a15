// The runtime's client when the API server puts it off, when the network fails, and when credentials change.
import assert from 'node:assert/strict';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import {
  type AnyObj,
  ApiError,
  configAccess,
  type Desired,
  type Kind,
  kinds,
  kubeConfig,
  podAccess,
} from '../../operator/runtime/index.ts';
import { CertificateAuthority } from '../support/certificates.ts';
import { type Fault, type FaultProxy, inTurn, type Seen } from '../support/fault-proxy.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { closeRuntimes, proxyFor, type Runtime, type RuntimeInit, runtimeFor } from '../support/runtime.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

/** Tells who asks. */
const reviews: Kind = {
  apiVersion: 'authentication.k8s.io/v1',
  kind: 'SelfSubjectReview',
  plural: 'selfsubjectreviews',
  namespaced: false,
};

async function whoAmI({ api }: Runtime): Promise<string> {
  const review = { apiVersion: reviews.apiVersion, kind: reviews.kind, metadata: { name: '' } };
  const answer = (await api.create(reviews, review)) as AnyObj & { status: { userInfo: { username: string } } };
  return answer.status.userInfo.username;
}

async function failure(promise: Promise<unknown>): Promise<ApiError> {
  const error = await promise.then(
    () => assert.fail('it succeeded'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ApiError, String(error));
  return error;
}

describeWith('kubernetes', 'the API client in trouble', () => {
  let kubernetes: Kubernetes;
  let namespace: string;
  let folder: string;

  before(async () => {
    kubernetes = await sharedKubernetes();
    namespace = await kubernetes.namespace('trouble');
  });
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-runtime-'));
  });
  afterEach(async () => {
    await closeRuntimes();
    await rm(folder, { recursive: true });
  });

  const configMap = (name: string): Desired => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name } });
  const none = { namespace: 'default', name: 'none' };

  describe('put off by the server', () => {
    let proxy: FaultProxy;
    before(async () => {
      proxy = await proxyFor(kubernetes);
    });
    beforeEach(() => {
      proxy.fate = () => undefined;
      proxy.seen.length = 0;
    });
    after(() => proxy.close());

    const later = (status: number, seconds: string): Fault => ({
      status,
      headers: { 'Retry-After': seconds },
      forward: false,
    });
    const isMethod = (method: string) => (request: Seen) => request.method === method;
    const through = (init: RuntimeInit = {}) => runtimeFor(kubernetes, { server: proxy.url, ...init }).api;

    it('comes back when the server said, and not before', async () => {
      proxy.fate = inTurn(isMethod('GET'), [later(429, '1'), later(503, '1')]);
      const start = performance.now();
      assert.equal(await through().get(kinds.ConfigMap, none), undefined);
      assert.ok(performance.now() - start >= 2000);
      assert.equal(proxy.seen.length, 3);
    });

    it('gives up after a few times, and says when to come back', async () => {
      proxy.fate = () => later(429, '0');
      const error = await failure(through({ retries: 2 }).get(kinds.ConfigMap, none));
      assert.deepEqual([error.code, error.retryAfterMs, error.transient], [429, 0, true]);
      assert.equal(proxy.seen.length, 3);
    });

    it('leaves a long wait to its caller', async () => {
      proxy.fate = () => later(503, '3600');
      const error = await failure(through().get(kinds.ConfigMap, none));
      assert.equal(error.retryAfterMs, 3_600_000);
      assert.equal(proxy.seen.length, 1);
    });

    it('creates again after a 429, which did nothing, but not after a 503, which may have', async () => {
      proxy.fate = inTurn(isMethod('POST'), [later(429, '0')]);
      assert.notEqual(await through().create(kinds.ConfigMap, configMap('put-off')), 'exists');
      proxy.fate = inTurn(isMethod('POST'), [later(503, '0')]);
      assert.equal((await failure(through().create(kinds.ConfigMap, configMap('put-off-2')))).code, 503);
    });

    it('asks again at once when a kept connection turns out to be closed, unless it was to create', async () => {
      const drop: Fault = { status: 'drop', forward: false };
      proxy.fate = inTurn(isMethod('GET'), [drop]);
      assert.equal(await through().get(kinds.ConfigMap, none), undefined);
      proxy.fate = inTurn(isMethod('POST'), [drop]);
      const error = await failure(through().create(kinds.ConfigMap, configMap('dropped')));
      assert.deepEqual([error.code, error.reason, error.transient], [0, 'Network', true]);
    });

    it('begins a list anew whose next page has expired', async () => {
      await through().create(kinds.ConfigMap, configMap('page-1'));
      await through().create(kinds.ConfigMap, configMap('page-2'));
      const expired = { status: 410, body: '{"kind":"Status","code":410,"reason":"Expired"}', forward: false } as const;
      proxy.fate = inTurn(({ url }) => url.includes('continue='), [expired]);
      const { items } = await through({ pageSize: 1 }).list(kinds.ConfigMap, { namespace });
      const names = items.map(({ metadata }) => metadata.name);
      assert.equal(new Set(names).size, names.length);
      assert.ok(names.includes('page-1') && names.includes('page-2'));
    });

    it('shows what something other than an API server says', async () => {
      proxy.fate = () => ({ status: 502, body: '<html>bad gateway', forward: false });
      const error = await failure(through().get(kinds.ConfigMap, none));
      assert.deepEqual(
        [error.code, error.message, error.transient],
        [502, 'get ConfigMap default/none: 502 <html>bad gateway', true],
      );
    });
  });

  describe('without a network', () => {
    let proxy: TcpProxy;
    beforeEach(async () => {
      const { hostname, port } = new URL(kubernetes.url);
      proxy = await TcpProxy.start({ host: hostname, port: Number(port) });
    });
    afterEach(() => proxy.close());
    const through = (init: RuntimeInit = {}) =>
      runtimeFor(kubernetes, { server: `https://127.0.0.1:${proxy.port}`, ...init }).api;

    it('fails in time when nothing answers any more, and recovers on a new connection', async () => {
      const api = through({ timeoutMs: 300 });
      await api.get(kinds.ConfigMap, none, { timeoutMs: 20_000 });
      proxy.pause();
      const error = await failure(api.get(kinds.ConfigMap, none));
      assert.deepEqual([error.code, error.reason, error.transient], [0, 'Timeout', true]);
      proxy.resume();
      assert.equal(await api.get(kinds.ConfigMap, none, { timeoutMs: 20_000 }), undefined);
    });

    it('calls a refused connection transient', async () => {
      await proxy.refuse(true);
      const error = await failure(through().get(kinds.ConfigMap, none));
      assert.deepEqual([error.code, error.reason, error.transient], [0, 'Network', true]);
    });
  });

  describe('with credentials that change', () => {
    const serviceAccount = async (name: string) => {
      await kubernetes.kubectl(['create', 'serviceaccount', name, '-n', namespace]);
      return kubernetes.token(namespace, name);
    };
    const file = (name: string) => path.join(folder, name);
    const pem = (data = '') => Buffer.from(data, 'base64');

    /** As a pod has it: a certificate authority and a token, each in a file of the folder. */
    const inPod = async (init: { readonly token?: string; readonly caFile?: string } = {}): Promise<Runtime> => {
      await copyFile(init.caFile ?? kubernetes.caFile, file('ca.crt'));
      if (init.token !== undefined) await writeFile(file('token'), init.token);
      const { hostname, port } = new URL(kubernetes.url);
      const env = { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port };
      return runtimeFor(kubernetes, { load: async () => podAccess(env, folder) });
    };

    it('takes the token that the file holds now', async () => {
      const runtime = await inPod({ token: 'ended' });
      assert.equal((await failure(whoAmI(runtime))).code, 401);
      for (const name of ['renewed', 'again']) {
        await writeFile(file('token'), `${await serviceAccount(name)}\n`);
        assert.equal(await whoAmI(runtime), `system:serviceaccount:${namespace}:${name}`);
      }
    });

    it('reads a kubeconfig again within the request that is refused', async () => {
      const config = async (token: string) => {
        const text = JSON.parse(await readFile(kubernetes.kubeconfig, 'utf8'));
        await writeFile(file('config'), JSON.stringify({ ...text, users: [{ name: 'test', user: { token } }] }));
      };
      await config(await serviceAccount('first'));
      const runtime = runtimeFor(kubernetes, { load: kubeConfig(file('config')) });
      assert.equal(await whoAmI(runtime), `system:serviceaccount:${namespace}:first`);
      await config('ended');
      assert.equal(await whoAmI(runtime), `system:serviceaccount:${namespace}:first`, 'what was read is good still');
      const ended = runtimeFor(kubernetes, { load: kubeConfig(file('config')) });
      assert.equal((await failure(whoAmI(ended))).code, 401);
      await config(await serviceAccount('second'));
      assert.equal(await whoAmI(ended), `system:serviceaccount:${namespace}:second`);
    });

    it('survives a token that cannot be read, and an informer goes on once it can', async () => {
      const runtime = await inPod();
      const error = await failure(whoAmI(runtime));
      assert.deepEqual([error.code, error.reason, error.transient], [0, 'Credentials', true]);
      const informer = runtime.follow(kinds.ConfigMap, { namespaces: [namespace] });
      await runtime.logged('a watch broke; it goes on');
      const token = await serviceAccount('late');
      const rights = ['--verb=list,watch', '--resource=configmaps', '-n', namespace];
      await kubernetes.kubectl(['create', 'role', 'late', ...rights]);
      const whose = ['--role=late', `--serviceaccount=${namespace}:late`, '-n', namespace];
      await kubernetes.kubectl(['create', 'rolebinding', 'late', ...whose]);
      await writeFile(file('token'), token);
      await informer.synced;
    });

    it('calls a kubeconfig that is missing or says nothing a matter of credentials', async () => {
      await writeFile(file('empty'), '{}');
      for (const name of ['missing', 'empty']) {
        const runtime = runtimeFor(kubernetes, { load: kubeConfig(file(name)) });
        assert.equal((await failure(whoAmI(runtime))).reason, 'Credentials');
      }
    });

    it('uses another client certificate from the next request on', async () => {
      const become = async (user: string) => {
        const config = new KubeConfig();
        config.loadFromFile(await kubernetes.kubeconfigFor({ user }));
        const { certData, keyData } = config.getCurrentUser() ?? {};
        await writeFile(file('crt'), pem(certData));
        await writeFile(file('key'), pem(keyData));
      };
      const config = new KubeConfig();
      config.loadFromClusterAndUser(
        { name: 'here', server: kubernetes.url, caFile: kubernetes.caFile, skipTLSVerify: false },
        { name: 'me', certFile: file('crt'), keyFile: file('key') },
      );
      await become('first');
      const runtime = runtimeFor(kubernetes, { load: async () => configAccess(config) });
      assert.equal(await whoAmI(runtime), 'first');
      await become('second');
      assert.equal(await whoAmI(runtime), 'second');
    });

    it('believes the certificate authority that the file holds now', async () => {
      const foreign = await CertificateAuthority.make(file('foreign'));
      const runtime = await inPod({ token: await serviceAccount('believer'), caFile: foreign.caFile });
      const error = await failure(whoAmI(runtime));
      assert.deepEqual([error.reason, error.transient], ['Network', true]);
      await copyFile(kubernetes.caFile, file('ca.crt'));
      assert.equal(await whoAmI(runtime), `system:serviceaccount:${namespace}:believer`);
      await copyFile(foreign.caFile, file('ca.crt'));
      assert.equal((await failure(whoAmI(runtime))).reason, 'Network');
    });

    it('logs neither tokens nor bodies', async () => {
      const token = await serviceAccount('quiet');
      const runtime = await inPod({ token });
      const secret = { ...configMap('quiet'), kind: 'Secret', stringData: { password: 'hunter2' } };
      const error = await failure(runtime.api.create(kinds.Secret, secret));
      runtime.logger.error({ err: error }, 'refused');
      const text = JSON.stringify([runtime.log, error]);
      assert.ok(!text.includes(token) && !text.includes('hunter2') && text.includes('refused'));
    });
  });
});
