// Public names: a real gateway beside the operator runs the table that the operator writes, and only then is a cache
// exposed. What passes through a gateway is for a cluster with DNS; here it shows where it would send requests to.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { GatewayStatus } from '../../crds/index.ts';
import { LivingCache } from '../support/living-cache.ts';
import { secretText, type Value } from '../support/manifests.ts';
import { describeWith } from '../support/needs.ts';
import { send } from '../support/raw-http.ts';
import { until } from '../support/server.ts';
import { sharedCluster } from '../support/shared-cluster.ts';

const API = 'https://cache.example.org';
const LABELS = { 'app.kubernetes.io/name': 'narwhal', 'app.kubernetes.io/component': 'gateway' };
const storages: Value[] = [{ name: 'disk', local: {} }];

describeWith('kubernetes', 'the life of a cache: its public name', () => {
  let cache: LivingCache;
  /** Of another namespace. */
  let rival: string;

  before(async () => {
    const cluster = await sharedCluster();
    rival = await cluster.kubernetes.namespace('rival');
    cache = await LivingCache.prepare(cluster, {
      args: ['--api-url', API],
      namespaces: [rival],
    });
  });
  after(() => cache?.remove());

  const tokenHash = async () =>
    createHash('sha256')
      .update(await cache.token())
      .digest('hex')
      .slice(0, 16);
  const dataOf = async (name: string): Promise<Record<string, string>> =>
    JSON.parse(await cache.kubectl('get', 'cm', name, '-o', 'json')).data;
  const routes = async () => (await dataOf(`narwhal-routes.${cache.namespace}`))['routes.json'] ?? '';
  const gatewayPod = () =>
    [...cache.cluster.watched.pods.all(cache.namespace)].find(({ metadata }) => metadata.name.startsWith('gateway-'));
  const ip = () => gatewayPod()?.status?.podIP ?? '';
  const gatewayStatus = async () => (await (await fetch(`http://${ip()}:9090/status`)).json()) as GatewayStatus;
  /** What the gateway answers for a host. */
  async function ask(name: string): Promise<string> {
    const { status, text } = await send(`http://${ip()}:8080`, '/nix-cache-info', {
      headers: { host: `${name}.cache.example.org` },
    });
    return `${status} ${text.trim()}`;
  }

  it('is given to the first, whose keys are called so, and waits for a gateway', async () => {
    await cache.applied({ storages });
    const { reason, message } = await cache.until('Exposed', 'False');
    assert.equal(`${reason}: ${message}`, 'GatewayPending: the gateway has not taken over the route yet');
    const { status } = await cache.object();
    assert.equal(status?.url, 'https://main.cache.example.org');
    assert.match(status?.publicKeys?.join() ?? '', /^main\.cache\.example\.org-1:/);
    const text = await cache.secret('main-token-push');
    assert.match(text.netrc ?? '', /^machine main\.cache\.example\.org /m);
    assert.match(text['cachix.sh'] ?? '', /^cachix config set hostname https:\/\/cache\.example\.org$/m);
    assert.deepEqual(JSON.parse((await dataOf('narwhal-routes'))['table.json'] ?? ''), { apiUrl: API, aliases: [] });
    assert.deepEqual(JSON.parse(await routes()), {
      caches: { main: { url: cache.serviceUrl, tokens: [await tokenHash()] } },
    });
  });

  it('is not given to a second one in another namespace, which works without it', async () => {
    await cache.cluster.apply(rival, cache.manifest({ storages }));
    await cache.cluster.until(rival, 'main', 'Ready', 'True');
    const { message } = await cache.cluster.until(rival, 'main', 'Exposed', 'False', 'NameTaken');
    assert.match(message, new RegExp(`^the public name main belongs to the namespace ${cache.namespace};`));
    const text = await cache.cluster.kubernetes.kubectl(['-n', rival, 'get', 'bc', 'main', '-o', 'json']);
    assert.match(JSON.parse(text).status.publicKeys.join(), new RegExp(`^main\\.${rival}-1:`));
    assert.equal(JSON.parse(text).status.url, `http://main.${rival}.svc`);
  });

  it('is served once the gateway may read the table, and says that it runs it', async () => {
    const { kubernetes } = cache.cluster;
    await cache.kubectl('create', 'serviceaccount', 'gateway');
    const file = await kubernetes.kubeconfigFor({ namespace: cache.namespace, serviceAccount: 'gateway' });
    await cache.cluster.apply(cache.namespace, secretText('gateway', { kubeconfig: await readFile(file, 'utf8') }));
    await cache.cluster.apply(cache.namespace, deployment());
    await until(
      'the gateway runs, without a table',
      async () => (await gatewayStatus().catch(() => undefined))?.routes === null,
    );
    await cache.looked();
    assert.equal((await cache.condition('Exposed'))?.reason, 'GatewayPending');
    // What an older operator has left for gateways that read no shards.
    const old = JSON.stringify({ data: { 'routes.json': '{"apiUrl": "http://x", "caches": {}}' } });
    await cache.kubectl('patch', 'cm', 'narwhal-routes', '--type=merge', '-p', old);
    await cache.kubectl('create', 'role', 'gateway', '--verb=list,watch', '--resource=configmaps');
    await cache.kubectl(
      'create',
      'rolebinding',
      'gateway',
      '--role=gateway',
      `--serviceaccount=${cache.namespace}:gateway`,
    );
    const { message } = await cache.until('Exposed', 'True');
    assert.equal(message, 'pulls at https://main.cache.example.org');
    const sha256 = createHash('sha256')
      .update(await routes())
      .digest('hex');
    const { routes: running } = await gatewayStatus();
    assert.deepEqual([running?.caches, running?.shards], [1, { [cache.namespace]: sha256 }]);
    await until(
      'nobody needs the old key',
      async () => Object.keys(await dataOf('narwhal-routes')).join() === 'table.json',
    );
    // It knows where to go, and finds no way there: there is no DNS.
    assert.equal(await ask('main'), '503 cache main is not reachable now; try again in a moment');
  });

  it('comes and goes with its cache, without a restart of the gateway', async () => {
    const before = gatewayPod()?.metadata.uid;
    const other = JSON.stringify({ ...JSON.parse(cache.manifest({ storages })), metadata: { name: 'other' } });
    await cache.cluster.apply(cache.namespace, other);
    await cache.cluster.until(cache.namespace, 'other', 'Exposed', 'True');
    assert.match(await ask('other'), /^503 cache other is not reachable/);
    assert.match(await ask('nobody'), /^200 StoreDir: /, 'as a private cache answers strangers');
    await cache.kubectl('delete', 'bc', 'other');
    await until('its route is gone', async () => (await gatewayStatus()).routes?.caches === 1);
    assert.equal((await cache.condition('Exposed'))?.status, 'True');
    assert.equal(gatewayPod()?.metadata.uid, before);
    // Clients trust whoever answers there: the name stays with its namespace.
    const names = Object.keys(await dataOf(`narwhal-names.${cache.namespace}`));
    assert.deepEqual(names, ['main', 'other', 'tokens.txt']);
  });

  it('is told of tokens that come and go, so that requests without a name find their cache', async () => {
    const tokens = [
      { name: 'push', permissions: ['Write'] },
      { name: 'ci', permissions: ['Read'] },
    ];
    await cache.applied({ storages, tokens });
    await cache.until('Exposed', 'True');
    const user = async (token: string) => {
      const headers = { host: 'cache.example.org', authorization: `Bearer ${token}` };
      const { status } = await send(`http://${ip()}:8080`, '/api/v1/user', { headers });
      return status;
    };
    const ci = await cache.token('ci');
    await until('it goes to the cache', async () => (await user(ci)) === 503);
    await cache.applied({ storages });
    await until('nobody knows it', async () => (await user(ci)) === 401);
    assert.equal(await user(await cache.token()), 503);
  });

  /** As the chart has it, but with a kubeconfig in a file: nobody gives tokens to pods here. */
  function deployment(): string {
    const env = {
      NARWHAL_ROUTES: `configmap:${cache.namespace}/narwhal-routes`,
      NARWHAL_LISTEN: ':8080',
      NARWHAL_ADMIN_LISTEN: ':9090',
      NARWHAL_KUBECONFIG: '/etc/narwhal/gateway/kubeconfig',
    };
    const container = {
      name: 'gateway',
      image: 'narwhal:test',
      command: ['narwhal-server'],
      args: ['gateway'],
      ports: [{ name: 'http', containerPort: 8080 }],
      env: Object.entries(env).map(([name, value]) => ({ name, value })),
      volumeMounts: [{ name: 'kubeconfig', mountPath: '/etc/narwhal/gateway' }],
    };
    const volumes = [{ name: 'kubeconfig', secret: { secretName: 'gateway' } }];
    const template = { metadata: { labels: LABELS }, spec: { containers: [container], volumes } };
    return JSON.stringify({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'gateway' },
      spec: { replicas: 1, selector: { matchLabels: LABELS }, template },
    });
  }
});
