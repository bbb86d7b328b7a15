/**
 * A whole cluster of one node on this machine: root and Linux are all that it takes, no Docker and no registry.
 *
 * Where the seconds go (two cores): certificates 0.3, API server 3, node and DNS 5.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Access, readKubeconfig } from '../../test/support/kubeconfig.ts';
import { KubernetesApi } from '../../test/support/kubernetes-api.ts';
import { ensureNode, type NodePrograms } from '../components/node.mjs';
import { node24 } from '../lib/places.mjs';
import { attempt, CommandError } from '../lib/run.mjs';
import { addons } from './addons.ts';
import { apiServerWords, controllersWords, etcdWords, schedulerWords } from './control-plane.ts';
import { importImage, importOwnImages } from './images.ts';
import { clearUp, Machine } from './machine.ts';
import { containerdWords, kubeletWords, proxyWords, writeNodeFiles } from './node.ts';
import { makePki, NODE } from './pki.ts';
import { Processes } from './processes.ts';

const START_MS = 120_000;
const VOLUMES = fileURLToPath(new URL('volumes-main.ts', import.meta.url));

export type Say = (line: string) => void;

export class Cluster {
  readonly machine: Machine;
  /** etcd, kube-apiserver, kube-controller-manager, kube-scheduler, containerd, kubelet, kube-proxy. */
  readonly processes: Processes;
  readonly programs: NodePrograms;

  private constructor(machine: Machine, programs: NodePrograms) {
    this.machine = machine;
    this.programs = programs;
    this.processes = new Processes(machine);
  }

  /** The cluster that runs in `folder`, if one does. */
  static async find(folder: string): Promise<Cluster | undefined> {
    const programs = await ensureNode();
    const machine = Machine.find(folder, programs.env);
    return machine && fs.existsSync(path.join(folder, 'ready')) ? new Cluster(machine, programs) : undefined;
  }

  /** Starts a cluster in `folder`, or finds the one that runs there. What is left of one that ended is removed. */
  static async up(folder: string, say: Say = () => {}): Promise<Cluster> {
    const running = await Cluster.find(folder);
    if (running) return running;
    await Cluster.down(folder);
    const programs = await ensureNode();
    const cluster = new Cluster(await Machine.start(folder, programs), programs);
    try {
      await cluster.#start(say);
    } catch (error) {
      throw new Error(`${(error as Error).message}\nlogs: ${path.join(folder, 'log')}`, { cause: error });
    }
    fs.writeFileSync(path.join(folder, 'ready'), '');
    return cluster;
  }

  /** Ends the cluster in `folder` at once and removes all that it made. */
  static async down(folder: string): Promise<void> {
    const { env } = await ensureNode();
    endVolumes(folder);
    const machine = Machine.find(folder, env);
    if (machine) await machine.stop();
    else await clearUp(folder, env);
  }

  /** The file that makes a client an administrator. */
  get kubeconfig(): string {
    return path.join(this.machine.folder, 'pki/admin.kubeconfig');
  }

  get kubectl(): string {
    return path.join(this.programs.kubernetes, 'kubectl');
  }

  /** Gives the node an image: an archive of OCI's or of Docker's form. @param known what is in it, if that is known */
  load(archive: string, known?: { readonly reference: string; readonly digest: string }): Promise<void> {
    return importImage(this.machine, archive, known);
  }

  /** Starts a program anew that a test has stopped. */
  restart(name: string): Promise<void> {
    return this.processes.restart(name, this.programs.env);
  }

  async #start(say: Say): Promise<void> {
    const { machine, processes, programs } = this;
    const { folder, network } = machine;
    const pki = await makePki(path.join(folder, 'pki'), network);
    writeNodeFiles(machine, programs, pki);
    const start = (name: string, words: string[]) => processes.start(name, words, programs.env);
    say(`control plane of Kubernetes ${programs.version} on ${network.node}`);
    await start('containerd', containerdWords(folder));
    await start('etcd', etcdWords(programs, folder));
    await start('kube-apiserver', apiServerWords(programs, pki, network));
    const access = await readKubeconfig(this.kubectl, this.kubeconfig);
    const api = new KubernetesApi(access);
    try {
      await processes.untilReady('containerd', () => importOwnImages(machine, programs), START_MS);
      // Controllers that are refused give up for good, and their roles come last.
      await processes.untilReady('kube-apiserver', () => api.expect('/readyz'), START_MS);
      say('node');
      await start('kube-controller-manager', controllersWords(programs, pki));
      await start('kube-scheduler', schedulerWords(programs, pki));
      await start('kubelet', kubeletWords(machine, programs, pki));
      await start('kube-proxy', proxyWords(machine, programs, pki));
      startVolumes(folder, access);
      await this.#apply(addons(network));
      await processes.untilReady('kubelet', () => nodeIsReady(api), START_MS);
      await tellDisk(api);
      say('DNS');
      await processes.untilReady('kube-controller-manager', () => dnsIsReady(api), START_MS);
      // Pods are refused before.
      await api.expect('/api/v1/namespaces/default/serviceaccounts/default');
    } finally {
      api.close();
    }
  }

  async #apply(objects: object): Promise<void> {
    const words = ['--kubeconfig', this.kubeconfig, 'apply', '--server-side', '-f', '-'];
    const result = await attempt(this.kubectl, words, { input: JSON.stringify(objects) });
    if (!result.ok) throw new CommandError('kubectl apply', result);
  }
}

/** A process outside that ends with the machine: it makes files and asks the machine to mount them. */
function startVolumes(folder: string, access: Access): void {
  const log = fs.openSync(path.join(folder, 'log/volumes.log'), 'a');
  const child = spawn(node24, [VOLUMES, folder], { detached: true, stdio: ['pipe', log, log] });
  child.stdin?.end(JSON.stringify(access));
  fs.writeFileSync(volumesFile(folder), `${child.pid}`);
  child.unref();
  fs.closeSync(log);
}

/** It would end by itself, but may wait for an answer of an API server that is gone. */
function endVolumes(folder: string): void {
  try {
    const pid = Number(fs.readFileSync(volumesFile(folder), 'utf8'));
    // The number may be another process's by now.
    if (fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`volumes-main.ts\0${folder}\0`))
      process.kill(pid, 'SIGKILL');
  } catch {
    // There is none, or it has ended.
  }
}

function volumesFile(folder: string): string {
  return path.join(folder, 'run/volumes.outside');
}

async function nodeIsReady(api: KubernetesApi): Promise<void> {
  const { status } = await api.expect(`/api/v1/nodes/${NODE}`);
  const { conditions = [] } = status as { conditions?: { type: string; status: string; message: string }[] };
  const ready = conditions.find(({ type }) => type === 'Ready');
  if (ready?.status !== 'True') throw new Error(ready?.message ?? 'the node has no condition Ready');
}

/**
 * In namespaces of its own the kubelet cannot see how large the disk is, so it looks after nothing there. The scheduler places
 * no pod that asks for some of it unless somebody says that there is any; the kubelet keeps what others say.
 */
async function tellDisk(api: KubernetesApi): Promise<void> {
  const disk = { 'ephemeral-storage': '20Gi' };
  await api.expect(`/api/v1/nodes/${NODE}/status`, {
    method: 'PATCH',
    type: 'application/merge-patch+json',
    body: { status: { capacity: disk, allocatable: disk } },
  });
}

async function dnsIsReady(api: KubernetesApi): Promise<void> {
  const { status } = await api.expect('/apis/apps/v1/namespaces/kube-system/deployments/coredns');
  if ((status as { readyReplicas?: number }).readyReplicas !== 1) throw new Error('no pod of CoreDNS is ready');
}
