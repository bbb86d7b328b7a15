// Hosts and annotations of Ingress and HTTPRoute: those that an administrator allows, taken over without a restart.
import assert from 'node:assert/strict';
import { kinds } from '../../operator/runtime/index.ts';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const SIZE = 'nginx.ingress.kubernetes.io/proxy-body-size';
const SNIPPET = 'nginx.ingress.kubernetes.io/server-snippet';

describeWith('kubernetes', 'a cache that asks for a host', () => {
  let kubernetes: Kubernetes;
  let namespace: CacheNamespace;

  before(async () => {
    kubernetes = await sharedKubernetes();
    await installCrds(kubernetes);
    namespace = await CacheNamespace.make(kubernetes, 'routes');
    const hosts = ['--cache-hosts', `${namespace.name}=*.example.org,other=*`];
    await namespace.operator({ args: [...hosts, '--ingress-annotations', SIZE] });
  });
  after(() => namespace?.remove());

  const ingress = () => namespace.find(kinds.Ingress, 'main');
  const hostOf = async () => ((await ingress())?.spec?.rules as { host: string }[] | undefined)?.[0]?.host;
  const template = async () => (await namespace.get(kinds.StatefulSet, 'main')).spec?.template;
  const config = async () => (await namespace.get(kinds.ConfigMap, 'main-config')).data?.['cache.yaml'] ?? '';

  it('that it may not have is told so, and has all else', async () => {
    await namespace.cache('main', { ingress: { host: 'bank.example.com' } });
    await namespace.settled('main');
    const { message } = await namespace.until('main', 'Exposed', 'False', 'HostNotAllowed');
    assert.match(message, /^host bank\.example\.com is not allowed to caches of the namespace .*caches\.hosts/);
    assert.equal(await ingress(), undefined);
    assert.doesNotMatch(await config(), /bank/);
  });

  it('that it may have gets it, then another, and no pod restarts', async () => {
    const before = await template();
    for (const host of ['nix.example.org', 'new.example.org']) {
      await namespace.cache('main', { ingress: { host, annotations: { [SIZE]: '0' } } });
      await namespace.until('main', 'Exposed', 'True');
      await until(`it has ${host}`, async () => (await hostOf()) === host);
      await until('its servers are told', async () => (await config()).includes(`host: ${host}`));
    }
    await namespace.settled('main');
    assert.deepEqual(await template(), before);
  });

  it('loses it with an annotation that it may not have', async () => {
    const annotations = { [SNIPPET]: 'location /x { return 200; }' };
    await namespace.cache('main', { ingress: { host: 'new.example.org', annotations } });
    const { message } = await namespace.until('main', 'Exposed', 'False', 'AnnotationNotAllowed');
    assert.match(message, /server-snippet is not allowed .*caches\.ingressAnnotations/);
    await until('there is no Ingress', async () => (await ingress()) === undefined);
  });
});
