// `node hack/bundle.mjs`: writes charts/bundle.yaml, the chart with its defaults for whoever has kubectl and no helm.
// Apart from generate.mjs because it needs helm; a test compares.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { ensureKubernetes } from './components/kubernetes.mjs';
import { root } from './lib/places.mjs';
import { run } from './lib/run.mjs';

export const bundleFile = path.join(root, 'charts/bundle.yaml');
const NAMESPACE = 'narwhal-system';

const HEAD = `# Made by hack/bundle.mjs from charts/narwhal: operator and CRDs, without the gateway.
#   kubectl apply -f bundle.yaml
apiVersion: v1
kind: Namespace
metadata:
  name: ${NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
`;

/** Labels that would name a release which does not exist. */
const OF_HELM = /^ *(app\.kubernetes\.io\/managed-by: Helm|helm\.sh\/chart: .*)\n/gm;

export async function renderBundle() {
  const { bin } = await ensureKubernetes();
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-helm-'));
  try {
    const args = ['template', 'narwhal', path.join(root, 'charts/narwhal'), '--namespace', NAMESPACE];
    // `keep` means something to Helm alone, which uninstalls; so do hooks.
    const output = await run(
      'helm template',
      path.join(bin, 'helm'),
      [...args, '--no-hooks', '--set=crds.keep=false'],
      {
        env: { HOME: home },
      },
    );
    return HEAD + output.replace(OF_HELM, '');
  } finally {
    fs.rmSync(home, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  fs.writeFileSync(bundleFile, await renderBundle());
  console.log(`wrote ${path.relative(process.cwd(), bundleFile)}`);
}
