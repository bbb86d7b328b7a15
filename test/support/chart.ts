/** The Helm chart: rendered, installed, and looked at as plain objects. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import { ensureKubernetes } from '../../hack/components/kubernetes.mjs';
import { root } from '../../hack/lib/places.mjs';
import type { Kubernetes } from './kubernetes.ts';
import { type RunResult, runToEnd } from './run.ts';

export const chartFolder = path.join(root, 'charts/narwhal');

export type Values = Readonly<Record<string, unknown>>;

/** An object as a manifest has it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

export interface HelmInit {
  readonly values?: Values;
  /** Where to install; rendering needs none. */
  readonly kubernetes?: Kubernetes;
}

/** How helm ends, whatever the end. It knows nothing of the machine's own helm. */
export async function tryHelm(args: readonly string[], { values, kubernetes }: HelmInit = {}): Promise<RunResult> {
  const { bin } = await ensureKubernetes();
  const home = await mkdtemp(path.join(os.tmpdir(), 'narwhal-helm-'));
  try {
    // JSON is YAML.
    return await runToEnd([path.join(bin, 'helm'), ...args, ...(values ? ['--values', '-'] : [])], {
      input: values && JSON.stringify(values),
      env: { HOME: home, ...(kubernetes && { KUBECONFIG: kubernetes.kubeconfig }) },
    });
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** What helm prints; throws its complaint when it fails. */
export async function helm(args: readonly string[], init?: HelmInit): Promise<string> {
  const { code, stdout, stderr } = await tryHelm(args, init);
  if (code !== 0) throw new Error(`helm ${args.join(' ')} ended with ${code}:\n${stderr}${stdout}`);
  return stdout;
}

/** How `helm template` ends, as release `narwhal` unless it is called otherwise. */
export function tryRender(
  values: Values,
  { namespace = 'narwhal-system', release = 'narwhal' } = {},
): Promise<RunResult> {
  return tryHelm(['template', release, chartFolder, '--namespace', namespace], { values });
}

/** The objects that the chart consists of with these values, hooks included. */
export async function render(values: Values, init: { namespace?: string; release?: string } = {}): Promise<Manifest[]> {
  const { code, stdout, stderr } = await tryRender(values, init);
  if (code !== 0) throw new Error(`helm template ended with ${code}:\n${stderr}`);
  return manifestsIn(stdout);
}

export function manifestsIn(text: string): Manifest[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS({ maxAliasCount: 0 }) as Manifest | null)
    .filter((manifest) => manifest !== null);
}

/** The one object of this kind and name. */
export function find(manifests: readonly Manifest[], kind: string, name: string): Manifest {
  const found = manifests.filter((it) => it.kind === kind && it.metadata.name === name);
  const [only] = found;
  if (!only || found.length > 1) throw new Error(`there are ${found.length} of ${kind} ${name}`);
  return only;
}

export interface Container {
  readonly image: string;
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly [field: string]: unknown;
}

export interface PodSpec {
  readonly containers: readonly [Container];
  readonly [field: string]: unknown;
}

/** The spec of the pods of a Deployment. */
export function podSpecOf(manifest: Manifest): PodSpec {
  const { template } = manifest.spec as { template: { spec: PodSpec } };
  return template.spec;
}

/** The environment of a Deployment's container, as far as it holds plain values. */
export function environmentOf(manifest: Manifest): Record<string, string | undefined> {
  const [{ env }] = podSpecOf(manifest).containers;
  return Object.fromEntries(env.map(({ name, value }) => [name, value]));
}
