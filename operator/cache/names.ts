/** How everything of a cache is called. Names are fixed by the cache's name: a second try never makes a second object. */
import { type DesiredMetadata, type Obj, ownerReference } from '../runtime/index.ts';
import { BINARY_CACHE, type Cache } from './types.ts';

export const MANAGER = 'narwhal-operator';

/** Label of everything that belongs to a cache: the cache's name. It finds what has no owner, such as kept volumes. */
export const CACHE_LABEL = 'narwhal.dev/cache';
const INSTANCE_LABEL = 'app.kubernetes.io/instance';
/** Label of a PVC: name of the storage on it; `db` is the database. */
export const STORAGE_LABEL = 'narwhal.dev/storage';
/** Annotation of the ConfigMap: the first 16 hex digits of each token's SHA-256, by which the gateway routes. */
export const ROUTES_ANNOTATION = 'narwhal.dev/token-prefixes';
/**
 * Annotation of the ConfigMap: the tokens that are listed. One that is no longer and has left a Secret behind is written
 * `name=uid` until that is removed: the operator may list no Secrets, and what it has to remove must outlive it.
 */
export const TOKEN_SECRETS_ANNOTATION = 'narwhal.dev/token-secrets';
/** Annotation of an object: hash of what was applied last. */
export const APPLIED_ANNOTATION = 'narwhal.dev/applied';
/** Annotation of a cache: any new value makes the operator look again at once, at Secrets too. */
export const RECONCILE_ANNOTATION = 'narwhal.dev/reconcile';
/** Label of a ServiceAccount that caches may run as. */
export const USABLE_LABEL = 'narwhal.dev/usable';

/** Variable by which a server knows the API URL. */
export const API_URL = 'NARWHAL_API_URL';
/** Variable by which a server knows whose X-Forwarded-* headers it believes. */
export const TRUSTED_PROXIES = 'NARWHAL_TRUSTED_PROXIES';
export const CONFIG_FILE = 'cache.yaml';
export const HTTP_PORT = 8080;
export const ADMIN_PORT = 9090;

/** Names of the objects of a cache. */
export function namesOf(cache: Cache): {
  readonly account: string;
  readonly config: string;
  readonly rootKey: string;
  readonly signingKey: string;
  readonly database: string;
  readonly client: string;
  readonly peers: string;
  readonly workload: string;
} {
  const { name } = cache.metadata;
  return {
    account: `${name}-server`,
    config: `${name}-config`,
    rootKey: `${name}-root-key`,
    signingKey: `${name}-signing-key`,
    database: `${name}-db`,
    client: name,
    peers: `${name}-peers`,
    workload: name,
  };
}

export const tokenSecretName = (cache: Cache, token: string): string => `${cache.metadata.name}-token-${token}`;
export const volumeName = (cache: Cache, storage: string): string => `${cache.metadata.name}-${storage}`;

/** Labels that select the pods of a cache. They never change: a StatefulSet cannot select others. */
export function selectorOf(cache: Cache): Record<string, string> {
  return {
    'app.kubernetes.io/name': 'narwhal',
    [INSTANCE_LABEL]: cache.metadata.name,
    'app.kubernetes.io/component': 'server',
  };
}

export function labelsOf(cache: Cache): Record<string, string> {
  return {
    ...selectorOf(cache),
    'app.kubernetes.io/part-of': 'narwhal',
    'app.kubernetes.io/managed-by': MANAGER,
    [CACHE_LABEL]: cache.metadata.name,
  };
}

/** Whether an object was made for this cache, by this operator. */
export function isOurs(cache: Cache, object: Obj): boolean {
  const labels = object.metadata.labels ?? {};
  return labels['app.kubernetes.io/managed-by'] === MANAGER && labels[CACHE_LABEL] === cache.metadata.name;
}

/** Metadata of an object that goes when the cache goes. */
export function ownedMetadata(cache: Cache, name: string): DesiredMetadata {
  const { namespace } = cache.metadata;
  return { name, namespace, labels: labelsOf(cache), ownerReferences: [ownerReference(cache)] };
}

/** Metadata of what holds data or keys: it goes with the cache only where `reclaimPolicy: Delete` says so. */
export function reclaimedMetadata(cache: Cache, name: string): DesiredMetadata {
  return cache.spec.reclaimPolicy === 'Delete' ? ownedMetadata(cache, name) : keptMetadata(cache, name);
}

/**
 * Metadata of an object without an owner. Argo CD may take the label of the instance for the name of an application of its
 * own, and prunes what has no owner and is not in git: keys and volumes of a cache that is called like its application.
 */
export function keptMetadata(cache: Cache, name: string): DesiredMetadata {
  const { namespace } = cache.metadata;
  const { [INSTANCE_LABEL]: _, ...labels } = labelsOf(cache);
  return { name, namespace, labels };
}

/** Uids of the owners that are caches, an earlier one of the same name perhaps. Other owners are none of our business. */
export function cachesOwning({ metadata }: Obj): string[] {
  const { apiVersion, kind } = BINARY_CACHE;
  const caches = (metadata.ownerReferences ?? []).filter((it) => it.kind === kind && it.apiVersion === apiVersion);
  return caches.map(({ uid }) => uid);
}
