// An image as one file, which every tool that loads images takes; no registry, no daemon and no root is needed.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { buildTime, layerMembers, writeTar } from './layer.mjs';

/** What Node calls a processor, and what images call it. */
const ARCHITECTURES = { x64: 'amd64', ia32: '386' };
const TYPE = 'application/vnd.oci.image';
/** In this order in the configuration, whatever the order in which they were said: its digest is the image's. */
const CONFIG_KEYS = ['User', 'ExposedPorts', 'Env', 'Entrypoint', 'Cmd', 'WorkingDir', 'Labels'];

/** This machine's architecture in the words of images. */
export function imageArchitecture() {
  return ARCHITECTURES[process.arch] ?? process.arch;
}

/**
 * @typedef {object} Config what a container of the image runs, as the OCI image specification has it
 * @property {string[]} [Entrypoint]
 * @property {string[]} [Cmd]
 * @property {string[]} [Env]
 * @property {string} [User]
 * @property {string} [WorkingDir]
 * @property {Record<string, string>} [Labels]
 * @property {Record<string, object>} [ExposedPorts]
 */

/**
 * Writes an image as an archive: an OCI layout and a docker-archive (manifest.json) in one tar, so that `ctr images
 * import`, `kind load image-archive`, `docker load`, `podman load` and buildah's and skopeo's `oci-archive:` take it.
 * Layers are not compressed: the file is loaded where it was made.
 *
 * The same content gives the same digest. The file appears whole or not at all.
 *
 * @param {{ file: string, reference: string, layers: import('./layer.mjs').Layer[], config: Config, architecture?: string }} image
 *   `reference`: a full name with its registry and a tag, as in ghcr.io/narwhal-cache/narwhal:0.1.0
 * @returns {Promise<{ digest: string, unpackedBytes: number, layers: { digest: string, unpackedBytes: number }[] }>}
 *   `digest`: of the manifest, sha256:...
 */
export async function writeImage({ file, reference, layers, config, architecture = imageArchitecture() }) {
  const problem = referenceProblem(reference);
  if (problem) throw new Error(problem);
  fs.mkdirSync(path.dirname(path.resolve(file)), { recursive: true });
  const draft = fs.mkdtempSync(`${path.resolve(file)}.draft-`);
  try {
    const blobs = new Map();
    const written = [];
    for (const [index, layer] of layers.entries()) {
      const body = path.join(draft, `layer-${index}.tar`);
      const { digest, size, unpackedBytes } = await writeTar(body, layerMembers(layer));
      blobs.set(digest, { size, body });
      written.push({ digest, size, unpackedBytes });
    }
    const add = (value) => {
      const body = Buffer.from(JSON.stringify(value));
      const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`;
      blobs.set(digest, { size: body.length, body });
      return { digest, size: body.length };
    };
    const configBlob = add(configOf({ architecture, config, layers: written }));
    const manifestBlob = add({
      schemaVersion: 2,
      mediaType: `${TYPE}.manifest.v1+json`,
      config: { mediaType: `${TYPE}.config.v1+json`, ...configBlob },
      layers: written.map(({ digest, size }) => ({ mediaType: `${TYPE}.layer.v1.tar`, digest, size })),
    });
    const members = archiveMembers({ blobs, reference, architecture, configBlob, manifestBlob, layers: written });
    const whole = path.join(draft, 'image.tar');
    await writeTar(whole, members);
    fs.renameSync(whole, file);
    return {
      digest: manifestBlob.digest,
      unpackedBytes: written.reduce((sum, { unpackedBytes }) => sum + unpackedBytes, 0),
      layers: written.map(({ digest, unpackedBytes }) => ({ digest, unpackedBytes })),
    };
  } finally {
    fs.rmSync(draft, { recursive: true, force: true });
  }
}

/** Why no tool would find the image by this name again, or nothing: each completes a short name in its own way. */
function referenceProblem(reference) {
  if (
    /^(localhost|[a-z0-9.-]+\.[a-z0-9.-]+|[a-z0-9.-]+:\d+)(:\d+)?(\/[a-z0-9._-]+)+:[\w][\w.-]{0,127}$/.test(reference)
  )
    return undefined;
  return `${reference} is no full name of an image: give registry, name and tag, as in ghcr.io/narwhal-cache/narwhal:0.1.0`;
}

function configOf({ architecture, config, layers }) {
  const unknown = Object.keys(config).find((key) => !CONFIG_KEYS.includes(key));
  if (unknown) throw new Error(`the image's config has ${unknown}; known are ${CONFIG_KEYS.join(', ')}`);
  const created = buildTime().toISOString().replace('.000Z', 'Z');
  const sortedBy = (value) => Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  const parts = { ...config };
  if (config.Labels) parts.Labels = sortedBy(config.Labels);
  if (config.ExposedPorts) parts.ExposedPorts = sortedBy(config.ExposedPorts);
  return {
    created,
    architecture,
    os: 'linux',
    config: Object.fromEntries(CONFIG_KEYS.filter((key) => parts[key] !== undefined).map((key) => [key, parts[key]])),
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
    // Some tools count it against the layers.
    history: layers.map(() => ({ created, created_by: 'hack/image' })),
  };
}

function archiveMembers({ blobs, reference, architecture, configBlob, manifestBlob, layers }) {
  const pathOf = ({ digest }) => `blobs/${digest.replace(':', '/')}`;
  const json = (name, value) => ({ name, body: Buffer.from(JSON.stringify(value)) });
  const index = {
    schemaVersion: 2,
    mediaType: `${TYPE}.index.v1+json`,
    manifests: [
      {
        mediaType: `${TYPE}.manifest.v1+json`,
        ...manifestBlob,
        // containerd and Docker read the first name, podman, skopeo and buildah the second.
        annotations: { 'io.containerd.image.name': reference, 'org.opencontainers.image.ref.name': reference },
        platform: { architecture, os: 'linux' },
      },
    ],
  };
  const files = [
    json('oci-layout', { imageLayoutVersion: '1.0.0' }),
    json('index.json', index),
    json('manifest.json', [{ Config: pathOf(configBlob), RepoTags: [reference], Layers: layers.map(pathOf) }]),
    ...[...blobs].map(([digest, { body, size }]) => ({ name: pathOf({ digest }), body, size })),
  ];
  return files.map(({ name, body, size = body.length }) => ({
    header: { name, type: 'file', mode: 0o644, uid: 0, gid: 0, size, mtime: buildTime() },
    body,
  }));
}
