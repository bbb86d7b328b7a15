/** The node of a cluster on this machine: containerd, kubelet, kube-proxy, as files to write and words to start. */
import fs from 'node:fs';
import path from 'node:path';
import type { NodePrograms } from '../components/node.mjs';
import type { Machine } from './machine.ts';
import { NODE, type Pki } from './pki.ts';

/** The image of the first process of each pod, and that of the cluster's DNS; images.ts makes them. */
export const PAUSE_IMAGE = 'narwhal.test/pause:1';

/** Socket of containerd, as programs inside see it. */
export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock';

/** Writes what the programs below read. */
export function writeNodeFiles(machine: Machine, programs: NodePrograms, pki: Pki): void {
  const { folder } = machine;
  const write = (file: string, content: unknown) => {
    fs.mkdirSync(path.dirname(path.join(folder, file)), { recursive: true });
    fs.writeFileSync(path.join(folder, file), typeof content === 'string' ? content : JSON.stringify(content, null, 2));
  };
  write('containerd.toml', containerdConfig(folder, programs));
  write('cni/10-pods.conflist', podNetwork(machine));
  write('kubelet.json', kubeletConfig(machine, pki));
  // Pods with `dnsPolicy: Default` know no names: nothing leaves this machine.
  write('resolv.conf', '');
}

export function containerdWords(folder: string): string[] {
  return ['containerd', '--config', path.join(folder, 'containerd.toml')];
}

export function kubeletWords({ folder, network }: Machine, programs: NodePrograms, pki: Pki): string[] {
  return [
    path.join(programs.node, 'kubelet'),
    `--config=${path.join(folder, 'kubelet.json')}`,
    `--kubeconfig=${pki.kubeconfigs.kubelet}`,
    `--hostname-override=${NODE}`,
    `--node-ip=${network.node}`,
    `--root-dir=${path.join(folder, 'kubelet')}`,
  ];
}

/** By nftables: its rules are a table of its own, in a network of our own. */
export function proxyWords({ network }: Machine, programs: NodePrograms, pki: Pki): string[] {
  return [
    path.join(programs.node, 'kube-proxy'),
    `--kubeconfig=${pki.kubeconfigs['kube-proxy']}`,
    '--proxy-mode=nftables',
    `--cluster-cidr=${network.pods}`,
    `--hostname-override=${NODE}`,
    // These limits are the whole kernel's.
    '--conntrack-max-per-core=0',
    '--metrics-bind-address=127.0.0.1:10249',
    '--healthz-bind-address=127.0.0.1:10256',
  ];
}

function containerdConfig(folder: string, { plugins }: NodePrograms): string {
  const quoted = (file: string) => JSON.stringify(file);
  return `version = 2
root = ${quoted(path.join(folder, 'containerd'))}
state = "/run/containerd"
[grpc]
  address = ${quoted(CONTAINERD_SOCKET)}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${quoted(PAUSE_IMAGE)}
  # Lower scores take CAP_SYS_RESOURCE, which root lacks in some sandboxes; every pod would fail without a clear word.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${quoted(plugins)}
    conf_dir = ${quoted(path.join(folder, 'cni'))}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
  path = ${quoted(path.join(folder, 'opt'))}
`;
}

function podNetwork({ network }: Machine): object {
  const ipam = { type: 'host-local', ranges: [[{ subnet: network.pods }]], routes: [{ dst: '0.0.0.0/0' }] };
  const bridge = { type: 'bridge', bridge: 'pods', isGateway: true, ipMasq: false, hairpinMode: true, ipam };
  return { cniVersion: '1.0.0', name: 'pods', plugins: [bridge] };
}

function kubeletConfig({ folder, network, cgroup }: Machine, pki: Pki): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: network.node,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: pki.authority.caFile },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: pki.server.certFile,
    tlsPrivateKeyFile: pki.server.keyFile,
    containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
    cgroupRoot: cgroup,
    cgroupDriver: 'cgroupfs',
    failCgroupV1: false,
    failSwapOn: false,
    localStorageCapacityIsolation: false,
    enforceNodeAllocatable: [],
    clusterDNS: [network.dns],
    clusterDomain: 'cluster.local',
    resolvConf: path.join(folder, 'resolv.conf'),
    podLogsDir: path.join(folder, 'pods'),
    volumePluginDir: path.join(folder, 'plugins'),
    // The disk is the whole machine's: how full others have made it says nothing of the pods here.
    evictionHard: { 'memory.available': '100Mi' },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    nodeStatusUpdateFrequency: '4s',
    // Sooner than by default, so that tests wait for less.
    syncFrequency: '3s',
    fileCheckFrequency: '0s',
    readOnlyPort: 0,
  };
}
