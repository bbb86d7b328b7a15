/** Looks at everything that a cache consists of. */
import { unsupported } from '../../../crds/index.ts';
import { type Api, kinds } from '../../runtime/index.ts';
import type { Obstacle } from '../desired/index.ts';
import { namesOf, USABLE_LABEL } from '../names.ts';
import type { Secrets } from '../secrets/index.ts';
import type { Cache } from '../types.ts';
import { childKey, type Observed, type PublicName } from './observed.ts';
import { askServers } from './servers.ts';
import type { Stores } from './stores.ts';

export interface ObserveInit {
  readonly api: Api;
  readonly stores: Stores;
  readonly secrets: Secrets;
  readonly publicNameOf: (cache: Cache) => PublicName | undefined;
  readonly serverTimeoutMs: number;
}

/** @param isFresh asks again for Secrets that are known already */
export async function observe(
  init: ObserveInit,
  cache: Cache,
  isFresh: boolean,
  signal: AbortSignal,
): Promise<Observed> {
  const key = `${cache.metadata.namespace}/${cache.metadata.name}`;
  const pods = init.stores.podsOf(key);
  const config = init.stores.childrenOf(key).find((child) => childKey(child) === `ConfigMap/${namesOf(cache).config}`);
  const [secrets, reports, obstacles] = await Promise.all([
    init.secrets.view(cache, config, isFresh, signal),
    askServers(pods, init.serverTimeoutMs, signal),
    obstaclesOf(init.api, cache, signal),
  ]);
  // After the waiting, so that what has happened meanwhile is seen.
  const children = new Map(init.stores.childrenOf(key).map((child) => [childKey(child), child]));
  return { children, pods, secrets, reports, obstacles, publicName: init.publicNameOf(cache) };
}

async function obstaclesOf(api: Api, cache: Cache, signal: AbortSignal): Promise<Obstacle[]> {
  const obstacles: Obstacle[] = unsupported(cache).map((message) => ({ reason: 'Unsupported', message }));
  const account = await accountObstacle(api, cache, signal);
  if (account) obstacles.push(account);
  if (cache.spec.httpRoute && !(await api.served(kinds.HTTPRoute, { signal })))
    obstacles.push({
      reason: 'NotServed',
      message: 'this cluster knows no HTTPRoute: the Gateway API is not installed',
    });
  return obstacles;
}

/** Pods run under an account of ours, or under one whose owner says that caches may: it may have rights that they lack. */
async function accountObstacle(api: Api, cache: Cache, signal: AbortSignal): Promise<Obstacle | undefined> {
  const name = cache.spec.podTemplate?.spec?.serviceAccountName;
  if (name === undefined || name === namesOf(cache).account) return undefined;
  const account = await api.get(kinds.ServiceAccount, { namespace: cache.metadata.namespace, name }, { signal });
  if (account?.metadata.labels?.[USABLE_LABEL] === 'true') return undefined;
  const message = account
    ? `ServiceAccount ${name} does not have the label ${USABLE_LABEL}=true, with which its owner lets caches use it`
    : `ServiceAccount ${name} does not exist`;
  return { reason: 'ServiceAccountNotAllowed', message };
}
