// What a node of Kubernetes runs, for a cluster on this machine: the programs of Kubernetes, CoreDNS and pause from Go
// modules; containerd, runc, network plugins and the tools that they call from Debian packages.
import fs from 'node:fs';
import path from 'node:path';
import { root } from '../lib/places.mjs';
import { run } from '../lib/run.mjs';
import { C_LIBRARY, libraryFolder, ownSuite, unpackDebian } from './debian.mjs';
import { runGo } from './go.mjs';
import { keep, say } from './kept.mjs';
import { ensureKubernetes, ensureNodePrograms } from './kubernetes.mjs';

/** Raise it when unpackRuntime makes something else out of the same packages. */
const RECIPE = 2;
/** Small modules of our own: raise it when their sources change. */
const OWN_MODULES = 1;

/** util-linux: namespaces; iproute2: the network; nftables: what kube-proxy calls; the two -progs: file systems of volumes. */
const PACKAGES = [
  'containerd',
  'runc',
  'containernetworking-plugins',
  'nftables',
  'iproute2',
  'e2fsprogs',
  'xfsprogs',
  'util-linux',
];

/**
 * @typedef {object} NodePrograms
 * @property {string} version of Kubernetes, as in v1.34.4
 * @property {string} kubernetes the folder of kube-apiserver, kube-controller-manager, kubectl and helm
 * @property {string} node the folder of kubelet, kube-proxy and kube-scheduler
 * @property {string[]} etcd the words that start etcd
 * @property {string} coredns a static program
 * @property {string} pause a static program
 * @property {string} plugins the folder of the network plugins
 * @property {{ PATH: string, LD_LIBRARY_PATH: string }} env what containerd and the tools need in their environment
 */

/** Everything that a cluster of one node needs, fetched and built if need be. @returns {Promise<NodePrograms>} */
export async function ensureNode() {
  // First what is quick to fail.
  const runtime = await keep(`container-runtime-${ownSuite() ?? 'stable'}`, RECIPE, unpackRuntime);
  const { version, bin: kubernetes, etcd } = await ensureKubernetes();
  const node = await ensureNodePrograms();
  const coredns = await buildOwn('coredns', ['-version'], 'a minute');
  const pause = await buildOwn('pause', undefined, 'a second');
  return { version, kubernetes, node, etcd, coredns, pause, ...runtimeIn(runtime) };
}

async function unpackRuntime(draft) {
  await unpackDebian({ suite: ownSuite() ?? 'stable', packages: PACKAGES, folder: draft });
  const lib = libraryFolder(draft);
  for (const name of fs.readdirSync(lib).filter((file) => C_LIBRARY.test(file))) fs.rmSync(path.join(lib, name));
  // Before the folder is kept for good: do they run here?
  const { env } = runtimeIn(draft);
  for (const words of ['containerd --version', 'runc --version', 'nft --version', 'ip -V', 'unshare --version']) {
    const [program, ...args] = words.split(' ');
    await run(words, program, args, { env });
  }
}

function runtimeIn(folder) {
  const own = ['usr/sbin', 'usr/bin'].map((name) => path.join(folder, name));
  return {
    plugins: path.join(folder, 'usr/lib/cni'),
    env: {
      // Ours first, so that every machine runs the same; the machine's own for a shell and what it starts.
      PATH: [...own, '/usr/sbin', '/usr/bin', '/sbin', '/bin'].join(path.delimiter),
      LD_LIBRARY_PATH: libraryFolder(folder),
    },
  };
}

/** A program of the Go module beside this file. @returns {Promise<string>} its file */
async function buildOwn(name, check, time) {
  const cwd = path.join(root, 'hack/components', name);
  const folder = await keep(name, OWN_MODULES, async (draft) => {
    say(`building ${name} from its Go module (about ${time}, once)`);
    await runGo(name, {
      oldest: '1.24',
      args: ['build', '-mod=readonly', '-trimpath', '-ldflags', '-s -w', '-o', path.join(draft, name), '.'],
      cwd,
      env: { GOWORK: 'off' },
    });
    if (check) await run(`${name} ${check.join(' ')}`, path.join(draft, name), check);
  });
  return path.join(folder, name);
}
