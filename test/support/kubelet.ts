/**
 * Plays the kubelet, the scheduler and the volume provisioner of a cluster without nodes: a pod is the real program of
 * its container in a process, with the pod's environment, its volumes as folders, and an address of its own in
 * 127.0.0.0/8. Status, probes, config reloads and what is stored are therefore real; images, limits, users, the network
 * and the isolation of a container are not. Those are for the tests on a real node.
 */
import { randomInt } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import {
  Api,
  ApiError,
  type ConfigMap,
  Informer,
  keyOf,
  kinds,
  kubeConfig,
  Metrics,
  type PersistentVolumeClaim,
  type Pod,
  type Secret,
} from '../../operator/runtime/index.ts';
import { StartError, startContainer } from './kubelet-pod.ts';
import { NotThereError, PodVolumes } from './kubelet-volumes.ts';
import type { Kubernetes } from './kubernetes.ts';
import { logFile, type ServerProcess } from './server-process.ts';

const NODE = 'stand-in';
/** Between two looks at everything; changes of pods and what they mount are seen at once. */
const SYNC_MS = 100;
const GRACE_MS = 30_000;

interface Running {
  readonly ip: string;
  readonly volumes: PodVolumes;
  readonly log: string;
  pod: Pod;
  process: ServerProcess | undefined;
  restarts: number;
  /** How often it could not even be started. */
  failures: number;
  /** When a process that ended, or could not be started, is started again. */
  nextStart: number;
  lastExit: number | undefined;
  /** Why nothing runs, in the kubelet's words; undefined: it has just ended. */
  waiting: { readonly reason: string; readonly message?: string } | undefined;
  /** What was last written of its status, as JSON. */
  told: string;
  isBusy: boolean;
}

export class Kubelet {
  readonly folder: string;
  /** Whether volumes grow as soon as their claims ask for it, as a quick provisioner has it. */
  resizes = true;
  /** Whether containers that have ended are started again; otherwise they wait, as in a long back-off. */
  restarts = true;
  readonly #api: Api;
  readonly #kubernetes: Kubernetes;
  readonly #stop = new AbortController();
  readonly #pods: Informer<Pod>;
  readonly #configMaps: Informer<ConfigMap>;
  readonly #secrets: Informer<Secret>;
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #running = new Map<string, Running>();
  /** A block of addresses of this kubelet, so that two of them do not meet. */
  readonly #block = `127.${randomInt(1, 255)}.${randomInt(1, 255)}`;
  #addresses = 0;
  #isPaused = false;
  #loop: Promise<void> = Promise.resolve();

  private constructor(folder: string, kubernetes: Kubernetes) {
    this.folder = folder;
    this.#kubernetes = kubernetes;
    const logger = pino({ enabled: false });
    const metrics = new Metrics(undefined, 'kubelet');
    const api = new Api({ load: kubeConfig(kubernetes.kubeconfig), manager: 'kubelet', logger, metrics });
    this.#api = api;
    const base = { api, logger, metrics };
    this.#pods = new Informer({ ...base, kind: kinds.Pod });
    this.#configMaps = new Informer({ ...base, kind: kinds.ConfigMap });
    this.#secrets = new Informer({ ...base, kind: kinds.Secret });
    this.#claims = new Informer({ ...base, kind: kinds.PersistentVolumeClaim });
  }

  static async start(kubernetes: Kubernetes): Promise<Kubelet> {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-kubelet-'));
    const kubelet = new Kubelet(folder, kubernetes);
    await kubelet.#begin();
    return kubelet;
  }

  /** The process of a pod, to be harmed. */
  processOf(namespace: string, name: string): ServerProcess | undefined {
    return this.#running.get(keyOf({ namespace, name }))?.process;
  }

  ipOf(namespace: string, name: string): string {
    return this.#running.get(keyOf({ namespace, name }))?.ip ?? '';
  }

  /** Folder of what is on a volume. */
  volumeOf(namespace: string, claim: string): string {
    return this.#volume(this.#claims.get({ namespace, name: claim })?.metadata.uid);
  }

  #volume(uid = 'none'): string {
    return path.join(this.folder, 'volumes', uid);
  }

  /** File with what the pod's processes have printed. */
  logOf(namespace: string, name: string): string {
    return this.#running.get(keyOf({ namespace, name }))?.log ?? '';
  }

  /** The node does not answer any more: pods run on, and nobody tells of them or changes them. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
  }

  /** Ends all pods' processes. Their logs stay where the run's logs are searched. */
  async remove(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    await Promise.all([...this.#running.values()].map(({ process }) => process?.stop('SIGKILL')));
    await this.#api.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #begin(): Promise<void> {
    const { signal } = this.#stop;
    // As a provisioner does whose class says Delete, which is the default.
    this.#claims.onChange(({ type, object }) => {
      if (type === 'delete') void rm(this.#volume(object.metadata.uid), { recursive: true, force: true });
    });
    const informers = [this.#pods, this.#configMaps, this.#secrets, this.#claims];
    const watching = informers.map((informer) => informer.run(signal));
    await Promise.all(informers.map(({ synced }) => synced));
    await this.#kubernetes.request('/api/v1/nodes', { method: 'POST', body: { metadata: { name: NODE } } });
    const loop = async () => {
      while (!signal.aborted) {
        if (!this.#isPaused) await this.#sync();
        await sleep(SYNC_MS, undefined, { signal }).catch(() => {});
      }
      await Promise.all(watching);
    };
    this.#loop = loop();
  }

  async #sync(): Promise<void> {
    for (const claim of this.#claims.all()) await this.#quietly(() => this.#provision(claim));
    for (const pod of this.#pods.all()) {
      const known = this.#running.get(keyOf(pod.metadata));
      if (known && known.pod.metadata.uid === pod.metadata.uid) known.pod = pod;
      if (known?.isBusy) continue;
      void this.#quietly(() => this.#syncPod(pod, known));
    }
    for (const [key, { pod, process }] of this.#running) {
      if (this.#pods.get(pod.metadata)?.metadata.uid === pod.metadata.uid) continue;
      // Deleted by force: nobody waits for its end.
      process?.signal('SIGKILL');
      if (!this.#pods.get({ namespace: pod.metadata.namespace, name: pod.metadata.name })) this.#running.delete(key);
    }
  }

  async #syncPod(pod: Pod, known: Running | undefined): Promise<void> {
    if (pod.spec.nodeName === undefined) return this.#bind(pod);
    const isSame = known?.pod.metadata.uid === pod.metadata.uid;
    if (known && !isSame) {
      // Deleted by force, and made again already.
      known.isBusy = true;
      await known.process?.stop('SIGKILL');
    }
    const running = known && isSame ? known : this.#add(pod);
    running.isBusy = true;
    try {
      if (pod.metadata.deletionTimestamp !== undefined) await this.#end(running);
      else {
        await this.#keepUp(running);
        await this.#tell(running);
      }
    } finally {
      running.isBusy = false;
    }
  }

  #add(pod: Pod): Running {
    const { namespace = '', name, uid } = pod.metadata;
    this.#addresses += 1;
    const root = path.join(this.folder, 'pods', uid);
    const volumes = new PodVolumes(root, pod, {
      configMap: (it) => this.#configMaps.get({ namespace, name: it }),
      secret: (it) => this.#secrets.get({ namespace, name: it }),
      claim: async (it) => {
        const claim = this.#claims.get({ namespace, name: it });
        return claim?.status?.phase === 'Bound' ? this.volumeOf(namespace, it) : undefined;
      },
    });
    const log = logFile(this.folder, `${namespace}-${name}`);
    const ip = `${this.#block}.${this.#addresses}`;
    const running: Running = {
      ip,
      volumes,
      log,
      pod,
      process: undefined,
      restarts: 0,
      failures: 0,
      nextStart: 0,
      lastExit: undefined,
      waiting: { reason: 'ContainerCreating' },
      told: '',
      isBusy: false,
    };
    this.#running.set(keyOf(pod.metadata), running);
    return running;
  }

  /** Starts what does not run, and what has ended again, later and later. */
  async #keepUp(running: Running): Promise<void> {
    const { process, volumes, pod, ip, log } = running;
    if (process?.running) return volumes.refresh();
    if (Date.now() < running.nextStart || (process && !this.restarts)) return;
    try {
      await volumes.mount();
      const started = startContainer({ pod, ip, volumes, log });
      running.process = started;
      void started.ended.then((code) => {
        running.lastExit = code ?? 137;
        running.restarts += 1;
        running.waiting = undefined;
        // At once for the first time.
        if (running.restarts === 1) return;
        running.nextStart = Date.now() + backOffMs(running.restarts);
        running.waiting = { reason: 'CrashLoopBackOff', message: 'back-off restarting failed container' };
      });
    } catch (error) {
      // A volume that is not there yet: the kubelet says so in an event only.
      if (error instanceof NotThereError) return;
      if (!(error instanceof StartError)) throw error;
      running.nextStart = Date.now() + backOffMs(running.failures);
      running.failures += 1;
      running.waiting = error;
    }
  }

  async #end({ process, pod }: Running): Promise<void> {
    if (process?.running) {
      process.signal('SIGTERM');
      const late = sleep(GRACE_MS, 'late', { ref: false });
      if ((await Promise.race([process.ended, late])) === 'late') await process.stop('SIGKILL');
    }
    const { namespace, name, uid } = pod.metadata;
    const body = { gracePeriodSeconds: 0, preconditions: { uid } };
    await this.#kubernetes.request(`/api/v1/namespaces/${namespace}/pods/${name}`, { method: 'DELETE', body });
    this.#running.delete(keyOf(pod.metadata));
  }

  async #tell(running: Running): Promise<void> {
    const { process, ip, restarts, lastExit, pod, waiting } = running;
    const isUp = process?.running ?? false;
    const ready = isUp && (await answers(`http://${ip}:9090/readyz`)) ? 'True' : 'False';
    const [container] = pod.spec.containers;
    const terminated = { exitCode: lastExit, reason: 'Error' };
    const status = {
      phase: process ? 'Running' : 'Pending',
      podIP: ip,
      podIPs: [{ ip }],
      conditions: ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map((type) => ({
        type,
        status: type.endsWith('Ready') ? ready : 'True',
        lastTransitionTime: null,
      })),
      containerStatuses: [
        {
          name: container?.name,
          image: container?.image,
          imageID: '',
          ready: ready === 'True',
          started: isUp,
          restartCount: restarts,
          state: isUp ? { running: {} } : waiting ? { waiting: wordsOf(waiting) } : { terminated },
          ...(lastExit !== undefined && { lastState: { terminated } }),
        },
      ],
    };
    const text = JSON.stringify(status);
    if (text === running.told) return;
    await this.#api.patch(kinds.Pod, pod.metadata, { status }, { sub: 'status' });
    running.told = text;
  }

  async #bind({ metadata }: Pod): Promise<void> {
    const { name, namespace } = metadata;
    const body = { metadata: { name }, target: { apiVersion: 'v1', kind: 'Node', name: NODE } };
    await this.#kubernetes.request(`/api/v1/namespaces/${namespace}/pods/${name}/binding`, { method: 'POST', body });
  }

  /** Gives a claim a folder, and lets it grow. */
  async #provision(claim: PersistentVolumeClaim): Promise<void> {
    const { metadata, spec, status } = claim;
    const storage = spec.resources?.requests?.storage;
    const isBound = status?.phase === 'Bound';
    const isGrown = status?.capacity?.storage === storage;
    if (metadata.deletionTimestamp !== undefined || (isBound && (isGrown || !this.resizes))) return;
    if (!isBound) {
      await mkdir(this.#volume(metadata.uid), { recursive: true });
      await this.#api.patch(kinds.PersistentVolumeClaim, metadata, { spec: { volumeName: `volume-${metadata.uid}` } });
    }
    const bound = { phase: 'Bound', accessModes: spec.accessModes, capacity: { storage } };
    await this.#api.patch(kinds.PersistentVolumeClaim, metadata, { status: bound }, { sub: 'status' });
  }

  /** What the API server refuses is tried again at the next look. */
  async #quietly(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (error instanceof ApiError || this.#stop.signal.aborted) return;
      throw error;
    }
  }
}

/** Not the stack of an error. */
const wordsOf = ({ reason, message }: { readonly reason: string; readonly message?: string }) => ({ reason, message });

/** Shorter than a real kubelet's, which begins with 10 s. */
const backOffMs = (times: number): number => Math.min(10_000, 200 * 2 ** times);

async function answers(url: string): Promise<boolean> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2000) });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}
