/** What a pod of the stand-in kubelet finds where its volumes are mounted: folders below a root of its own. */
import { mkdir, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import type { ConfigMap, Pod, Secret } from '../../operator/runtime/index.ts';
import { MountedFolder } from './mounted.ts';

/** The parts of a pod's spec that mount something. */
export interface Volume {
  readonly name: string;
  readonly configMap?: { readonly name: string };
  readonly secret?: { readonly secretName: string; readonly optional?: boolean };
  readonly persistentVolumeClaim?: { readonly claimName: string };
  readonly emptyDir?: object;
}

interface Mount {
  readonly name: string;
  readonly mountPath: string;
}

export interface Sources {
  configMap(name: string): ConfigMap | undefined;
  secret(name: string): Secret | undefined;
  /** Folder of a bound claim. */
  claim(name: string): Promise<string | undefined>;
}

/** Something that a pod cannot start without. */
export class NotThereError extends Error {}

export class PodVolumes {
  readonly root: string;
  readonly #volumes: ReadonlyMap<string, Volume>;
  readonly #mounts: readonly Mount[];
  readonly #sources: Sources;
  readonly #refresh: (() => Promise<void>)[] = [];
  #isMounted = false;

  constructor(root: string, pod: Pod, sources: Sources) {
    this.root = root;
    this.#volumes = new Map(((pod.spec.volumes ?? []) as readonly Volume[]).map((volume) => [volume.name, volume]));
    this.#mounts = (pod.spec.containers[0]?.volumeMounts ?? []) as readonly Mount[];
    this.#sources = sources;
  }

  /**
   * Mounts everything, once for the pod: a container that is started again finds what was there, as in a real pod.
   * @throws NotThereError
   */
  async mount(): Promise<void> {
    if (this.#isMounted) return this.refresh();
    // What an attempt that failed has left.
    await rm(this.root, { recursive: true, force: true });
    this.#refresh.length = 0;
    for (const { name, mountPath } of this.#mounts) {
      const at = path.join(this.root, mountPath);
      await mkdir(path.dirname(at), { recursive: true });
      const volume = this.#volumes.get(name);
      if (!volume) throw new Error(`mount ${mountPath} names no volume: ${name}`);
      await this.#mountAt(at, volume);
    }
    this.#isMounted = true;
  }

  /** Brings changed ConfigMaps and Secrets into the pod, as the kubelet does every now and then. */
  async refresh(): Promise<void> {
    for (const refresh of this.#refresh) await refresh();
  }

  /** A path of the pod as one of this machine; other texts as they are. */
  translate(text: string): string {
    const isMounted = this.#mounts.some(
      ({ mountPath }) => text === mountPath || text.startsWith(`${mountPath}/`) || mountPath.startsWith(`${text}/`),
    );
    return text.startsWith('/') && isMounted ? path.join(this.root, text) : text;
  }

  async #mountAt(at: string, volume: Volume): Promise<void> {
    const { configMap, secret, persistentVolumeClaim } = volume;
    if (configMap)
      return this.#follow(at, () => filesOf(this.#sources.configMap(configMap.name)), configMap.name, false);
    if (secret) {
      const files = () => filesOf(this.#sources.secret(secret.secretName), 'base64');
      return this.#follow(at, files, secret.secretName, secret.optional ?? false);
    }
    if (persistentVolumeClaim) {
      const folder = await this.#sources.claim(persistentVolumeClaim.claimName);
      if (folder === undefined) throw new NotThereError(`claim ${persistentVolumeClaim.claimName} is not bound`);
      return symlink(folder, at);
    }
    await mkdir(at, { recursive: true });
  }

  async #follow(at: string, files: () => Files | undefined, name: string, isOptional: boolean): Promise<void> {
    const found = files();
    if (!found && !isOptional) throw new NotThereError(`${name} not found`);
    const mounted = await MountedFolder.create(at, found ?? {});
    let last = JSON.stringify(found);
    this.#refresh.push(async () => {
      const now = files();
      const text = JSON.stringify(now);
      // What is not optional stays as it was while its source is gone, as the kubelet has it.
      if (text === last || (!now && !isOptional)) return;
      last = text;
      await mounted.write(now ?? {});
    });
  }
}

type Files = Record<string, string | Buffer>;

function filesOf(source: ConfigMap | Secret | undefined, encoding: 'utf8' | 'base64' = 'utf8'): Files | undefined {
  if (!source) return undefined;
  return Object.fromEntries(Object.entries(source.data ?? {}).map(([key, text]) => [key, Buffer.from(text, encoding)]));
}
