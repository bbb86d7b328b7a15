/** Where the API server is, and who we are there. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { RequestOptions } from 'node:https';
import { isIPv6 } from 'node:net';
import { homedir } from 'node:os';
import path from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';

export interface Credentials {
  /** As in `https://10.96.0.1:443`; may have a path. */
  readonly server: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>;
  /** The proxy to go through, for HTTP CONNECT. */
  readonly proxy?: string | undefined;
}

/** Asked before each request, so that files may change at any time. */
export type Access = () => Promise<Credentials>;

/** Where the kubelet puts them; tests have no kubelet. */
const SERVICE_ACCOUNT = process.env.NARWHAL_SERVICE_ACCOUNT ?? '/var/run/secrets/kubernetes.io/serviceaccount';

/** Whether anything says where an API server is; whether it answers is another question. */
export function isClusterKnown({ KUBECONFIG, KUBERNETES_SERVICE_HOST }: NodeJS.ProcessEnv = process.env): boolean {
  if (KUBECONFIG || KUBERNETES_SERVICE_HOST) return true;
  return existsSync(path.join(homedir(), '.kube/config'));
}

/** Finds the API server: by `file`, else by `KUBECONFIG`, else as a pod does, else by the user's own configuration. */
export function kubeConfig(file?: string): () => Promise<Access> {
  return async () => {
    if (file === undefined && !process.env.KUBECONFIG && process.env.KUBERNETES_SERVICE_HOST) return podAccess();
    // The library would ask port 8080 of this machine, and complain about that.
    if (file === undefined && !isClusterKnown())
      throw new Error('there is no kubeconfig: set KUBECONFIG, or put one at ~/.kube/config');
    // Of all its models we use none, and they take 90 MB and most of a second: pods go without.
    const { KubeConfig } = await import('./kube-config.ts');
    const config = new KubeConfig();
    if (file === undefined) config.loadFromDefault();
    else config.loadFromFile(file);
    return configAccess(config);
  };
}

/** As every pod has it: an address in the environment, and files that the kubelet renews. */
export function podAccess(env: NodeJS.ProcessEnv = process.env, folder = SERVICE_ACCOUNT): Access {
  const { KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '443' } = env;
  const server = `https://${isIPv6(host) ? `[${host}]` : host}:${port}`;
  return async () => {
    const [ca, token] = await Promise.all(['ca.crt', 'token'].map((name) => readFile(path.join(folder, name), 'utf8')));
    return { server, tls: { ca }, headers: { Authorization: `Bearer ${token?.trim()}` } };
  };
}

/** By a kubeconfig, whatever way of authentication it names. Its files of certificates are read each time. */
export function configAccess(config: KubeConfig): Access {
  return async () => {
    const cluster = config.getCurrentCluster();
    if (cluster === null) throw new Error('the kubeconfig names no current cluster');
    // The only public door to what the library knows of credentials that makes no connections of its own.
    const options: RequestOptions = {};
    await config.applyToHTTPSOptions(options);
    const headers: Record<string, string> = {};
    if (typeof options.auth === 'string') headers.Authorization = `Basic ${btoa(options.auth)}`;
    for (const [name, value] of Object.entries(options.headers ?? {})) {
      // Files end in a line feed, which no header may.
      if (value !== undefined) headers[name] = String(value).trim();
    }
    return { server: cluster.server, headers, tls: options, proxy: cluster.proxyUrl };
  };
}
