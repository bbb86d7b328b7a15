/**
 * Volumes of a cluster on this machine, as the provisioner, the resizer and the deleter of a real storage would have
 * them: each is a file system of its own size in a file, so that a full disk is full and a grown one has grown.
 *
 * A round asks for everything and does what is missing; nothing is remembered, so that it may end at any moment.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { wholeUnits } from '../../operator/runtime/index.ts';
import type { Access } from '../../test/support/kubeconfig.ts';
import { type ApiObject, KubernetesApi } from '../../test/support/kubernetes-api.ts';
import { Machine } from './machine.ts';
import { NODE } from './pki.ts';

export const PROVISIONER = 'narwhal.test/disk';
export const CLASSES = [
  { name: 'disk', isDefault: true, grows: true },
  { name: 'fixed', isDefault: false, grows: false },
];

const ROUND_MS = 300;
/** Below, ext4 has no room for its own tables. */
const LEAST_BYTES = 4 * 1024 * 1024;

interface Claim {
  readonly metadata: { name: string; namespace: string; uid: string; annotations?: Record<string, string> };
  readonly spec: {
    storageClassName?: string;
    volumeName?: string;
    accessModes: string[];
    resources: { requests: { storage: string } };
  };
  readonly status?: { phase?: string; capacity?: { storage: string } };
}

interface Volume {
  readonly metadata: { name: string; annotations?: Record<string, string> };
  readonly spec: { capacity: { storage: string }; persistentVolumeReclaimPolicy: string };
  readonly status?: { phase?: string };
}

const CLAIMS = '/api/v1/persistentvolumeclaims';
const VOLUMES = '/api/v1/persistentvolumes';

export class Volumes {
  readonly #machine: Machine;
  readonly #api: KubernetesApi;

  constructor(machine: Machine, access: Access) {
    this.#machine = machine;
    this.#api = new KubernetesApi(access);
  }

  /** Looks after volumes until the machine ends. */
  async run(): Promise<void> {
    while (Machine.find(this.#machine.folder, {}) !== undefined) {
      // The API server may be away, or frozen; the next round sees.
      await this.#round().catch((error: Error) => console.error(`${new Date().toISOString()} ${error.message}`));
      await sleep(ROUND_MS);
    }
    this.#api.close();
  }

  async #round(): Promise<void> {
    const claims = itemsOf<Claim>(await this.#api.expect(CLAIMS));
    const volumes = itemsOf<Volume>(await this.#api.expect(VOLUMES));
    for (const claim of claims) {
      if (!CLASSES.some(({ name }) => name === claim.spec.storageClassName)) continue;
      const volume = volumes.find(({ metadata }) => metadata.name === claim.spec.volumeName);
      if (claim.status?.phase === 'Pending' && claim.metadata.annotations?.['volume.kubernetes.io/selected-node'])
        await this.#make(claim);
      else if (claim.status?.phase === 'Bound' && volume !== undefined) await this.#grow(claim, volume);
    }
    for (const volume of volumes) {
      const isOurs = volume.metadata.annotations?.['pv.kubernetes.io/provisioned-by'] === PROVISIONER;
      const isLeft = volume.status?.phase === 'Released' && volume.spec.persistentVolumeReclaimPolicy === 'Delete';
      if (isOurs && isLeft) await this.#remove(volume);
    }
  }

  async #make({ metadata, spec }: Claim): Promise<void> {
    const name = `pvc-${metadata.uid}`;
    const { file, folder } = this.#places(name);
    if ((await this.#api.request(`${VOLUMES}/${name}`)).status === 200) return;
    fs.mkdirSync(folder, { recursive: true });
    fs.closeSync(fs.openSync(file, 'a'));
    fs.truncateSync(file, sizeOf(spec.resources.requests.storage));
    const script = 'mountpoint -q "$1" || { mkfs.ext4 -qF -m 0 "$0" && mount -o loop "$0" "$1"; }';
    await this.#machine.run(['sh', '-ec', script, file, folder]);
    const { namespace, uid } = metadata;
    const expression = { key: 'kubernetes.io/hostname', operator: 'In', values: [NODE] };
    await this.#api.expect(VOLUMES, {
      method: 'POST',
      body: {
        metadata: { name, annotations: { 'pv.kubernetes.io/provisioned-by': PROVISIONER } },
        spec: {
          capacity: { storage: spec.resources.requests.storage },
          accessModes: spec.accessModes,
          storageClassName: spec.storageClassName,
          persistentVolumeReclaimPolicy: 'Delete',
          claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name: metadata.name, uid },
          local: { path: folder },
          nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [expression] }] } },
        },
      },
    });
    console.log(`${namespace}/${metadata.name}: made, ${spec.resources.requests.storage}`);
  }

  /** As a real resizer: file system, then volume, then claim, so that whoever reads the claim can use what it says. */
  async #grow({ metadata, spec, status }: Claim, volume: Volume): Promise<void> {
    const { storage } = spec.resources.requests;
    if (status?.capacity === undefined || sizeOf(status.capacity.storage) >= sizeOf(storage)) return;
    const { file } = this.#places(volume.metadata.name);
    fs.truncateSync(file, sizeOf(storage));
    const script = 'device=$(losetup -nO NAME -j "$0") && losetup -c "$device" && resize2fs "$device"';
    await this.#machine.run(['sh', '-ec', script, file]);
    const type = 'application/merge-patch+json';
    const capacity = { storage };
    await this.#api.expect(`${VOLUMES}/${volume.metadata.name}`, {
      method: 'PATCH',
      type,
      body: { spec: { capacity } },
    });
    await this.#api.expect(`/api/v1/namespaces/${metadata.namespace}/persistentvolumeclaims/${metadata.name}/status`, {
      method: 'PATCH',
      type,
      body: { status: { capacity, conditions: null } },
    });
    console.log(`${metadata.namespace}/${metadata.name}: grown to ${storage}`);
  }

  async #remove({ metadata: { name } }: Volume): Promise<void> {
    const { file, folder } = this.#places(name);
    await this.#machine.run(['sh', '-ec', 'if mountpoint -q "$0"; then umount "$0"; fi', folder]);
    fs.rmSync(folder, { recursive: true, force: true });
    fs.rmSync(file, { force: true });
    await this.#api.expect(`${VOLUMES}/${name}`, { method: 'DELETE' });
    console.log(`${name}: removed`);
  }

  #places(name: string): { file: string; folder: string } {
    const folder = path.join(this.#machine.folder, 'volumes', name);
    return { file: `${folder}.ext4`, folder };
  }
}

function itemsOf<T>(list: ApiObject): T[] {
  return (list as unknown as { items: T[] }).items;
}

function sizeOf(quantity: string): number {
  return Math.max(LEAST_BYTES, wholeUnits(quantity) ?? 0);
}
