/** The API server as a pod finds it: by its environment, and by files that the kubelet renews. */
import { copyFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Kubernetes } from './kubernetes.ts';

/** Writes the files into `folder`; the environment of a process that is to use them. */
export async function podAccess(
  kubernetes: Kubernetes,
  folder: string,
  token: string,
): Promise<Record<string, string>> {
  await copyFile(kubernetes.caFile, path.join(folder, 'ca.crt'));
  await writeFile(path.join(folder, 'token'), token, { mode: 0o600 });
  const { hostname, port } = new URL(kubernetes.url);
  return {
    KUBERNETES_SERVICE_HOST: hostname,
    KUBERNETES_SERVICE_PORT: port,
    NARWHAL_SERVICE_ACCOUNT: folder,
    // It would come first.
    KUBECONFIG: '',
  };
}
