/**
 * A real cluster for a user's story: kubectl and helm as a user calls them, a namespace for each story.
 *
 * The cluster is the one in the folder NARWHAL_CLUSTER_FOLDER (hack/e2e.mjs starts it), or with
 * USE_EXISTING_CLUSTER=true that of KUBECONFIG, whose processes are not ours to stop.
 */
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { Cluster } from '../../../hack/cluster/cluster.ts';
import { until } from '../../../hack/cluster/until.ts';
import { ensureKubernetes } from '../../../hack/components/kubernetes.mjs';
import { root } from '../../../hack/lib/places.mjs';
import { type RunResult, runToEnd } from '../run.ts';

const WAIT_MS = 180_000;

/** A Kubernetes object, of which a test reads what it is about. */
export interface Live {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly generation?: number;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  // biome-ignore lint/suspicious/noExplicitAny: every kind has its own fields, and the assertion on one is the check.
  readonly [field: string]: any;
}

export interface KubectlInit {
  readonly input?: string;
  /** The story's own unless it says another; empty: what the command itself says. */
  readonly namespace?: string;
}

export interface Applied {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

/** Kinds that lie in no namespace, of those that stories apply. */
const CLUSTER_WIDE = /^(Namespace|PersistentVolume|StorageClass|Cluster.*|CustomResourceDefinition)$/;

export class World {
  /** Of this run alone, for names that all of a cluster share. */
  readonly suffix = randomBytes(3).toString('hex');
  /** The story's own. Pod Security is `restricted` there. */
  readonly namespace: string;
  /** A cluster whose processes may be stopped; none in an existing one. */
  readonly cluster: Cluster | undefined;
  readonly #kubeconfig: string;
  readonly #bin: string;
  readonly #namespaces: string[] = [];

  private constructor(story: string, cluster: Cluster | undefined, kubeconfig: string, bin: string) {
    this.namespace = `${story}-${this.suffix}`;
    this.cluster = cluster;
    this.#kubeconfig = kubeconfig;
    this.#bin = bin;
  }

  /** @param story first word of the namespace */
  static async enter(story: string): Promise<World> {
    const { bin } = await ensureKubernetes();
    const world = await World.#find(story, bin);
    await world.makeNamespace(world.namespace);
    return world;
  }

  static async #find(story: string, bin: string): Promise<World> {
    if (process.env.USE_EXISTING_CLUSTER === 'true')
      return new World(story, undefined, process.env.KUBECONFIG ?? path.join(os.homedir(), '.kube/config'), bin);
    const folder = process.env.NARWHAL_CLUSTER_FOLDER;
    const cluster = folder === undefined ? undefined : await Cluster.find(folder);
    if (!cluster) throw new Error('no cluster runs for the stories: npm run test:e2e -- FILE starts one');
    return new World(story, cluster, cluster.kubeconfig, bin);
  }

  /** The environment in which a user's commands run: kubectl and helm on the path, and who the user is. */
  get env(): NodeJS.ProcessEnv {
    const { PATH, HOME } = process.env;
    return { HOME, PATH: `${this.#bin}${path.delimiter}${PATH}`, KUBECONFIG: this.#kubeconfig };
  }

  /** What kubectl prints; throws its complaint when it fails. */
  async kubectl(args: readonly string[], init: KubectlInit = {}): Promise<string> {
    return succeeded(`kubectl ${args.join(' ')}`, await this.tryKubectl(args, init));
  }

  /** How kubectl ends, whatever the end. */
  tryKubectl(args: readonly string[], { input, namespace = this.namespace }: KubectlInit = {}): Promise<RunResult> {
    const words = [path.join(this.#bin, 'kubectl'), ...(namespace ? ['--namespace', namespace] : []), ...args];
    return runToEnd(words, { input, env: this.env, cwd: root });
  }

  /** What helm prints; throws its complaint when it fails. @param values as in a values file */
  async helm(args: readonly string[], values?: object): Promise<string> {
    const words = [path.join(this.#bin, 'helm'), ...args, ...(values ? ['--values', '-'] : [])];
    const result = await runToEnd(words, { input: values && JSON.stringify(values), env: this.env, cwd: root });
    return succeeded(`helm ${args.join(' ')}`, result);
  }

  /** Applies objects, as a user does; in the story's namespace unless they say another. */
  async apply(...objects: readonly Applied[]): Promise<void> {
    const items = objects.map((object) => {
      const { namespace = this.namespace, ...metadata } = object.metadata;
      return { ...object, metadata: CLUSTER_WIDE.test(object.kind) ? metadata : { ...metadata, namespace } };
    });
    const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
    await this.kubectl(['apply', '-f', '-'], { input, namespace: '' });
  }

  /** An object, as it is now. @param what as in `binarycache/main` */
  async get(what: string, init?: KubectlInit): Promise<Live> {
    return JSON.parse(await this.kubectl(['get', what, '-o', 'json'], init)) as Live;
  }

  /** Objects of a kind. @param args further ones, as in `['-l', 'a=b']` */
  async list(kind: string, args: readonly string[] = [], init?: KubectlInit): Promise<Live[]> {
    const { items } = JSON.parse(await this.kubectl(['get', kind, ...args, '-o', 'json'], init)) as { items: Live[] };
    return items;
  }

  /** Waits as `kubectl wait` does. @param what as in `binarycache/main` @param condition as in `condition=Ready` */
  async wait(what: string, condition: string, init: KubectlInit & { readonly mostMs?: number } = {}): Promise<void> {
    const { mostMs = WAIT_MS, ...rest } = init;
    await this.kubectl(['wait', `--for=${condition}`, what, `--timeout=${Math.ceil(mostMs / 1000)}s`], rest);
  }

  /** Asks until the answer is neither undefined nor false. Errors count as no answer. */
  until<T>(what: string, ask: () => Promise<T | undefined | false>, mostMs = WAIT_MS): Promise<T> {
    return until(what, ask, { mostMs, pollMs: 250 });
  }

  /** A further namespace, which goes with the story; where Pod Security is as strict as it can be. */
  async makeNamespace(name: string): Promise<string> {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    await this.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
    this.#namespaces.push(name);
    return name;
  }

  get namespaces(): readonly string[] {
    return this.#namespaces;
  }

  /** Removes the story's namespaces with everything in them; does not wait for the last of it. */
  async leave(): Promise<void> {
    await this.kubectl(['delete', 'binarycaches.narwhal.dev', '--all', '--wait=false']).catch(() => {});
    const gone = ['--wait=false', '--ignore-not-found'];
    for (const name of this.#namespaces) await this.kubectl(['delete', 'namespace', name, ...gone]);
  }
}

function succeeded(what: string, { code, stdout, stderr }: RunResult): string {
  if (code !== 0) throw new Error(`${what} ended with ${code}:\n${stderr}${stdout}`);
  return stdout;
}
