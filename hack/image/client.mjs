// The image of test clients: nix, curl and a shell above the product's layers, and the sources of the tests, which Node
// runs as they are. For tests in a cluster; nobody publishes it.
import fs from 'node:fs';
import path from 'node:path';
import { unpackDebian } from '../components/debian.mjs';
import { root } from '../lib/places.mjs';
import { certificates } from './base.mjs';
import { imageFolder } from './kept.mjs';
import { productConfig } from './product.mjs';

const RECIPE = 1;
/** The newest nix, and with it a C library that is newer than the base's: programs of the base run with a newer one too. */
const SUITE = 'sid';
const PACKAGES = ['nix-bin', 'bash-static', 'coreutils', 'findutils', 'grep', 'sed', 'curl', 'ca-certificates'];
/** No sandbox: it takes user namespaces, which pods have seldom. */
const NIX_CONF = `experimental-features = nix-command flakes ca-derivations
substituters =
flake-registry =
build-users-group =
sandbox = false
`;
/** What test/support imports. */
export const CLIENT_SOURCES = ['crds', 'server', 'operator', 'hack', 'test/support'];

export const clientConfig = {
  ...productConfig,
  ExposedPorts: undefined,
  Entrypoint: undefined,
  Cmd: ['/bin/sh'],
  Env: [
    ...productConfig.Env.filter((line) => !line.startsWith('NARWHAL_')),
    // Not /tmp itself: nix wants a home that is its user's, and makes it.
    'HOME=/tmp/home',
    'LC_ALL=C',
    // A chroot store needs no root and no /nix, but nothing can be built in it without a user namespace. With a volume at
    // /nix, NIX_REMOTE=local builds too.
    'NIX_REMOTE=/tmp/nix',
    'SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt',
  ],
};

/** The unpacked packages, fetched if need be. @returns {Promise<string>} a folder */
export function ensureClientPackages() {
  return imageFolder('client-packages', { SUITE, PACKAGES, RECIPE }, (draft) =>
    unpackDebian({ suite: SUITE, packages: PACKAGES, folder: draft }),
  );
}

/**
 * @param {string} packages what ensureClientPackages() answered
 * @returns {Record<'nix' | 'sources', import('./layer.mjs').Layer>}
 */
export function clientLayers(packages) {
  return {
    nix: {
      entries: [
        ...fs.readdirSync(path.join(packages, 'usr')).map((name) => ({
          from: path.join(packages, 'usr', name),
          to: `/usr/${name}`,
        })),
        { path: '/usr/bin/sh', link: 'bash-static' },
        { path: '/usr/bin/bash', link: 'bash-static' },
        { path: '/etc/ssl/certs/ca-certificates.crt', text: certificates(packages) },
        { path: '/etc/nix/nix.conf', text: NIX_CONF },
        { path: '/nix', folder: true },
      ],
    },
    sources: {
      entries: [
        ...CLIENT_SOURCES.map((name) => ({ from: path.join(root, name), to: `/app/${name}` })),
        { from: path.join(root, 'package.json'), to: '/app/package.json' },
      ],
    },
  };
}
