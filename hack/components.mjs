// `node hack/components.mjs nix wrk`: fetches what tests and the bench need into the cache folder, and says what came.
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { ensureKubernetes } from './components/kubernetes.mjs';
import { ensureNix } from './components/nix.mjs';
import { ensureNode } from './components/node.mjs';
import { ensurePostgres } from './components/postgres.mjs';
import { ensureProgram, PROGRAMS } from './components/programs.mjs';
import { ensureVersitygw, VERSITYGW_VERSION } from './components/versitygw.mjs';
import { ensureImage } from './image.mjs';

/** Every component: a function that makes it available and says in a line what there is. */
export const COMPONENTS = {
  nix: async () => (await ensureNix()).map(({ label, version }) => `${version} (${label})`).join(', '),
  postgres: async () => {
    const { version, bin } = await ensurePostgres();
    return `${version} (${bin})`;
  },
  kubernetes: async () => {
    const { version, helmVersion, bin, etcd } = await ensureKubernetes();
    return `${version}, helm ${helmVersion} (${bin}), ${etcd.at(-1)}`;
  },
  // A node of Kubernetes: with `kubernetes`, a whole cluster on this machine.
  cluster: async () => {
    const { version, node, coredns } = await ensureNode();
    return `${version} (${node}), CoreDNS (${path.dirname(coredns)})`;
  },
  image: async () => {
    const images = [await ensureImage('narwhal'), await ensureImage('client')];
    return images
      .map(({ reference, unpackedBytes }) => `${reference} (${Math.round(unpackedBytes / 1e6)} MB)`)
      .join(', ');
  },
  versitygw: async () => `${VERSITYGW_VERSION} (${(await ensureVersitygw())[0]})`,
  ...Object.fromEntries(PROGRAMS.map((name) => [name, async () => (await ensureProgram(name)).at(-1)])),
};

const BUILT_BY_GO = ['kubernetes', 'cluster', 'versitygw'];

/** What `npm test` makes available before the integration tests. */
export const NEEDED_BY_TESTS = [
  ...[
    'nix',
    'zstd',
    'xz',
    'bzip2',
    'lz4',
    'openssl',
    'nginx',
    'postgres',
    'versitygw',
    'kubernetes',
    'cluster',
    'image',
  ],
];

/** Makes a component available; the error of a failure names the command that tries again. */
export async function ensureComponent(name) {
  const ensure = COMPONENTS[name];
  if (!ensure) throw new Error(`there is no component ${name}; there is: ${Object.keys(COMPONENTS).join(', ')}`);
  try {
    return await ensure();
  } catch (error) {
    throw new Error(
      `${error.message}\n${remedyFor(name)} run: node hack/components.mjs ${name}. NARWHAL_SKIP=${name} leaves out the tests that need it.`,
    );
  }
}

function remedyFor(name) {
  if (PROGRAMS.includes(name)) return `Install ${name} with the system's package manager, or`;
  if (name === 'postgres') return "Install PostgreSQL's server with the system's package manager, or on Debian";
  return BUILT_BY_GO.includes(name) ? 'Then' : 'On Debian';
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const names = process.argv.slice(2);
  if (names.length === 0) {
    console.log(
      `usage: node ${path.relative(process.cwd(), process.argv[1])} NAME...\nnames: ${Object.keys(COMPONENTS).join(', ')}`,
    );
  }
  for (const name of names) {
    try {
      console.log(`${name}: ${await ensureComponent(name)}`);
    } catch (error) {
      console.error(`${name}: ${error.message}`);
      process.exitCode = 1;
    }
  }
}
