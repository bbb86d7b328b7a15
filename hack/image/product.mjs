// The product's image: one for server, operator and gateway. The Dockerfile makes the same of the same parts.
import path from 'node:path';
import { productEnv } from '../lib/launch.mjs';
import { root } from '../lib/places.mjs';

/** The user of the image, as operator and chart name it. */
const USER = 65532;
const SBOM = '/usr/share/sbom/narwhal.cdx.json';
const SOURCE = 'https://github.com/narwhal-cache/narwhal';

/** What a container runs unless it is told otherwise: a server of the manifests that are mounted at /etc/narwhal. */
export const productConfig = {
  User: `${USER}:${USER}`,
  ExposedPorts: { '8080/tcp': {}, '9090/tcp': {} },
  Env: [
    'PATH=/usr/local/bin:/usr/bin:/bin',
    ...Object.entries(productEnv).map(([name, value]) => `${name}=${value}`),
    'NARWHAL_FILE=/etc/narwhal',
    'NARWHAL_DATA=/data',
    'NARWHAL_LISTEN=:8080',
    'NARWHAL_ADMIN_LISTEN=:9090',
  ],
  Entrypoint: ['narwhal-server'],
  Cmd: ['serve'],
  WorkingDir: '/',
};

/**
 * Labels of the image.
 * @param {{ version: string, description: string, license: string }} manifest package.json
 * @param {string} [revision] the commit, where it is known
 */
export function productLabels({ version, description, license }, revision) {
  return {
    'org.opencontainers.image.title': 'Narwhal',
    'org.opencontainers.image.description': description,
    'org.opencontainers.image.source': SOURCE,
    'org.opencontainers.image.licenses': license,
    'org.opencontainers.image.version': version,
    ...(revision && { 'org.opencontainers.image.revision': revision }),
  };
}

/**
 * The layers above the base, from what changes seldom to what changes with each commit.
 * @param {{ node: string, nodeLicense?: string, modules: string, dist: string, sbom: string }} parts files and folders;
 *   `sbom`: its text
 * @returns {Record<'node' | 'modules' | 'app', import('./layer.mjs').Layer>}
 */
export function productLayers({ node, nodeLicense, modules, dist, sbom }) {
  return {
    node: {
      entries: [
        { from: node, to: '/usr/local/bin/node' },
        ...(nodeLicense ? [{ from: nodeLicense, to: '/usr/share/doc/node/LICENSE' }] : []),
      ],
    },
    modules: { entries: [{ from: modules, to: '/app/node_modules' }] },
    app: {
      entries: [
        { from: path.join(root, 'hack/image/rootfs'), to: '/' },
        { from: dist, to: '/app/dist' },
        { from: path.join(root, 'package.json'), to: '/app/package.json' },
        { from: path.join(root, 'LICENSE'), to: '/app/LICENSE' },
        { path: SBOM, text: sbom },
        { path: '/etc/narwhal', folder: true },
        { path: '/data', folder: true, uid: USER, gid: USER },
      ],
    },
  };
}
