/** One cluster for all stories of caches: each works in namespaces of its own and harms nothing else. */
import { Cluster } from './cluster.ts';

let shared: Promise<Cluster> | undefined;

/** The cluster, started by whoever asks first. Never stop, freeze or compact its API server. */
export function sharedCluster(): Promise<Cluster> {
  shared ??= Cluster.start();
  return shared;
}

// Of the whole run, since this module is loaded while mocha reads the first file that uses it.
after(async () => {
  const started = await shared?.catch(() => undefined);
  await started?.remove();
});
