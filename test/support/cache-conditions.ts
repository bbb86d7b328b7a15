/** What the operator says of a cache. */
import { BINARY_CACHE } from '../../operator/cache/index.ts';
import { pathOf } from '../../operator/runtime/kinds.ts';
import type { Kubernetes } from './kubernetes.ts';
import { until } from './server.ts';

export { BINARY_CACHE };

export interface CacheCondition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
  readonly lastTransitionTime: string;
}

/** A condition of a cache, undefined unless it is about the manifest as it is now. */
export async function conditionOf(
  kubernetes: Kubernetes,
  namespace: string,
  cache: string,
  type: string,
): Promise<CacheCondition | undefined> {
  const { body } = await kubernetes.request(pathOf(BINARY_CACHE, { namespace, name: cache }));
  const { conditions = [] } = (body.status ?? {}) as { conditions?: CacheCondition[] };
  const { generation } = body.metadata ?? {};
  return conditions.find((it) => it.type === type && it.observedGeneration === generation);
}

/** Waits until a condition of a cache has a status, and a reason where one is given. */
export async function untilCondition(
  kubernetes: Kubernetes,
  namespace: string,
  cache: string,
  type: string,
  status: string,
  reason?: string,
): Promise<CacheCondition> {
  let found: CacheCondition | undefined;
  const isSo = async () => {
    found = await conditionOf(kubernetes, namespace, cache, type);
    return found?.status === status && (reason === undefined || found.reason === reason);
  };
  await until(`${type} of ${cache} is ${status} ${reason ?? ''}`, isSo).catch((error: Error) => {
    throw new Error(`${error.message}; it is ${JSON.stringify(found)}`);
  });
  if (!found) throw new Error('unreachable');
  return found;
}
