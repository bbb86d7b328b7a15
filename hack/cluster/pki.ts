/** Who believes whom in a cluster: authorities, the certificate of each program, and the kubeconfigs made of them. */
import fs from 'node:fs';
import path from 'node:path';
import type { Certificate } from '../../test/support/certificates.ts';
import { certificateUser, writeKubeconfig } from '../../test/support/kubeconfig.ts';
import { type KubernetesPki, makeKubernetesPki, subjectOf, type User } from '../../test/support/kubernetes-pki.ts';
import type { Network } from './network.ts';

export const NODE = 'node1';

/** Name of the kubeconfig to who it is for; Kubernetes grants rights to these names and groups by itself. */
const USERS = {
  admin: { user: 'admin', groups: ['system:masters'] },
  'kube-controller-manager': { user: 'system:kube-controller-manager' },
  'kube-scheduler': { user: 'system:kube-scheduler' },
  'kube-proxy': { user: 'system:kube-proxy' },
  kubelet: { user: `system:node:${NODE}`, groups: ['system:nodes'] },
} satisfies Record<string, User>;

export type Program = keyof typeof USERS;

export interface Pki extends KubernetesPki {
  /** The API server as a client of the kubelet. */
  readonly kubeletClient: Certificate;
  readonly kubeconfigs: Readonly<Record<Program, string>>;
}

/** Makes all of it in `folder`. API server and kubelet serve with one certificate. */
export async function makePki(folder: string, network: Network): Promise<Pki> {
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local'];
  const pki = await makeKubernetesPki(folder, [
    ...[...names, NODE].map((name) => `DNS:${name}`),
    ...[network.node, network.api].map((address) => `IP:${address}`),
  ]);
  const issue = (name: string, who: User) => pki.authority.issue('client', name, subjectOf(who));
  const kubeletClient = await issue('kubelet-client', { user: 'kubelet-client', groups: ['system:masters'] });
  const ca = fs.readFileSync(pki.authority.caFile, 'utf8');
  const kubeconfigs = {} as Record<Program, string>;
  for (const [program, who] of Object.entries(USERS) as [Program, User][]) {
    kubeconfigs[program] = path.join(folder, `${program}.kubeconfig`);
    const user = await certificateUser(await issue(program, who));
    await writeKubeconfig(kubeconfigs[program], { server: apiUrl(network), ca, user });
  }
  return { ...pki, kubeletClient, kubeconfigs };
}

export function apiUrl(network: Network): string {
  return `https://${network.node}:6443`;
}
