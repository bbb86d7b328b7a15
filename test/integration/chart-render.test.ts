// The chart without a cluster: what helm makes of values, and what it refuses.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { parse } from 'yaml';
import { bundleFile, renderBundle } from '../../hack/bundle.mjs';
import { root } from '../../hack/lib/places.mjs';
import { runCommand } from '../../operator/cli.ts';
import {
  chartFolder,
  environmentOf,
  find,
  helm,
  type Manifest,
  type PodSpec,
  podSpecOf,
  render,
  tryRender,
  type Values,
} from '../support/chart.ts';
import { describeWith } from '../support/needs.ts';
import { runToEnd } from '../support/run.ts';
import { chartRefusals } from '../tables/chart-refusals.ts';
import { chartValues } from '../tables/chart-values.ts';

const CLUSTER_WIDE = new Set([
  'CustomResourceDefinition',
  'ClusterRole',
  'ClusterRoleBinding',
  'ValidatingAdmissionPolicy',
  'ValidatingAdmissionPolicyBinding',
]);

const apiUrl = 'https://cache.example.org:8443';
const withGateway = (more: Values = {}): Promise<Manifest[]> => render({ gateway: { enabled: true, apiUrl, ...more } });

describeWith('kubernetes', 'the chart', () => {
  for (const [title, values] of Object.entries(chartValues)) {
    it(`passes helm lint with ${title}`, async () => {
      await helm(['lint', '--strict', chartFolder], { values });
    });
  }

  for (const [title, [values, message]] of Object.entries(chartRefusals)) {
    it(`refuses ${title}`, async () => {
      const { code, stderr } = await tryRender(values);
      assert.equal(code, 1);
      assert.match(stderr, message);
    });
  }

  it('labels every object, and puts it where it was asked to or into the namespaces that it watches', async () => {
    const { 'single namespaces': values = {} } = chartValues;
    const places = new Set(['narwhal-system', ...(values.watchNamespaces as string[])]);
    for (const { kind, metadata } of await render(values)) {
      const { name, namespace, labels = {} } = metadata;
      assert.equal(namespace === undefined, CLUSTER_WIDE.has(kind), `${kind} ${name}`);
      if (namespace !== undefined) assert.ok(places.has(namespace), `${kind} ${name} in ${namespace}`);
      assert.equal(labels['app.kubernetes.io/name'], 'narwhal', `${kind} ${name}`);
      assert.equal(labels['app.kubernetes.io/managed-by'], 'Helm', `${kind} ${name}`);
    }
  });

  it('keeps names within the limits of Kubernetes, however long the name of the release', async () => {
    const values = { ...chartValues['single namespaces'], ...chartValues['metrics, alerts and a dashboard'] };
    const manifests = await render(values, { release: `a${'-long'.repeat(10)}` });
    for (const { kind, metadata } of manifests) assert.ok(metadata.name.length <= 63, `${kind} ${metadata.name}`);
  });

  it('calls objects by the release, by fullnameOverride, or by both words', async () => {
    for (const [release, values, name] of [
      ['narwhal', {}, 'narwhal-operator'],
      ['nix', {}, 'nix-narwhal-operator'],
      ['nix', { fullnameOverride: 'cache' }, 'cache-operator'],
    ] as const)
      find(await render(values, { release }), 'Deployment', name);
  });

  it('runs the image of its own version, another tag, or a digest', async () => {
    const repository = 'ghcr.io/narwhal-cache/narwhal';
    const digest = `sha256:${'1'.repeat(64)}`;
    const chart = await readFile(`${chartFolder}/Chart.yaml`, 'utf8');
    const [, appVersion] = /^appVersion: (.+)$/m.exec(chart) ?? [];
    for (const [image, expected] of [
      [{}, `${repository}:${appVersion}`],
      [{ tag: 'v9' }, `${repository}:v9`],
      [{ tag: 'v9', digest }, `${repository}@${digest}`],
    ] as const) {
      const operator = find(await render({ image }), 'Deployment', 'narwhal-operator');
      assert.equal(podSpecOf(operator).containers[0].image, expected);
      assert.equal(environmentOf(operator).NARWHAL_IMAGE, expected);
    }
  });

  it('selects pods by labels that stay the same from version to version, or Deployments could not be upgraded', async () => {
    for (const { kind, metadata, spec } of await withGateway()) {
      if (kind !== 'Deployment') continue;
      const { selector, template } = spec as {
        selector: { matchLabels: object };
        template: { metadata: { labels: object } };
      };
      const component = metadata.name.replace('narwhal-', '');
      const expected = {
        'app.kubernetes.io/name': 'narwhal',
        'app.kubernetes.io/instance': 'narwhal',
        'app.kubernetes.io/component': component,
      };
      assert.deepEqual(selector.matchLabels, expected);
      // The pods' own too: an upgrade of the chart alone restarts nothing.
      assert.deepEqual(template.metadata.labels, expected);
    }
  });

  it('tells the operator of no gateway where there is none', async () => {
    const environment = environmentOf(find(await render({}), 'Deployment', 'narwhal-operator'));
    const names = Object.keys(environment).filter((name) => name.startsWith('NARWHAL_'));
    assert.deepEqual(names.sort(), [
      'NARWHAL_IDENTITY',
      'NARWHAL_IMAGE',
      'NARWHAL_INGRESS_ANNOTATIONS',
      'NARWHAL_LEASE',
      'NARWHAL_LOG_LEVEL',
      'NARWHAL_NAMESPACE',
      'NARWHAL_OPERATOR_LISTEN',
    ]);
  });

  it('lets caches have no host and only harmless annotations, unless told otherwise', async () => {
    const plain = environmentOf(find(await render({}), 'Deployment', 'narwhal-operator'));
    assert.equal(plain.NARWHAL_CACHE_HOSTS, undefined);
    assert.doesNotMatch(plain.NARWHAL_INGRESS_ANNOTATIONS ?? '', /\*|snippet|hostname|common-name|auth|alt-names/);
    const { 'hosts for caches': values = {} } = chartValues;
    const { options } = runCommand(async () => 0);
    const said = environmentOf(find(await render(values), 'Deployment', 'narwhal-operator'));
    const parsed = (variable: string) =>
      options.find(({ envVar }) => envVar === variable)?.parseArg?.<unknown>(said[variable] ?? '', undefined);
    assert.deepEqual(parsed('NARWHAL_CACHE_HOSTS'), [
      { namespace: '*', host: '*.{namespace}.nix.example.org' },
      { namespace: '*', host: '*' },
      { namespace: 'team-a', host: 'nix.example.org' },
      { namespace: 'team-a', host: '*.team-a.example.org' },
    ]);
    const { ingressAnnotations } = values.caches as { ingressAnnotations: string[] };
    assert.deepEqual(parsed('NARWHAL_INGRESS_ANNOTATIONS'), ingressAnnotations);
  });

  it('spreads pods over nodes where it can, and bounds what every container takes', async () => {
    const manifests = await withGateway();
    const pods = [
      ...['operator', 'gateway'].map((name) => podSpecOf(find(manifests, 'Deployment', `narwhal-${name}`))),
      podSpecIn(find(manifests, 'Pod', 'narwhal-test')),
    ];
    for (const { containers, topologySpreadConstraints } of pods) {
      const [{ name, resources }] = containers;
      const { requests, limits } = resources as Record<'requests' | 'limits', Record<string, string>>;
      for (const what of ['cpu', 'memory', 'ephemeral-storage']) assert.ok(requests[what], `${name} asks for ${what}`);
      assert.ok(limits.memory, String(name));
      if (name === 'readyz') continue;
      const [constraint] = topologySpreadConstraints as Record<string, unknown>[];
      assert.deepEqual(constraint, {
        maxSkew: 1,
        topologyKey: 'kubernetes.io/hostname',
        whenUnsatisfiable: 'ScheduleAnyway',
        nodeTaintsPolicy: 'Honor',
        // Or a new version would be kept from the nodes of the one that it replaces.
        matchLabelKeys: ['pod-template-hash'],
        labelSelector: {
          matchLabels: {
            'app.kubernetes.io/name': 'narwhal',
            'app.kubernetes.io/instance': 'narwhal',
            'app.kubernetes.io/component': name,
          },
        },
      });
    }
  });

  it('tells operator and gateway the same of the gateway', async () => {
    const manifests = await render({
      watchNamespaces: ['team-a', 'team-b'],
      caches: { trustedProxies: ['10.244.0.0/16'] },
      gateway: { enabled: true, apiUrl, namespaces: ['team-a'], trustedProxies: ['192.0.2.1', '198.51.100.0/24'] },
    });
    const operator = environmentOf(find(manifests, 'Deployment', 'narwhal-operator'));
    assert.equal(operator.NARWHAL_API_URL, apiUrl);
    assert.equal(operator.NARWHAL_WATCH_NAMESPACES, 'team-a,team-b');
    assert.equal(operator.NARWHAL_GATEWAY_NAMESPACES, 'team-a');
    assert.equal(operator.NARWHAL_TRUSTED_PROXIES, '10.244.0.0/16');
    assert.equal(operator.NARWHAL_ROUTES, 'narwhal-routes');
    assert.equal(operator.NARWHAL_NAMES, 'narwhal-names');
    assert.deepEqual([operator.NARWHAL_NAMES_PER_NAMESPACE, operator.NARWHAL_TOKENS_PER_NAMESPACE], ['1000', '10000']);
    assert.deepEqual([operator.NARWHAL_RELEASE_NAMES_AFTER, operator.NARWHAL_RELEASE_TOKENS_AFTER], [undefined, '1']);
    const gateway = find(manifests, 'Deployment', 'narwhal-gateway');
    const { labels } = (gateway.spec as { template: { metadata: { labels: Record<string, string> } } }).template
      .metadata;
    const selector = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
    assert.equal(operator.NARWHAL_GATEWAY_SELECTOR, selector.join(','));
    assert.equal(environmentOf(gateway).NARWHAL_ROUTES, 'configmap:narwhal-system/narwhal-routes');
    assert.equal(environmentOf(gateway).NARWHAL_TRUSTED_PROXIES, '192.0.2.1,198.51.100.0/24');
  });

  it('gives the gateway less time for its requests than its pod has', async () => {
    const gateway = find(await withGateway({ terminationGracePeriodSeconds: 300 }), 'Deployment', 'narwhal-gateway');
    assert.equal(podSpecOf(gateway).terminationGracePeriodSeconds, 300);
    assert.equal(environmentOf(gateway).NARWHAL_SHUTDOWN_GRACE, '280');
  });

  it('serves the host of apiUrl and all below it by an Ingress, whose certificate it then is', async () => {
    const manifests = await withGateway({ tls: { secretName: 'cache-tls' }, ingress: { enabled: true } });
    const hosts = ['cache.example.org', '*.cache.example.org'];
    const { rules, tls } = find(manifests, 'Ingress', 'narwhal-gateway').spec as {
      rules: { host: string }[];
      tls: unknown;
    };
    assert.deepEqual(
      rules.map(({ host }) => host),
      hosts,
    );
    assert.deepEqual(tls, [{ hosts, secretName: 'cache-tls' }]);
    assert.equal(environmentOf(find(manifests, 'Deployment', 'narwhal-gateway')).NARWHAL_TLS_CERT, undefined);
    assert.equal(portOf(manifests), 80);
  });

  it('does the same by an HTTPRoute', async () => {
    const parentRefs = [{ name: 'public', namespace: 'gateways', sectionName: 'https' }];
    const manifests = await withGateway({ httpRoute: { enabled: true, parentRefs } });
    const { spec } = find(manifests, 'HTTPRoute', 'narwhal-gateway');
    assert.deepEqual(spec, {
      hostnames: ['cache.example.org', '*.cache.example.org'],
      parentRefs,
      rules: [{ backendRefs: [{ name: 'narwhal-gateway', port: 80 }], timeouts: { request: '0s' } }],
    });
  });

  it('gives the certificate to the gateway itself where nothing stands in front', async () => {
    const manifests = await withGateway({ tls: { secretName: 'cache-tls' }, service: { type: 'LoadBalancer' } });
    const gateway = find(manifests, 'Deployment', 'narwhal-gateway');
    assert.equal(environmentOf(gateway).NARWHAL_TLS_CERT, '/etc/narwhal/tls/tls.crt');
    assert.deepEqual(podSpecOf(gateway).volumes, [{ name: 'tls', secret: { secretName: 'cache-tls' } }]);
    assert.equal(portOf(manifests), 443);
    assert.equal(portOf(await withGateway({ service: { port: 8443 } })), 8443);
  });

  it('never puts the admin port on the Service that may face the world', async () => {
    const { spec } = find(await withGateway(), 'Service', 'narwhal-gateway');
    assert.deepEqual((spec as { ports: unknown }).ports, [{ name: 'http', port: 80, targetPort: 'http' }]);
  });

  it('keeps the CRDs at an uninstallation unless told otherwise', async () => {
    for (const keep of [true, false]) {
      const crds = (await render({ crds: { keep } })).filter(({ kind }) => kind === 'CustomResourceDefinition');
      assert.equal(crds.length, 3);
      for (const { metadata } of crds)
        assert.equal(metadata.annotations?.['helm.sh/resource-policy'], keep ? 'keep' : undefined);
    }
    const kinds = (await render({ crds: { enabled: false } })).map(({ kind }) => kind);
    assert.ok(!kinds.includes('CustomResourceDefinition'));
  });

  it('leaves the operator to RBAC alone where the policy is switched off', async () => {
    const kinds = (await render({ admissionPolicy: { enabled: false } })).map(({ kind }) => kind);
    assert.ok(!kinds.some((kind) => kind.startsWith('ValidatingAdmissionPolicy')));
  });

  it('takes every example of the page about installing', async () => {
    const page = await readFile(path.join(root, 'docs/install.md'), 'utf8');
    const examples = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = '']) => text);
    // The others are manifests, which test/e2e/install.test.ts applies.
    const values = examples.filter((text) => !/^apiVersion:/m.test(text)).map((text) => parse(text) as Values);
    assert.ok(values.length > 5);
    for (const example of values) await render(example);
  });

  it('takes the values of a chart that it is part of', async () => {
    await render({ global: { imageRegistry: 'registry.example.org' } });
  });

  it('asks operator and gateway in `helm test` whether they are ready, and fails where one is not', async () => {
    const [{ command }] = podSpecIn(find(await withGateway(), 'Pod', 'narwhal-test')).containers;
    const [, ...args] = command as string[];
    const urls = args.splice(args.indexOf('--') + 1);
    assert.deepEqual(urls, ['http://narwhal-operator:9090/readyz', 'http://narwhal-gateway-admin:9090/readyz']);
    await using server = await listen((request) => (request.url === '/well' ? 200 : 503));
    for (const [paths, code] of [
      [['well', 'well'], 0],
      [['well', 'ill'], 1],
    ] as const) {
      const words = [process.execPath, ...args, ...paths.map((name) => `${server.url}/${name}`)];
      const result = await runToEnd(words, { env: {} });
      assert.equal(result.code, code, result.stderr);
      assert.match(result.stdout, new RegExp(`${code === 0 ? 200 : 503} ${server.url}/`));
    }
  });

  it('is the bundle, with its defaults', async () => {
    const kept = await readFile(bundleFile, 'utf8');
    assert.ok(kept === (await renderBundle()), 'charts/bundle.yaml is out of date: run node hack/bundle.mjs');
  });
});

function podSpecIn(pod: Manifest): PodSpec {
  return pod.spec as PodSpec;
}

/** A server that answers with nothing but a status. */
async function listen(statusOf: (request: http.IncomingMessage) => number) {
  const server = http.createServer((request, response) => void response.writeHead(statusOf(request)).end());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => void server.close(() => resolve()).closeAllConnections()),
  };
}

function portOf(manifests: readonly Manifest[]): number | undefined {
  const { ports } = find(manifests, 'Service', 'narwhal-gateway').spec as { ports: { port: number }[] };
  return ports[0]?.port;
}
