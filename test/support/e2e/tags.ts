/** Other names of images on the node: a registry is what a cluster of tests has not. */
import fs from 'node:fs';
import path from 'node:path';
import { CTR } from '../../../hack/cluster/images.ts';
import { digestOf } from '../../../hack/image/kept.mjs';
import { layerMembers, writeTar } from '../../../hack/image/layer.mjs';
import { ensureImage } from '../../../hack/image.mjs';
import type { World } from './world.ts';

/** Gives the node an image of ours under a further name, as `docker tag` does. */
export async function tagImage(world: World, kind: 'narwhal' | 'client', reference: string): Promise<void> {
  const { reference: own } = await ensureImage(kind);
  await clusterOf(world).machine.run([...CTR, 'images', 'tag', '--force', own, reference]);
}

/**
 * Gives the node another image, with another digest: ours with a label more. Its archive has no layers, since
 * containerd has those.
 */
export async function relabelImage(
  world: World,
  kind: 'narwhal' | 'client',
  { reference, labels }: { readonly reference: string; readonly labels: Readonly<Record<string, string>> },
): Promise<void> {
  const { digest } = await ensureImage(kind);
  const { machine } = clusterOf(world);
  const read = async (of: string) => JSON.parse(await machine.run([...CTR, 'content', 'get', of]));
  const manifest = await read(digest);
  const config = await read(manifest.config.digest);
  config.config.Labels = { ...config.config.Labels, ...labels };
  const entries: { path: string; text: string }[] = [];
  const add = (value: unknown) => {
    const text = JSON.stringify(value);
    const hash = digestOf(text);
    entries.push({ path: `/blobs/sha256/${hash}`, text });
    return { digest: `sha256:${hash}`, size: Buffer.byteLength(text) };
  };
  const made = add({ ...manifest, config: { ...manifest.config, ...add(config) } });
  const annotations = { 'io.containerd.image.name': reference };
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ mediaType: manifest.mediaType, ...made, annotations }],
  };
  entries.push({ path: '/oci-layout', text: JSON.stringify({ imageLayoutVersion: '1.0.0' }) });
  entries.push({ path: '/index.json', text: JSON.stringify(index) });
  const archive = path.join(machine.folder, 'relabelled.tar');
  await writeTar(archive, layerMembers({ entries }));
  try {
    await machine.run([...CTR, 'images', 'import', archive]);
  } finally {
    fs.rmSync(archive);
  }
}

function clusterOf({ cluster }: World) {
  if (!cluster) throw new Error('images are named on a node of our own only');
  return cluster;
}
