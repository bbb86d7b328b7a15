// What the image consists of, as CycloneDX. From the lockfile and not by `npm sbom`: it lists what lies in the image and
// no more, needs no certain npm, and one content has one text.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { productionTree } from './tree.mjs';

/** Of what the image has of these packages; Debian's own words are in /usr/share/doc. */
const DEBIAN_LICENSES = [
  { name: /^libc6$/, license: 'LGPL-2.1-or-later' },
  { name: /^(libgcc-s1|libstdc\+\+6|gcc-\d+-base)$/, license: 'GPL-3.0-or-later WITH GCC-exception-3.1' },
  { name: /^ca-certificates$/, license: 'MPL-2.0' },
];

/**
 * @param {{ manifest: any, lockfile: any, nodeVersion: string, debian: { name: string, version: string, architecture: string }[] }} content
 *   `manifest`: package.json; `debian`: what debianPackages() reads
 * @returns {string} JSON
 */
export function sbomOf({ manifest, lockfile, nodeVersion, debian }) {
  const self = npmPurl(manifest);
  const tree = productionTree(lockfile);
  const purlAt = new Map(tree.map((it) => [it.place, npmPurl(it)]));
  const dependencies = new Map();
  for (const { place, dependsOn } of tree) {
    const purl = purlAt.get(place);
    const known = dependencies.get(purl) ?? new Set();
    for (const target of dependsOn) known.add(purlAt.get(target));
    dependencies.set(purl, known);
  }
  const direct = Object.keys(manifest.dependencies).map((name) => purlAt.get(`node_modules/${name}`));
  // A package may lie in several places.
  const npm = new Map(tree.map((it) => [npmPurl(it), npmComponent(it)]));
  const components = [nodeComponent(nodeVersion), ...debian.map(debianComponent), ...npm.values()];
  const body = {
    metadata: {
      component: {
        'bom-ref': self,
        type: 'application',
        name: manifest.name,
        version: manifest.version,
        description: manifest.description,
        licenses: licenses(manifest.license),
        purl: self,
      },
    },
    components: components.sort((a, b) => (a.purl < b.purl ? -1 : 1)),
    dependencies: [
      { ref: self, dependsOn: [...direct, nodePurl(nodeVersion)].sort() },
      ...[...dependencies].map(([ref, targets]) => ({ ref, dependsOn: [...targets].sort() })),
    ],
  };
  return `${JSON.stringify(
    {
      $schema: 'http://cyclonedx.org/schema/bom-1.5.schema.json',
      bomFormat: 'CycloneDX',
      specVersion: '1.5',
      serialNumber: `urn:uuid:${uuidOf(JSON.stringify(body))}`,
      version: 1,
      ...body,
    },
    undefined,
    1,
  )}\n`;
}

/** The packages that a folder of status files names, as dpkg and images without dpkg have them. */
export function debianPackages(folder, names = fs.readdirSync(folder)) {
  return names
    .filter((name) => !name.includes('.md5sums'))
    .map((name) => {
      const text = fs.readFileSync(path.join(folder, name), 'utf8');
      const field = (key) => new RegExp(`^${key}: (.*)$`, 'm').exec(text)?.[1] ?? '';
      return { name: field('Package'), version: field('Version'), architecture: field('Architecture') };
    });
}

function npmPurl({ name, version }) {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`;
}

function npmComponent({ name, version, license, integrity }) {
  const purl = npmPurl({ name, version });
  const [, content] = /^sha512-(\S+)$/.exec(integrity ?? '') ?? [];
  const hashes = content && [{ alg: 'SHA-512', content: Buffer.from(content, 'base64').toString('hex') }];
  return {
    'bom-ref': purl,
    type: 'library',
    name,
    version,
    ...(hashes && { hashes }),
    ...(license && { licenses: licenses(license) }),
    purl,
  };
}

function nodePurl(version) {
  return `pkg:generic/node@${version}`;
}

function nodeComponent(version) {
  const purl = nodePurl(version);
  const cpe = `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*`;
  return { 'bom-ref': purl, type: 'platform', name: 'node', version, licenses: licenses('MIT'), cpe, purl };
}

function debianComponent({ name, version, architecture }) {
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}`;
  const license = DEBIAN_LICENSES.find((it) => it.name.test(name))?.license;
  return { 'bom-ref': purl, type: 'library', name, version, ...(license && { licenses: licenses(license) }), purl };
}

function licenses(spdx) {
  return /[ (]/.test(spdx) ? [{ expression: spdx }] : [{ license: { id: spdx } }];
}

/** A UUID of version 8, whose bits are ours to choose. */
function uuidOf(text) {
  const hex = createHash('sha256').update(text).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}
