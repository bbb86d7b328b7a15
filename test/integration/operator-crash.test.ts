// The operator is killed after each step of what it does for a new cache.
import assert from 'node:assert/strict';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const SPEC = {
  tokens: [{ name: 'push', permissions: ['Write'] }],
  ingress: { host: 'nix.example.org' },
  // So that the owners of the keys change too.
  reclaimPolicy: 'Delete',
};

describeWith('kubernetes', 'an operator that is killed after each of its steps', () => {
  let kubernetes: Kubernetes;
  const namespaces: CacheNamespace[] = [];

  before(async () => {
    kubernetes = await sharedKubernetes();
    await installCrds(kubernetes);
  });
  after(() => Promise.all(namespaces.map((namespace) => namespace.remove())));

  async function newNamespace(): Promise<CacheNamespace> {
    const namespace = await CacheNamespace.make(kubernetes, 'crash');
    namespaces.push(namespace);
    await namespace.cache('main', SPEC);
    return namespace;
  }

  it('makes everything once, and each key and token once', async () => {
    const calm = await newNamespace();
    const operator = await calm.operator();
    await calm.settled('main');
    const wanted = [...(await calm.objects()).keys()];
    const done = (await operator.lines()).filter(({ object }) => object !== undefined);
    const steps = new Set(done.map(({ msg, object }) => `${msg} ${object}`));
    assert.ok(steps.size > wanted.length, [...steps].join());
    await operator.kill();

    // Each life of the operator ends after its first step: after k lives, k steps are done.
    const namespace = await newNamespace();
    const killed = await namespace.idleOperator();
    const env = { NARWHAL_OPERATOR_CRASH_AFTER: '1' };
    let secrets: Awaited<ReturnType<typeof namespace.secrets>> = {};
    for (const life of steps.keys()) {
      const code = await killed.runToEnd({ args: ['--lease', life.replaceAll(/\W+/g, '-').toLowerCase()], env });
      assert.equal(code, null, 'it was not killed');
      const now = await namespace.secrets('main');
      for (const [name, data] of Object.entries(secrets)) assert.deepEqual(now[name], data, name);
      secrets = now;
    }
    assert.deepEqual([...(await namespace.objects()).keys()], wanted);
    assert.equal(Object.keys(secrets).length, 3);

    await killed.restart({ args: ['--lease', 'last-life'] });
    await namespace.settled('main');
    await killed.untilReconciled(3);
    assert.deepEqual([...(await namespace.objects()).keys()], wanted);
    assert.deepEqual(await namespace.secrets('main'), secrets);
    const before = await namespace.versions('main');
    await killed.untilReconciled(3);
    assert.deepEqual(await namespace.versions('main'), before);
  });
});
