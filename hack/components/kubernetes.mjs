// Kubernetes for tests: control plane, node, kubectl and helm, built once from one Go module. Which versions,
// and the hashes of all that goes in, say kubernetes/go.mod and go.sum; kubernetes/tools.go says which programs there are.
import fs from 'node:fs';
import path from 'node:path';
import { root } from '../lib/places.mjs';
import { run } from '../lib/run.mjs';
import { runGo } from './go.mjs';
import { keep, say } from './kept.mjs';
import { ensureProgram } from './programs.mjs';

const MODULE = path.join(root, 'hack/components/kubernetes');
const GO_MOD = fs.readFileSync(path.join(MODULE, 'go.mod'), 'utf8');
export const KUBERNETES_VERSION = versionOf('k8s.io/kubernetes');
export const HELM_VERSION = versionOf('helm.sh/helm/v4');
/** Raise it when the build makes something else out of the same module. */
const RECIPE = 1;

/**
 * What the tests of the control plane start, and how long each takes two cores when nothing is compiled yet. In this
 * order: what comes first compiles what the others share.
 */
const CONTROL_PLANE = {
  'kube-apiserver': 'four to six minutes',
  'kube-controller-manager': 'a minute',
  kubectl: 'half a minute',
  helm: 'half a minute',
};

/** What only a cluster with a node starts; most of it is compiled by then. */
const NODE = {
  'kube-scheduler': 'half a minute',
  kubelet: 'half a minute',
  'kube-proxy': 'a quarter of a minute',
};

/**
 * @typedef {object} KubernetesPrograms
 * @property {string} version as in v1.34.4
 * @property {string} helmVersion as in v4.0.5
 * @property {string} bin the folder of kube-apiserver, kube-controller-manager, kubectl and helm
 * @property {string[]} etcd the words that start etcd
 */

/** The programs of a control plane and its clients, fetched and built if need be. @returns {Promise<KubernetesPrograms>} */
export async function ensureKubernetes() {
  // First what is quick to fail.
  const etcd = await ensureProgram('etcd');
  const bin = await keepPrograms('kubernetes', CONTROL_PLANE);
  return { version: KUBERNETES_VERSION, helmVersion: HELM_VERSION, bin, etcd };
}

/** The folder of kubelet, kube-proxy and kube-scheduler, built if need be. @returns {Promise<string>} */
export function ensureNodePrograms() {
  return keepPrograms('kubernetes-node', NODE);
}

/** The kept folder of some of the programs in tools.go. Each such folder is built by itself: a new one spoils no other. */
function keepPrograms(name, programs) {
  return keep(`${name}-${KUBERNETES_VERSION}-helm-${HELM_VERSION}`, RECIPE, async (draft) => {
    for (const [program, time] of Object.entries(programs)) {
      say(`building ${program} from its Go module (about ${time}, once)`);
      await build(program, draft);
    }
  });
}

async function build(program, folder) {
  const packageName = program === 'helm' ? 'helm.sh/helm/v4/cmd/helm' : `k8s.io/kubernetes/cmd/${program}`;
  await runGo(program, {
    oldest: '1.24',
    // readonly: a build that wants other modules than go.sum names has to fail.
    args: ['build', '-mod=readonly', '-trimpath', '-ldflags', linkerFlags(), '-o', `${folder}/`, packageName],
    cwd: MODULE,
    // A workspace file around the clone would decide on versions.
    env: { GOWORK: 'off' },
  });
  // Before the folder is kept for good: does it run here?
  const args = { kubectl: ['version', '--client'], helm: ['version'] }[program] ?? ['--version'];
  await run(`${program} ${args[0]}`, path.join(folder, program), args);
}

/** Without symbols, half the size. With versions: the API server compares its own with those of its features. */
function linkerFlags() {
  const [major, minor] = KUBERNETES_VERSION.slice(1).split('.');
  const kubernetes = {
    gitMajor: major,
    gitMinor: minor,
    gitVersion: KUBERNETES_VERSION,
    gitTreeState: 'clean',
    buildDate: '1970-01-01T00:00:00Z',
  };
  const values = [
    ...['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version'].flatMap((place) =>
      Object.entries(kubernetes).map(([name, value]) => `${place}.${name}=${value}`),
    ),
    `helm.sh/helm/v4/internal/version.version=${HELM_VERSION}`,
    // What a chart is rendered for when no cluster is asked, and what `helm version` says of it.
    ...['pkg/chart/common.k8sVersion', 'internal/version.kubeClientVersion'].flatMap((name) => [
      `helm.sh/helm/v4/${name}Major=${major}`,
      `helm.sh/helm/v4/${name}Minor=${minor}`,
    ]),
  ];
  return ['-s', '-w', ...values.flatMap((value) => ['-X', value])].join(' ');
}

function versionOf(module) {
  const version = new RegExp(`^\\s*(?:require )?${module} (v\\S+)`, 'm').exec(GO_MOD)?.[1];
  if (!version) throw new Error(`${MODULE}/go.mod requires no ${module}`);
  return version;
}
