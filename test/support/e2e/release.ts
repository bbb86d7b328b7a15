/** The installation that stories share: the chart with a gateway that has TLS, in the namespace of the documents. */
import { isDeepStrictEqual } from 'node:util';
import { ensureImage } from '../../../hack/image.mjs';
import { withLock } from '../../../hack/lib/lock.mjs';
import { chartFolder } from '../chart.ts';
import { makeAuthority, newCertificate } from './certificate.ts';
import type { World } from './world.ts';

export const SYSTEM = 'narwhal-system';
/** Pods resolve this and every name below it to the gateway. */
export const API_HOST = 'cache.narwhal.test';
/** ConfigMap with the authority of the gateway's certificate, as `ca.crt`. */
export const CA = 'narwhal-test-ca';

/** The Secret with the certificate. */
const TLS = 'narwhal-test-tls';

/** The image is in them, whose name stays when its content changes: pods of an old one are replaced. */
async function wantedValues(): Promise<object> {
  const podAnnotations = { 'narwhal.test/image': (await ensureImage('narwhal')).digest };
  return {
    operator: { podAnnotations },
    gateway: { podAnnotations, enabled: true, apiUrl: `https://${API_HOST}`, tls: { secretName: TLS } },
    // The network of pods, whatever it is here.
    caches: { trustedProxies: ['10.0.0.0/8'] },
  };
}

/** Installs it unless it is there, and gives the story's namespace the authority of its certificate. */
export async function ensureRelease(world: World): Promise<void> {
  await withLock(`release in ${process.env.NARWHAL_CLUSTER_FOLDER}`, async () => {
    const values = await wantedValues();
    const words = ['get', 'values', 'narwhal', '--namespace', SYSTEM, '--output', 'json'];
    const found = await world.helm(words).catch(() => 'null');
    if (!isDeepStrictEqual(JSON.parse(found), values)) await install(world, values);
  });
  const { data } = await world.get(`configmap/${CA}`, { namespace: SYSTEM });
  await world.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: CA }, data });
}

async function install(world: World, values: object): Promise<void> {
  await world.tryKubectl(['create', 'namespace', SYSTEM]);
  await makeAuthority(world, { name: CA, namespace: SYSTEM, host: API_HOST });
  await useNewCertificate(world, API_HOST);
  await resolveToGateway(world);
  const words = ['upgrade', '--install', 'narwhal', chartFolder, '--namespace', SYSTEM, '--wait', '--timeout', '3m'];
  await world.helm(words, values);
}

/** Gives the gateway another certificate of the same authority. @param subject its common name */
export async function useNewCertificate(world: World, subject: string): Promise<void> {
  const stringData = await newCertificate(world, { name: CA, namespace: SYSTEM, subject });
  await world.apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: TLS, namespace: SYSTEM },
    type: 'kubernetes.io/tls',
    stringData,
  });
}

/** As a user's DNS does it: one name and all below it lead to the gateway. */
async function resolveToGateway(world: World): Promise<void> {
  const place = { namespace: 'kube-system' };
  const { data } = await world.get('configmap/coredns', place);
  const pattern = `(.*\\.)?${API_HOST.replaceAll('.', '\\.')}`;
  const rule = `    rewrite name regex ${pattern} narwhal-gateway.${SYSTEM}.svc.cluster.local answer auto\n`;
  if (data.Corefile.includes(rule)) return;
  const Corefile = data.Corefile.replace(/^\.:53 \{\n/m, (line: string) => line + rule);
  await world.kubectl(['patch', 'configmap', 'coredns', '--patch', JSON.stringify({ data: { Corefile } })], place);
  // A pod sees a changed ConfigMap within a minute, a new pod at once.
  await world.kubectl(['rollout', 'restart', 'deployment/coredns'], place);
  await world.kubectl(['rollout', 'status', 'deployment/coredns', '--timeout=2m'], place);
}
