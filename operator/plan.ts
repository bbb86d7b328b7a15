/** `narwhal-operator plan`: what would be done for the caches of a manifest, without doing it. */
import type { Writable } from 'node:stream';
import { pino } from 'pino';
import { stringify } from 'yaml';
import { formatManifestError, loadManifests, unsupported } from '../crds/index.ts';
import {
  API_URL,
  admitRoutes,
  type Cache,
  desired,
  type HostRule,
  type Inputs,
  NOTHING_MOUNTED,
  namesOf,
  type Observed,
  observeOnce,
  operatorNamespaceOf,
  plan,
  type Step,
  serviceHost,
  TRUSTED_PROXIES,
} from './cache/index.ts';
import { Api, kubeConfig, Metrics, type StatefulSet } from './runtime/index.ts';

/** A plan that cannot be made; the message is for people. */
export class PlanError extends Error {
  override readonly name = 'PlanError';
}

export interface PlanInit {
  readonly file: string;
  readonly text: string;
  /** Of resources that name none. */
  readonly namespace: string;
  readonly kubeconfig?: string;
  readonly offline: boolean;
  readonly image?: string;
  readonly apiUrl?: string;
  readonly trustedProxies: readonly string[];
  /** Undefined: they are not known, and no host is refused. */
  readonly cacheHosts?: readonly HostRule[];
  readonly ingressAnnotations?: readonly string[];
}

export interface Plan {
  /** How many objects would change. */
  readonly changes: number;
  /** What a person should know of it, a line each. */
  readonly notes: readonly string[];
}

/** Prints the objects as YAML, with the reasons as comments. */
export async function printPlan(init: PlanInit, out: Writable): Promise<Plan> {
  const { documents, errors } = loadManifests([{ file: init.file, text: init.text }]);
  if (errors.length > 0) throw new PlanError(errors.map(formatManifestError).join('\n'));
  if (documents.binaryCaches.length === 0) throw new PlanError(`${init.file}: no BinaryCache in it`);
  let changes = 0;
  const notes: string[] = [];
  for (const { apiVersion, metadata, spec } of documents.binaryCaches) {
    const { name, namespace = init.namespace } = metadata;
    const title = `# BinaryCache ${namespace}/${name}`;
    const unable = unsupported({ spec });
    if (unable.length > 0) {
      out.write(`${title}: nothing is done for it, since ${unable.join('; ')}\n`);
      continue;
    }
    const asked: Cache = {
      apiVersion,
      kind: 'BinaryCache',
      metadata: { name, namespace, uid: NEW_UID, resourceVersion: '', creationTimestamp: '', generation: 1 },
      spec,
    };
    const { cache: wanted, refused } = admitted(asked, init);
    notes.push(...refused.map((text) => `BinaryCache ${namespace}/${name}: ${text}`));
    const api = init.offline ? undefined : connect(init.kubeconfig);
    const { cache, observed } = await observeOnce(api, wanted, AbortSignal.timeout(60_000));
    const steps = allSteps(init, cache, observed);
    out.write(`${title}: ${steps.length === 0 ? 'nothing to do' : `${steps.length} steps`}\n`);
    for (const step of steps) out.write(textOf(step));
    changes += steps.length;
  }
  return { changes, notes };
}

/** Without what the operator would refuse, and why, as far as it is known here. */
function admitted(cache: Cache, init: PlanInit): { readonly cache: Cache; readonly refused: readonly string[] } {
  const { apiUrl, cacheHosts, ingressAnnotations = [] } = init;
  const { ingress, httpRoute } = cache.spec;
  if (cacheHosts === undefined) {
    const note =
      'whether it may have its hosts and annotations, only the operator knows (--cache-hosts tells this plan)';
    return { cache, refused: ingress || httpRoute ? [note] : [] };
  }
  const gatewayHost = apiUrl === undefined ? undefined : new URL(apiUrl).hostname;
  const { refused, ...rest } = admitRoutes(cache, { hosts: cacheHosts, annotations: ingressAnnotations, gatewayHost });
  return { ...rest, refused: refused.map(({ message }) => message) };
}

/** What the operator does in several looks, since what it generates decides about the rest. */
function allSteps(init: PlanInit, cache: Cache, observed: Observed): Step[] {
  const steps = plan(cache, desired(cache, inputsOf(init, cache, observed)), observed);
  const needs = steps.flatMap((step) => (step.do === 'generate' ? [step.need] : []));
  if (needs.length === 0) return steps;
  const { secrets } = observed;
  const tokens = needs.flatMap(({ token }) => (token === undefined ? [] : [[token, UNKNOWN_HASH] as const]));
  const next: Observed['secrets'] = {
    ...secrets,
    problems: secrets.problems.filter(({ need }) => !needs.includes(need)),
    tokenHashes: new Map([...secrets.tokenHashes, ...tokens]),
  };
  return [...steps, ...allSteps(init, cache, { ...observed, secrets: next })];
}

/** Stands for the hash of a token that is not generated yet. */
const UNKNOWN_HASH = '0'.repeat(64);

/** Stands where the API server would put the uid of a cache that is new. */
const NEW_UID = '00000000-0000-0000-0000-000000000000';

function connect(file: string | undefined): Api {
  return new Api({
    load: kubeConfig(file),
    manager: 'narwhal-operator',
    logger: pino({ enabled: false }),
    metrics: new Metrics(),
  });
}

/** Where nothing is said, what the running pods have: the operator is taken to run with the same. */
function inputsOf(init: PlanInit, cache: Cache, { children, secrets }: Observed): Inputs {
  const workload = children.get(`StatefulSet/${namesOf(cache).workload}`) as StatefulSet | undefined;
  const server = workload?.spec.template.spec.containers[0];
  const env = (server?.env ?? []) as readonly { readonly name: string; readonly value?: string }[];
  const running = (variable: string) => env.find(({ name }) => name === variable)?.value;
  const ownUrl = `http://${serviceHost(cache)}`;
  const { image = server?.image ?? 'narwhal:latest' } = init;
  const apiUrl = init.apiUrl ?? (running(API_URL) === ownUrl ? undefined : running(API_URL));
  const proxies = running(TRUSTED_PROXIES)?.split(',') ?? [];
  const { tokenHashes } = secrets;
  const policy = children.get(`NetworkPolicy/${namesOf(cache).workload}`);
  return {
    image,
    apiUrl,
    trustedProxies: init.trustedProxies.length > 0 ? init.trustedProxies : proxies,
    operatorNamespace: (policy && operatorNamespaceOf(policy)) ?? 'narwhal-system',
    tokenHashes,
    leftovers: secrets.leftovers,
    // It tells the end of it: servers let go of what they may.
    stillMounted: NOTHING_MOUNTED,
    served: { httpRoute: true, serviceMonitor: true },
  };
}

/** A script or a file of several lines stays readable. */
const LAYOUT = { lineWidth: 0, blockQuote: 'literal', aliasDuplicateObjects: false, compat: 'yaml-1.1' } as const;

function textOf(step: Step): string {
  switch (step.do) {
    case 'apply':
      return `---\n# ${step.isNew ? 'create' : 'change'} ${step.object.kind} ${step.object.metadata.name}: ${step.because}\n${stringify(step.object, LAYOUT)}`;
    case 'delete':
      return `---\n# delete ${step.object.kind} ${step.object.metadata.name}: ${step.because}\n`;
    case 'generate':
      return `---\n# generate Secret ${step.need.name}: ${step.because}\n`;
    case 'own':
      return `---\n# change the owner of Secret ${step.need.name}: ${step.because}\n`;
    case 'wait':
      return `---\n# wait: ${step.because}\n`;
  }
}
