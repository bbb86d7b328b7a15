// What the chart renders, before a real API server: schemas, Pod Security, and the manifests that people start from.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { bundleFile } from '../../hack/bundle.mjs';
import { root } from '../../hack/lib/places.mjs';
import { type Manifest, manifestsIn, podSpecOf, render } from '../support/chart.ts';
import { apply, installForeignKinds, makeNamespace } from '../support/chart-cluster.ts';
import { describeWithOwnKubernetes, Kubernetes } from '../support/kubernetes.ts';
import { chartValues, WATCHED } from '../tables/chart-values.ts';

const START_MS = 120_000;
const DRY = ['--dry-run=server'];
const examples = path.join(root, 'examples');

describeWithOwnKubernetes('an API server takes', () => {
  let kubernetes: Kubernetes;

  before(async function () {
    this.timeout(START_MS);
    kubernetes = await Kubernetes.start();
    for (const name of ['narwhal-system', ...WATCHED]) await makeNamespace(kubernetes, name);
    await installForeignKinds(kubernetes);
  });
  after(() => kubernetes?.remove());

  for (const [title, values] of Object.entries(chartValues)) {
    it(`every object of the chart with ${title}`, async () => {
      await apply(kubernetes, await render(values), DRY);
    });

    it(`its pods where Pod Security is restricted, with ${title}`, async () => {
      const deployments = (await render(values)).filter(({ kind }) => kind === 'Deployment');
      assert.ok(deployments.length > 0);
      await apply(kubernetes, deployments.map(podOf), DRY);
    });
  }

  it('no other pods there, so that the above says something', async () => {
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'any', namespace: 'narwhal-system' } };
    await assert.rejects(
      apply(kubernetes, [{ ...pod, spec: { containers: [{ name: 'a', image: 'a' }] } }], DRY),
      /PodSecurity/,
    );
  });

  it('the bundle, by plain kubectl', async () => {
    await kubernetes.kubectl(['apply', '--validate=strict', '-f', bundleFile]);
    await kubernetes.kubectl([
      'wait',
      '--for=condition=Established',
      '--timeout=30s',
      'crd',
      'binarycaches.narwhal.dev',
    ]);
    // A second time, as an upgrade does: nothing is as large as to be refused then.
    const again = await kubernetes.kubectl(['apply', '-f', bundleFile]);
    assert.doesNotMatch(again, /created/);
  });

  it('the examples, once the CRDs are there', async () => {
    const files = (await readdir(examples)).filter((name) => name.endsWith('.yaml'));
    assert.ok(files.includes('quickstart.yaml'));
    for (const name of files) {
      const manifests = manifestsIn(await readFile(path.join(examples, name), 'utf8'));
      await apply(kubernetes, manifests, [...DRY, '-n', 'team-a']);
    }
  });
});

/** A pod as a Deployment makes it. */
function podOf(deployment: Manifest): Manifest {
  const { name, namespace } = deployment.metadata;
  const metadata = namespace === undefined ? { name } : { name, namespace };
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec: podSpecOf(deployment) };
}
