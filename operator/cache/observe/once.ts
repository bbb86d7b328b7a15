/** Looks at a cache without watching it: for commands that end. */
import { type AnyObj, type Api, type Kind, kinds } from '../../runtime/index.ts';
import { CACHE_LABEL, namesOf } from '../names.ts';
import { Secrets, viewOfNothing } from '../secrets/index.ts';
import { BINARY_CACHE, type Cache } from '../types.ts';
import { childKey, type Observed } from './observed.ts';
import { CHILDREN, OPTIONAL } from './stores.ts';

/**
 * @param api undefined: there is no cluster, so nothing is there
 * @param wanted the cache as a manifest has it; of one that exists, metadata and status come from the cluster
 */
export async function observeOnce(
  api: Api | undefined,
  wanted: Cache,
  signal: AbortSignal,
): Promise<{ readonly cache: Cache; readonly observed: Observed }> {
  const base = { reports: new Map(), obstacles: [], publicName: undefined } as const;
  if (!api)
    return {
      cache: wanted,
      observed: { ...base, children: new Map(), pods: [], secrets: viewOfNothing(wanted) },
    };
  const { name, namespace } = wanted.metadata;
  const live = await api.get(BINARY_CACHE, { namespace, name }, { signal });
  const cache = live ? { ...live, spec: wanted.spec } : wanted;
  const query = { namespace, labelSelector: `${CACHE_LABEL}=${name}` };
  const list = async <K extends AnyObj>(kind: Kind<K>) => (await api.list(kind, query, { signal })).items;
  const served = await Promise.all(OPTIONAL.map((kind) => api.served(kind, { signal })));
  const all = [...CHILDREN, ...OPTIONAL.filter((_, index) => served[index])];
  const children = (await Promise.all(all.map((kind) => list(kind as Kind<AnyObj>)))).flat();
  const pods = (await api.list(kinds.Pod, query, { signal })).items;
  const found = new Map(children.map((child) => [childKey(child), child]));
  const config = found.get(`ConfigMap/${namesOf(cache).config}`);
  const secrets = await new Secrets({ api, ttlMs: 0 }).view(cache, config, true, signal);
  return { cache, observed: { ...base, children: found, pods, secrets } };
}
