/** The servers of a cluster without nodes, on free ports with their files in one folder: etcd, API server, controllers. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { ensureKubernetes } from '../../hack/components/kubernetes.mjs';
import { Etcd } from './etcd.ts';
import { type Access, certificateUser, writeKubeconfig } from './kubeconfig.ts';
import { KubernetesApi } from './kubernetes-api.ts';
import { type KubernetesPki, makeKubernetesPki, subjectOf, type User } from './kubernetes-pki.ts';
import { onFreePort, onSamePort, ServerProcess } from './server-process.ts';

const ADMIN: User = { user: 'admin', groups: ['system:masters'] };

export interface ControlPlaneInit {
  /** Gives pods the ServiceAccount `default`, which only a controller makes: without controllers no pod gets in. */
  readonly serviceAccountAdmission?: boolean;
  /** More flags, as in `--audit-log-path=...`. */
  readonly apiServerFlags?: readonly string[];
}

export class ControlPlane {
  readonly #folder: string;
  readonly #init: ControlPlaneInit;
  #bin = '';
  #port = 0;
  #users = 0;
  #pki: KubernetesPki | undefined;
  #admin: Omit<Access, 'server'> | undefined;
  #etcd: Etcd | undefined;
  #api: ServerProcess | undefined;
  #controllers: ServerProcess | undefined;

  private constructor(folder: string, init: ControlPlaneInit) {
    this.#folder = folder;
    this.#init = init;
  }

  /** Starts all but the controllers. */
  static async start(folder: string, init: ControlPlaneInit): Promise<ControlPlane> {
    const plane = new ControlPlane(folder, init);
    try {
      plane.#bin = (await ensureKubernetes()).bin;
      const pki = await makeKubernetesPki(path.join(folder, 'pki'));
      plane.#pki = pki;
      const user = await certificateUser(await pki.authority.issue('client', 'admin', subjectOf(ADMIN)));
      plane.#admin = { ca: await readFile(pki.authority.caFile, 'utf8'), user };
      plane.#etcd = await Etcd.start(path.join(folder, 'etcd'));
      await onFreePort((port) => plane.#startApiOn(port));
    } catch (error) {
      await plane.stop();
      throw error;
    }
    return plane;
  }

  /** How an administrator, whom no rule holds, reaches the API server. */
  get admin(): Access {
    return { ...there(this.#admin), server: `https://127.0.0.1:${this.#port}` };
  }

  /** Process ids of those that run, for a look at what they take. */
  get pids(): { etcd: number; api: number; controllers: number } {
    return {
      etcd: there(this.#etcd).pid,
      api: there(this.#api).pid,
      controllers: this.#controllers?.running ? this.#controllers.pid : -1,
    };
  }

  /** Access for anyone, by a client certificate. */
  async accessFor(user: User): Promise<Access> {
    this.#users += 1;
    const certificate = await there(this.#pki).authority.issue('client', `user-${this.#users}`, subjectOf(user));
    return { ...this.admin, user: await certificateUser(certificate) };
  }

  /** Sends a signal and waits for the end. */
  async stopApi(signal: NodeJS.Signals): Promise<void> {
    await there(this.#api).stop(signal);
  }

  /** Stops or continues the process, which keeps its connections but answers nothing meanwhile. */
  signalApi(signal: 'SIGSTOP' | 'SIGCONT'): void {
    there(this.#api).signal(signal);
  }

  /** Starts the API server again on the same port with the same objects. */
  async restartApi(): Promise<void> {
    await this.stopApi('SIGKILL');
    await onSamePort(() => this.#startApiOn(this.#port));
  }

  /** Makes etcd forget what was before; the revision up to which it did. */
  compact(): Promise<string> {
    return there(this.#etcd).compact();
  }

  /** @param controllers names as in kube-controller-manager's `--controllers` */
  async startControllers(controllers: readonly string[]): Promise<void> {
    if (this.#controllers?.running) throw new Error('the controllers run already');
    await onFreePort((port) => this.#startControllersOn(port, controllers));
  }

  async stopControllers(): Promise<void> {
    await this.#controllers?.stop('SIGKILL');
  }

  /** Ends everything at once: etcd last, because an API server without one waits for it. */
  async stop(): Promise<void> {
    await this.stopControllers();
    await this.#api?.stop('SIGKILL');
    await this.#etcd?.stop();
  }

  async #startApiOn(port: number): Promise<void> {
    const { authority, server, tokenKeyFile, tokenPublicKeyFile } = there(this.#pki);
    this.#port = port;
    this.#api = this.#start('kube-apiserver', [
      `--etcd-servers=${there(this.#etcd).url}`,
      // Only a test says what is forgotten.
      '--etcd-compaction-interval=0',
      `--secure-port=${port}`,
      '--bind-address=127.0.0.1',
      // Nothing in this cluster calls the API server by its Service, whose address may not be a loopback one.
      '--advertise-address=127.0.0.1',
      '--endpoint-reconciler-type=none',
      '--service-cluster-ip-range=10.96.0.0/16',
      `--tls-cert-file=${server.certFile}`,
      `--tls-private-key-file=${server.keyFile}`,
      `--client-ca-file=${authority.caFile}`,
      '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
      `--service-account-key-file=${tokenPublicKeyFile}`,
      `--service-account-signing-key-file=${tokenKeyFile}`,
      '--authorization-mode=RBAC',
      '--allow-privileged=true',
      '--shutdown-delay-duration=0s',
      ...(this.#init.serviceAccountAdmission ? [] : ['--disable-admission-plugins=ServiceAccount']),
      ...(this.#init.apiServerFlags ?? []),
    ]);
    // Only this server has a certificate of our authority: an answer cannot be that of another one on the same port.
    await untilOk(this.#api, this.admin, '/readyz');
  }

  async #startControllersOn(port: number, controllers: readonly string[]): Promise<void> {
    const { authority, server, tokenKeyFile } = there(this.#pki);
    const kubeconfig = path.join(this.#folder, 'controllers.kubeconfig');
    await writeKubeconfig(kubeconfig, this.admin);
    this.#controllers = this.#start('kube-controller-manager', [
      `--controllers=${controllers.join(',')}`,
      ...['kubeconfig', 'authentication-kubeconfig', 'authorization-kubeconfig'].map(
        (flag) => `--${flag}=${kubeconfig}`,
      ),
      `--secure-port=${port}`,
      '--bind-address=127.0.0.1',
      `--tls-cert-file=${server.certFile}`,
      `--tls-private-key-file=${server.keyFile}`,
      `--root-ca-file=${authority.caFile}`,
      `--cluster-signing-cert-file=${authority.caFile}`,
      `--cluster-signing-key-file=${authority.caKeyFile}`,
      `--service-account-private-key-file=${tokenKeyFile}`,
      '--leader-elect=false',
    ]);
    await untilOk(this.#controllers, { ...this.admin, server: `https://127.0.0.1:${port}` }, '/healthz');
  }

  #start(program: string, flags: readonly string[]): ServerProcess {
    return new ServerProcess({
      words: [path.join(this.#bin, program), ...flags],
      // Nothing of ours: proxies and Go's own settings would take part. Memory that is collected more seldom saves an eighth
      // of the processor time, for 70 MB.
      env: { GOGC: '400' },
      cwd: this.#folder,
      log: path.join(this.#folder, `${program}.log`),
    });
  }
}

function there<T>(part: T | undefined): T {
  if (part === undefined) throw new Error('the control plane has not started');
  return part;
}

async function untilOk(server: ServerProcess, access: Access, path: string): Promise<void> {
  const api = new KubernetesApi(access);
  try {
    await server.untilReady(() => api.expect(path));
  } finally {
    api.close();
  }
}
