// Makes an image of this clone, or finds the one that was made of the same sources.
import fs from 'node:fs';
import path from 'node:path';
import { buildInto } from '../lib/build.mjs';
import { node24, root } from '../lib/places.mjs';
import { attempt, run } from '../lib/run.mjs';
import { imageArchitecture, writeImage } from './archive.mjs';
import { BASE_RECIPE, baseLayer, basePackages, ensureBase, imageProblem } from './base.mjs';
import { CLIENT_SOURCES, clientConfig, clientLayers, ensureClientPackages } from './client.mjs';
import { digestOfSources, imageFolder } from './kept.mjs';
import { buildTime } from './layer.mjs';
import { ensureModules } from './modules.mjs';
import { productConfig, productLabels, productLayers } from './product.mjs';
import { debianPackages, sbomOf } from './sbom.mjs';

const PRODUCT_SOURCES = [
  ...['crds', 'server', 'operator', 'tsconfig.json', 'package.json', 'package-lock.json'],
  ...['LICENSE', 'hack/image', 'hack/lib/launch.mjs', 'hack/build.mjs'],
];

/**
 * @typedef {object} Image
 * @property {string} file the archive, see archive.mjs
 * @property {string} reference its name
 * @property {string} digest sha256:... of its manifest
 * @property {number} unpackedBytes
 * @property {Record<string, number>} parts bytes of each layer
 * @property {string} [sbom] a file
 */

/**
 * @param {'narwhal' | 'client'} kind
 * @param {{ reference?: string, say: (line: string) => void }} options
 * @returns {Promise<Image>}
 */
export async function makeImage(kind, { reference, say }) {
  const problem = await imageProblem();
  if (problem) throw new Error(problem);
  const name = reference ?? (await defaultReference(kind));
  const parts = await ensureParts(kind, { say });
  const sources = kind === 'client' ? [...PRODUCT_SOURCES, ...CLIENT_SOURCES] : PRODUCT_SOURCES;
  const revision = await cleanRevision();
  const inputs = {
    reference: name,
    sources: digestOfSources(sources),
    parts: Object.values(parts).map((folder) => path.basename(folder)),
    node: await nodeVersion(),
    architecture: imageArchitecture(),
    created: buildTime(),
    revision,
    BASE_RECIPE,
  };
  const folder = await imageFolder(kind, inputs, (draft) =>
    fill(kind, { draft, parts, reference: name, revision, say }),
  );
  const { digest, unpackedBytes, sizes } = JSON.parse(fs.readFileSync(path.join(folder, 'image.json'), 'utf8'));
  const sbom = path.join(folder, 'narwhal.cdx.json');
  return {
    file: path.join(folder, 'image.tar'),
    reference: name,
    digest,
    unpackedBytes,
    parts: sizes,
    ...(fs.existsSync(sbom) && { sbom }),
  };
}

function manifest() {
  return JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
}

/** The name that the chart has of the product's image. */
export function defaultReference(kind) {
  const { version } = manifest();
  return kind === 'client' ? `narwhal.test/client:${version}` : `ghcr.io/narwhal-cache/narwhal:${version}`;
}

async function ensureParts(kind, { say }) {
  const base = await ensureBase();
  const modules = await ensureModules({ say });
  return { base, modules, ...(kind === 'client' && { client: await ensureClientPackages() }) };
}

async function fill(kind, { draft, parts, reference, revision, say }) {
  say(`writing ${reference}`);
  const dist = path.join(draft, 'dist');
  const sbom = sbomOf({
    manifest: manifest(),
    lockfile: JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8')),
    nodeVersion: await nodeVersion(),
    debian: debianPackages(path.join(parts.base, 'var/lib/dpkg/status.d'), basePackages(parts.base)),
  });
  // Into a folder of its own: dist/ may have files of sources that are gone.
  buildInto(dist);
  const product = productLayers({ node: node24, modules: path.join(parts.modules, 'node_modules'), dist, sbom });
  const layers = {
    base: baseLayer(parts.base),
    ...product,
    ...(kind === 'client' && clientLayers(parts.client)),
  };
  const config = kind === 'client' ? clientConfig : { ...productConfig, Labels: productLabels(manifest(), revision) };
  const written = await writeImage({
    file: path.join(draft, 'image.tar'),
    reference,
    layers: Object.values(layers),
    config,
  });
  fs.rmSync(dist, { recursive: true });
  if (kind === 'narwhal') fs.writeFileSync(path.join(draft, 'narwhal.cdx.json'), sbom);
  const sizes = Object.fromEntries(
    Object.keys(layers).map((name, index) => [name, written.layers[index].unpackedBytes]),
  );
  const { digest, unpackedBytes } = written;
  fs.writeFileSync(path.join(draft, 'image.json'), JSON.stringify({ digest, unpackedBytes, sizes }));
}

async function nodeVersion() {
  return (await run('node --version', node24, ['--version'])).trim().slice(1);
}

/** The commit, when what is built is that commit. */
async function cleanRevision() {
  const git = (...args) => attempt('git', ['-C', root, ...args]);
  const status = await git('status', '--porcelain');
  if (!status.ok || status.stdout !== '') return undefined;
  const { ok, stdout } = await git('rev-parse', 'HEAD');
  return ok ? stdout.trim() : undefined;
}
