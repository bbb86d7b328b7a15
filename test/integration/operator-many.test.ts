// Many caches at once. Counts only: what they take in time and memory is for `npm run bench -- operator`.
import assert from 'node:assert/strict';
import { BINARY_CACHE } from '../support/cache-conditions.ts';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { type Operator, QUIET_LEASE } from '../support/operator.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const CACHES = Array.from({ length: 30 }, (_, index) => `cache-${index}`);
const SPEC = { tokens: [{ name: 'push', permissions: ['Write'] }] };
/** Of a cache: 9 that are applied and 3 Secrets that are made once. */
const OBJECTS = 12;

describeWith('kubernetes', 'an operator of many caches', () => {
  let kubernetes: Kubernetes;
  let namespace: CacheNamespace;
  let operator: Operator;

  before(async () => {
    kubernetes = await sharedKubernetes();
    await installCrds(kubernetes);
    namespace = await CacheNamespace.make(kubernetes, 'many');
    // Nothing happens by itself: each look has a reason.
    operator = await namespace.operator({ args: [...QUIET_LEASE, '--poll', '3600', '--status-interval', '3600'] });
  });
  after(() => namespace?.remove());

  const requests = (verb: string) => operator.metric('narwhal_operator_api_request_seconds_count', { verb });
  const errors = async () => (await operator.lines()).filter(({ level }) => level >= 50);

  it('makes each of them by a bounded number of requests', async () => {
    await Promise.all(CACHES.map((name) => namespace.cache(name, SPEC)));
    for (const name of CACHES) await namespace.settled(name);
    assert.equal((await namespace.objects()).size, CACHES.length * OBJECTS);
    // An event for each Secret and one for the state; a look may come before the store has heard of an object.
    const { apply, create, ...others } = await operator.writes();
    const most = { apply: CACHES.length * (OBJECTS + 4), create: CACHES.length * 8 + 2 };
    assert.ok(apply <= most.apply, `${apply} applied`);
    assert.ok(create <= most.create, `${create} created`);
    assert.ok(others.replace + others.delete === 0);
    const gets = await requests('get');
    assert.ok(gets <= CACHES.length * 40, `${gets} read`);
    assert.deepEqual(await errors(), []);
  });

  it('writes nothing for any of them when it is started again', async () => {
    assert.equal(await operator.stop(), 0);
    await operator.restart();
    const looks = () => operator.metric('narwhal_operator_reconcile_seconds_count', { controller: 'caches' });
    await until('each was looked at', async () => (await looks()) >= CACHES.length);
    assert.deepEqual(await operator.writes(), { apply: 0, create: 0, replace: 1, patch: 0, delete: 0 });
    assert.equal(await looks(), CACHES.length);
  });

  it('does not mind that they are deleted while they are made', async () => {
    for (const name of CACHES) {
      await namespace.cache(`new-${name}`, SPEC);
      await namespace.delete(BINARY_CACHE, `new-${name}`);
    }
    for (const name of CACHES) await namespace.delete(BINARY_CACHE, name);
    const left = () => operator.metric('narwhal_operator_informer_objects', { kind: 'BinaryCache' });
    await until('it has heard of it', async () => (await left()) === 0);
    await until('it has done', async () => (await operator.metric('narwhal_operator_queue_depth')) === 0);
    assert.equal(operator.process.running, true);
    assert.deepEqual(await errors(), []);
  });
});
