// Public names: who has one, what the gateway is told, and how an administrator decides otherwise.
import assert from 'node:assert/strict';
import { hashToken } from '../../crds/index.ts';
import { kinds } from '../../operator/runtime/index.ts';
import { BINARY_CACHE } from '../support/cache-conditions.ts';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import type { Operator } from '../support/operator.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const TOKENS = {
  tokens: [
    { name: 'push', permissions: ['Write'] },
    { name: 'hashed', permissions: ['Read'], sha256: 'ab'.repeat(32) },
  ],
};

describeWith('kubernetes', 'a public name', () => {
  let kubernetes: Kubernetes;
  /** Where the operator is. */
  let home: CacheNamespace;
  /** In the order of their names, which decides about nothing. */
  let one: CacheNamespace;
  let two: CacheNamespace;
  let operator: Operator;

  before(async () => {
    kubernetes = await sharedKubernetes();
    await installCrds(kubernetes);
    home = await CacheNamespace.make(kubernetes, 'names-home');
    one = await CacheNamespace.make(kubernetes, 'names-1');
    two = await CacheNamespace.make(kubernetes, 'names-2');
    // The second namespace is first, and nobody looks yet.
    const { metadata } = await two.cache('older', TOKENS);
    const created = Date.parse(metadata.creationTimestamp);
    await until('another second has begun', () => Date.now() >= created + 1000);
    await one.cache('older');
    const names = `${home.name},${one.name},${two.name}`;
    operator = await home.operator({ args: ['--watch-namespaces', names, '--api-url', 'https://cache.example.org'] });
  });
  after(() => home?.remove());

  const urlOf = async (namespace: CacheNamespace, cache: string) =>
    (await namespace.get(BINARY_CACHE, cache)).status?.url;
  const keyOf = async (namespace: CacheNamespace, cache: string) =>
    String((await namespace.get(BINARY_CACHE, cache)).status?.publicKeys).split(':')[0];
  /** Both settled, with what has become of the name. */
  const has = (namespace: CacheNamespace, cache: string, reason: string) =>
    namespace.until(cache, 'Exposed', 'False', reason);
  /** The routes of a namespace. */
  const routes = async (of: CacheNamespace) =>
    JSON.parse(
      (await home.find(kinds.ConfigMap, `narwhal-routes.${of.name}`))?.data?.['routes.json'] ?? '{"caches":{}}',
    ).caches;
  /** The names that are recorded for a namespace. */
  const recorded = async (of: CacheNamespace) =>
    Object.keys((await home.find(kinds.ConfigMap, `narwhal-names.${of.name}`))?.data ?? {}).filter(
      (key) => key !== 'tokens.txt',
    );
  const record = (of: CacheNamespace, cache: string, since: string | null) =>
    home.patch(kinds.ConfigMap, `narwhal-names.${of.name}`, { data: { [cache]: since } });

  it('belongs to the older of two caches; the other one signs by the name of its namespace', async () => {
    for (const namespace of [one, two]) await namespace.settled('older');
    // Without a gateway nobody serves it yet.
    await two.untilNamed('older');
    const { message } = await has(one, 'older', 'NameTaken');
    assert.match(message, new RegExp(`the public name older belongs to the namespace ${two.name};`));
    assert.equal(await urlOf(two, 'older'), 'https://older.cache.example.org');
    assert.equal(await urlOf(one, 'older'), `http://older.${one.name}.svc`);
    assert.equal(await keyOf(two, 'older'), 'older.cache.example.org-1');
    assert.equal(await keyOf(one, 'older'), `older.${one.name}-1`);
    assert.deepEqual([await recorded(one), await recorded(two)], [[], ['older']]);
  });

  it('is in the table of the gateway, with the beginnings of the hashes of tokens and no token', async () => {
    const { data } = await two.get(kinds.Secret, 'older-token-push');
    const token = Buffer.from(data?.token ?? '', 'base64').toString();
    const tokens = [hashToken(token).slice(0, 16), 'ab'.repeat(8)].sort();
    await until('the table is complete', async () => (await routes(two)).older?.tokens.length === 2);
    assert.deepEqual(await routes(two), { older: { url: `http://older.${two.name}.svc`, tokens } });
    const { data: head } = await home.get(kinds.ConfigMap, 'narwhal-routes');
    assert.deepEqual(head, { 'table.json': '{"apiUrl":"https://cache.example.org","aliases":[]}' });
    assert.ok(!JSON.stringify([...(await home.objects())]).includes(token));
  });

  it('stays when the operator is started again, and goes where the administrator says', async () => {
    await operator.restart();
    await operator.untilReconciled(6);
    await has(one, 'older', 'NameTaken');
    // One without a time is older than all.
    await home.apply({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: `narwhal-names.${one.name}`, labels: { 'app.kubernetes.io/managed-by': 'narwhal-operator' } },
      data: { older: '' },
    });
    await has(two, 'older', 'NameTaken');
    await one.untilNamed('older');
    assert.equal(await urlOf(one, 'older'), 'https://older.cache.example.org');
    await until('the gateway is told', async () => (await routes(one)).older?.url === `http://older.${one.name}.svc`);
    await until('nobody else is', async () => (await routes(two)).older === undefined);
    assert.deepEqual([await recorded(one), await recorded(two)], [['older'], []]);
    // Keys are for ever.
    for (const [namespace, key] of [
      [one, `older.${one.name}-1`],
      [two, 'older.cache.example.org-1'],
    ] as const) {
      await namespace.settled('older');
      assert.equal(await keyOf(namespace, 'older'), key);
    }
  });

  it('stays with the namespace of a cache that was deleted, until it is released', async () => {
    await one.cache('bound');
    await one.settled('bound');
    await one.delete(BINARY_CACHE, 'bound');
    await until('the gateway is told', async () => (await routes(one)).bound === undefined);
    await two.cache('bound');
    await has(two, 'bound', 'NameTaken');
    await record(one, 'bound', null);
    await two.untilNamed('bound');
    assert.deepEqual([await recorded(one), await recorded(two)], [['older'], ['bound']]);
  });

  it('leads nowhere while its Service is somebody else’s, who could have the gateway ask whom it likes', async () => {
    const metadata = { name: 'astray' };
    const spec = { type: 'ExternalName', externalName: 'inside.example.org' };
    await one.apply({ apiVersion: 'v1', kind: 'Service', metadata, spec });
    await one.cache('astray', TOKENS);
    await one.until('astray', 'Ready', 'False', 'NameConflict');
    await until('its tokens are told', async () => (await one.find(kinds.ConfigMap, 'astray-config')) !== undefined);
    // Whatever is decided about a cache that came later was decided about this one too.
    await one.cache('later');
    await until('the gateway is told', async () => (await routes(one)).later !== undefined);
    assert.equal((await routes(one)).astray, undefined);
    assert.ok((await recorded(one)).includes('astray'));
    await one.delete(kinds.Service, 'astray');
    await one.annotate('astray', { 'narwhal.dev/reconcile': 'service' });
    await until('it has one of its own', async () => (await routes(one)).astray !== undefined);
    for (const cache of ['astray', 'later']) await one.delete(BINARY_CACHE, cache);
    await until('they are gone', async () => {
      const left = Object.keys(await routes(one));
      return !left.includes('astray') && !left.includes('later');
    });
    for (const cache of ['astray', 'later']) await record(one, cache, null);
  });

  it('is for caches of the namespaces that may have one', async () => {
    await operator.restart({ args: ['--gateway-namespaces', one.name] });
    await two.cache('barred');
    await has(two, 'barred', 'NamespaceNotAllowed');
    await two.settled('barred');
    assert.equal(await keyOf(two, 'barred'), `barred.${two.name}-1`);
    assert.equal(await urlOf(two, 'barred'), `http://barred.${two.name}.svc`);
    assert.deepEqual(await recorded(two), ['bound']);
    await one.cache('allowed');
    await one.untilNamed('allowed');
    await until('the gateway is told', async () => Object.keys(await routes(one)).join() === 'allowed,older');
    // What belongs to a namespace without a route is removed.
    await until('there are no others', async () => !(await home.objects()).has(`ConfigMap/narwhal-routes.${two.name}`));
    await operator.restart();
  });

  it('is free after a time without a cache, where there is a time', async () => {
    await one.cache('fleeting');
    await one.untilNamed('fleeting');
    await one.delete(BINARY_CACHE, 'fleeting');
    await two.cache('fleeting');
    await has(two, 'fleeting', 'NameTaken');
    await operator.restart({ args: ['--release-names-after', '0.00002'] });
    await two.untilNamed('fleeting');
    await operator.restart();
  });

  it('is no matter of a fight over the table', async () => {
    const name = `narwhal-routes.${one.name}`;
    const undo = () => home.patch(kinds.ConfigMap, name, { data: { 'routes.json': '{}' } });
    const isOurs = (now?: { data?: Readonly<Record<string, string>> }) => now?.data?.['routes.json'] !== '{}';
    const tookMs = await home.fight(kinds.ConfigMap, name, { isOurs, undo, times: 4 });
    assert.ok(tookMs > 850, `${tookMs} ms`);
    // The log follows what was done.
    await until('somebody is told of it', async () =>
      (await operator.lines()).some(
        ({ configMap, msg }) => configMap === name && /something else undoes each write/.test(String(msg)),
      ),
    );
  });
});
