// What our containers have written, as the kubelet of a cluster of our own keeps it: it goes with the pod.
import fs from 'node:fs';
import path from 'node:path';

/** Names of the containers that are ours in the pods of operator, gateway and caches. */
const CONTAINERS = ['server', 'operator', 'gateway'];

/**
 * Copies it to the logs in which `npm test` looks for secrets.
 * @param {string} pods the kubelet's folder of logs: NAMESPACE_POD_UID/CONTAINER/NUMBER.log
 * @param {string} logs
 * @param {(namespace: string) => boolean} [isWanted]
 */
export function savePodLogs(pods, logs, isWanted = () => true) {
  for (const pod of namesIn(pods).filter((name) => isWanted(name.split('_')[0] ?? ''))) {
    for (const container of CONTAINERS) {
      for (const file of namesIn(path.join(pods, pod, container))) {
        const name = `${pod}-${container}-${file.replace(/\.log$/, '')}.log`;
        fs.copyFileSync(path.join(pods, pod, container, file), path.join(logs, name));
      }
    }
  }
}

function namesIn(folder) {
  return fs.existsSync(folder) ? fs.readdirSync(folder) : [];
}
