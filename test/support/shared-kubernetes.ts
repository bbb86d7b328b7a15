/** One cluster for all test files of a stage: each file works in namespaces of its own and harms nothing else. */
import { Kubernetes } from './kubernetes.ts';

let shared: Promise<Kubernetes> | undefined;

/** The cluster, started by whoever asks first. It has no controllers; never stop, freeze or compact it. */
export function sharedKubernetes(): Promise<Kubernetes> {
  shared ??= Kubernetes.start();
  return shared;
}

// Of the whole run, since this module is loaded while mocha reads the first file that uses it.
after(async () => {
  const started = await shared?.catch(() => undefined);
  await started?.remove();
});
