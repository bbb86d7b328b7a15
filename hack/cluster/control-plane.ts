/** The control plane of a cluster on this machine: etcd, API server, controllers, scheduler, as words to start. */
import path from 'node:path';
import type { NodePrograms } from '../components/node.mjs';
import type { Network } from './network.ts';
import type { Pki, Program } from './pki.ts';

const ETCD = 'http://127.0.0.1:2379';

export function etcdWords(programs: NodePrograms, folder: string): string[] {
  return [
    ...programs.etcd,
    `--data-dir=${path.join(folder, 'etcd')}`,
    `--listen-client-urls=${ETCD}`,
    `--advertise-client-urls=${ETCD}`,
    '--listen-peer-urls=http://127.0.0.1:2380',
    // It is elected by itself at once. A cluster like this one is not worth a wait for the disk.
    '--heartbeat-interval=10',
    '--election-timeout=100',
    '--unsafe-no-fsync',
  ];
}

export function apiServerWords(programs: NodePrograms, pki: Pki, network: Network): string[] {
  return [
    path.join(programs.kubernetes, 'kube-apiserver'),
    `--etcd-servers=${ETCD}`,
    `--bind-address=${network.node}`,
    `--advertise-address=${network.node}`,
    `--service-cluster-ip-range=${network.services}`,
    `--tls-cert-file=${pki.server.certFile}`,
    `--tls-private-key-file=${pki.server.keyFile}`,
    `--client-ca-file=${pki.authority.caFile}`,
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${pki.tokenPublicKeyFile}`,
    `--service-account-signing-key-file=${pki.tokenKeyFile}`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    `--kubelet-certificate-authority=${pki.authority.caFile}`,
    `--kubelet-client-certificate=${pki.kubeletClient.certFile}`,
    `--kubelet-client-key=${pki.kubeletClient.keyFile}`,
    '--kubelet-preferred-address-types=InternalIP',
    '--allow-privileged=true',
    '--shutdown-delay-duration=0s',
  ];
}

export function controllersWords(programs: NodePrograms, pki: Pki): string[] {
  return [
    path.join(programs.kubernetes, 'kube-controller-manager'),
    ...asItself('kube-controller-manager', pki),
    `--root-ca-file=${pki.authority.caFile}`,
    `--cluster-signing-cert-file=${pki.authority.caFile}`,
    `--cluster-signing-key-file=${pki.authority.caKeyFile}`,
    `--service-account-private-key-file=${pki.tokenKeyFile}`,
    '--use-service-account-credentials=true',
    // After so long a silence of the kubelet its pods get no traffic.
    '--node-monitor-grace-period=20s',
    '--node-monitor-period=2s',
  ];
}

export function schedulerWords(programs: NodePrograms, pki: Pki): string[] {
  return [path.join(programs.node, 'kube-scheduler'), ...asItself('kube-scheduler', pki)];
}

/** Flags that controllers and scheduler share. */
function asItself(program: Program, pki: Pki): string[] {
  const flags = ['kubeconfig', 'authentication-kubeconfig', 'authorization-kubeconfig'];
  return [
    ...flags.map((flag) => `--${flag}=${pki.kubeconfigs[program]}`),
    '--bind-address=127.0.0.1',
    `--tls-cert-file=${pki.server.certFile}`,
    `--tls-private-key-file=${pki.server.keyFile}`,
    '--leader-elect=false',
  ];
}
