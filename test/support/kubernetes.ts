/**
 * A real Kubernetes without nodes: etcd and kube-apiserver, and the controllers when a test asks for them. It is there
 * 2 s after start() on two cores, once built (hack/components/kubernetes.mjs), and takes 375 MB: the API server 330,
 * etcd 45, the controllers 80 more. Each test makes a namespace of its own; most share one by sharedKubernetes().
 *
 * With USE_EXISTING_CLUSTER=true it is the cluster of KUBECONFIG instead, as for envtest. That one is never stopped,
 * frozen or compacted: what needs this stands in describeWithOwnKubernetes(), which is then skipped.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { ensureKubernetes } from '../../hack/components/kubernetes.mjs';
import { ControlPlane, type ControlPlaneInit } from './control-plane.ts';
import { type Access, readKubeconfig, writeKubeconfig } from './kubeconfig.ts';
import { type ApiAnswer, type ApiObject, type ApiRequest, KubernetesApi } from './kubernetes-api.ts';
import type { User } from './kubernetes-pki.ts';
import { describeWith } from './needs.ts';
import { type RunResult, runToEnd } from './run.ts';

export type KubernetesInit = ControlPlaneInit;

export interface ServiceAccount {
  readonly serviceAccount: string;
  readonly namespace: string;
}

export interface KubectlInit {
  readonly input?: string;
  /** The file of kubeconfigFor(); the default is the administrator's. */
  readonly kubeconfig?: string;
}

export class Kubernetes {
  /** Holds the kubeconfigs and, of a cluster that is ours, data and logs. */
  readonly folder: string;
  readonly #bin: string;
  readonly #access: Access;
  readonly #plane: ControlPlane | undefined;
  readonly #api: KubernetesApi;
  readonly #namespaces: string[] = [];
  #files = 0;

  private constructor(folder: string, bin: string, access: Access, plane: ControlPlane | undefined) {
    this.folder = folder;
    this.#bin = bin;
    this.#access = access;
    this.#plane = plane;
    this.#api = new KubernetesApi(access);
  }

  /** @param init says nothing to a cluster that is there already */
  static async start(init: KubernetesInit = {}): Promise<Kubernetes> {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-kubernetes-'));
    try {
      const { bin } = await ensureKubernetes();
      const existing = existingCluster();
      const plane = existing === undefined ? await ControlPlane.start(folder, init) : undefined;
      const access = plane?.admin ?? (await readKubeconfig(path.join(bin, 'kubectl'), existing ?? ''));
      const kubernetes = new Kubernetes(folder, bin, access, plane);
      await writeKubeconfig(kubernetes.kubeconfig, access);
      await writeFile(kubernetes.caFile, access.ca);
      return kubernetes;
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** `https://127.0.0.1:port` */
  get url(): string {
    return this.#access.server;
  }

  /** The certificate authority of `url`, as a file of PEM. */
  get caFile(): string {
    return path.join(this.folder, 'ca.crt');
  }

  /** The file that makes a client an administrator. */
  get kubeconfig(): string {
    return path.join(this.folder, 'kubeconfig');
  }

  /** Path of helm, for charts; kubectl has methods of its own. */
  get helm(): string {
    return path.join(this.#bin, 'helm');
  }

  /** A kubeconfig for a ServiceAccount that exists, by a token of an hour; or for any user, in a cluster that is ours. */
  async kubeconfigFor(who: User | ServiceAccount): Promise<string> {
    if ('user' in who) return this.#write(await this.#own.accessFor(who));
    return this.#write({ ...this.#access, user: { token: await this.token(who.namespace, who.serviceAccount) } });
  }

  /** The administrator's kubeconfig with another address of the same server, such as a proxy's. */
  kubeconfigThrough(server: string): Promise<string> {
    return this.#write({ ...this.#access, server });
  }

  /** A token of an hour for a ServiceAccount that exists. */
  async token(namespace: string, serviceAccount: string): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`;
    const { status } = await this.expect(path, { method: 'POST', body: { spec: { expirationSeconds: 3600 } } });
    return (status as { token: string }).token;
  }

  /** What kubectl prints; throws its complaint when it fails. */
  async kubectl(args: readonly string[], init: KubectlInit = {}): Promise<string> {
    const { code, stdout, stderr } = await this.tryKubectl(args, init);
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')} ended with ${code}:\n${stderr}${stdout}`);
    return stdout;
  }

  /** How kubectl ends, whatever the end. */
  tryKubectl(args: readonly string[], { input, kubeconfig = this.kubeconfig }: KubectlInit = {}): Promise<RunResult> {
    return runToEnd([path.join(this.#bin, 'kubectl'), ...args], {
      input,
      cwd: this.folder,
      // HOME is where kubectl keeps what it has learned of a server.
      env: { PATH: process.env.PATH, HOME: this.folder, KUBECONFIG: kubeconfig },
    });
  }

  /** Sends an administrator's request as it is, fifty times as fast as kubectl; any answer. */
  request(path: string, request?: ApiRequest): Promise<ApiAnswer> {
    return this.#api.request(path, request);
  }

  /** As request(), but throws what the server says unless it is content. */
  expect(path: string, request?: ApiRequest): Promise<ApiObject> {
    return this.#api.expect(path, request);
  }

  /** Makes a namespace that no other test has; its name. */
  async namespace(prefix: string): Promise<string> {
    const name = `${prefix}-${randomBytes(4).toString('hex')}`;
    await this.expect('/api/v1/namespaces', { method: 'POST', body: { metadata: { name } } });
    this.#namespaces.push(name);
    return name;
  }

  /** Ends the API server: at once, or by SIGTERM in order. */
  stopApi(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    return this.#own.stopApi(signal);
  }

  /** Starts the API server again, on the same port with the same objects; ends it before, where it runs. */
  restartApi(): Promise<void> {
    return this.#own.restartApi();
  }

  /** The API server keeps its connections and answers nothing, until thawApi(). */
  freezeApi(): void {
    this.#own.signalApi('SIGSTOP');
  }

  thawApi(): void {
    this.#own.signalApi('SIGCONT');
  }

  /**
   * Makes etcd forget the past; the revision up to which it did. A running API server remembers by itself: only after
   * restartApi(), or with `--watch-cache=false`, are watches and lists of older versions answered with 410. Watches are so
   * after any restartApi(), once something newer has been written anywhere.
   */
  compact(): Promise<string> {
    return this.#own.compact();
  }

  /** Starts kube-controller-manager, with the named controllers only if there are any. An existing cluster has its own. */
  async startControllerManager({ controllers = ['*'] }: { controllers?: readonly string[] } = {}): Promise<void> {
    await this.#plane?.startControllers(controllers);
  }

  stopControllerManager(): Promise<void> {
    return this.#own.stopControllers();
  }

  /** Process ids of the servers; -1 for those that do not run. */
  get pids(): { readonly etcd: number; readonly api: number; readonly controllers: number } {
    return this.#own.pids;
  }

  /** Ends the servers and removes their data; in an existing cluster removes the namespaces that were made. */
  async remove(): Promise<void> {
    if (this.#plane) await this.#plane.stop();
    else for (const name of this.#namespaces) await this.request(`/api/v1/namespaces/${name}`, { method: 'DELETE' });
    this.#api.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #write(access: Access): Promise<string> {
    this.#files += 1;
    const file = path.join(this.folder, `kubeconfig-${this.#files}`);
    await writeKubeconfig(file, access);
    return file;
  }

  get #own(): ControlPlane {
    if (this.#plane) return this.#plane;
    throw new Error('this cluster is not ours to stop; use describeWithOwnKubernetes() for such tests');
  }
}

/** Declares tests that do to a cluster what only one of their own allows: they are skipped in an existing one. */
export function describeWithOwnKubernetes(title: string, tests: () => void): void {
  if (existingCluster() === undefined) describeWith('kubernetes', title, tests);
  else describe(title, () => it.skip('with a cluster of its own (USE_EXISTING_CLUSTER=true)'));
}

/** The kubeconfig of the cluster to use instead of one of our own. Only when asked for: people have KUBECONFIG set. */
function existingCluster(): string | undefined {
  if (process.env.USE_EXISTING_CLUSTER !== 'true') return undefined;
  return process.env.KUBECONFIG ?? path.join(os.homedir(), '.kube/config');
}
