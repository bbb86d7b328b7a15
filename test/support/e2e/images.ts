/** Images of the servers that stories need beside Narwhal, each with as little as its program takes. */
import fs from 'node:fs';
import path from 'node:path';
import { ownSuite } from '../../../hack/components/debian.mjs';
import { unpackedPostgres } from '../../../hack/components/postgres.mjs';
import { ensureVersitygw, VERSITYGW_VERSION } from '../../../hack/components/versitygw.mjs';
import { imageArchitecture, writeImage } from '../../../hack/image/archive.mjs';
import { baseLayer, ensureBase } from '../../../hack/image/base.mjs';
import { ensureClientPackages } from '../../../hack/image/client.mjs';
import { digestOfSources, imageFolder } from '../../../hack/image/kept.mjs';
import type { World } from './world.ts';

interface Image {
  readonly file: string;
  readonly reference: string;
  readonly digest: string;
}

type Content = Omit<Parameters<typeof writeImage>[0], 'file' | 'reference'>;

const USER = 65532;

/** versitygw, which links to nothing: it is built without cgo. */
export async function ensureS3Image(): Promise<Image> {
  const [program = ''] = await ensureVersitygw();
  return kept('s3', VERSITYGW_VERSION, async () => ({
    layers: [{ entries: [{ from: program, to: '/versitygw' }] }],
    config: { Entrypoint: ['/versitygw'], User: `${USER}:${USER}` },
  }));
}

/** Debian's PostgreSQL above the C library of the same suite, and the shell with which initdb starts programs. */
export async function ensurePostgresImage(): Promise<Image> {
  const { root, bin, version } = await unpackedPostgres();
  if (root === undefined) throw new Error('unreachable: what was unpacked has a folder');
  const [base, client] = [await ensureBase(), await ensureClientPackages()];
  return kept('postgres', `${version}-${ownSuite()}-${path.basename(base)}`, async () => ({
    layers: [
      baseLayer(base),
      {
        entries: [
          { from: path.join(root, 'usr'), to: '/usr', exclude: (name) => /(^|\/)(pgxs|systemd|init)$/.test(name) },
          { from: path.join(client, 'usr/bin/bash-static'), to: '/usr/bin/sh' },
          // initdb asks who it is.
          { path: '/etc/passwd', text: `postgres:x:${USER}:${USER}::/tmp:/bin/sh\n` },
        ],
      },
    ],
    config: { Env: [`PATH=/${path.relative(root, bin)}:/usr/bin`, 'LC_ALL=C', 'TZ=UTC'], User: `${USER}:${USER}` },
  }));
}

/** The image of that content, written once. */
async function kept(name: string, version: string, content: () => Promise<Content>): Promise<Image> {
  const reference = `narwhal.test/${name}:1`;
  const sources = digestOfSources(['test/support/e2e/images.ts']);
  const inputs = { version, sources, architecture: imageArchitecture() };
  const folder = await imageFolder(`test-${name}`, inputs, async (draft) => {
    const { digest } = await writeImage({ ...(await content()), file: path.join(draft, 'image.tar'), reference });
    fs.writeFileSync(path.join(draft, 'digest'), digest);
  });
  const digest = fs.readFileSync(path.join(folder, 'digest'), 'utf8');
  return { file: path.join(folder, 'image.tar'), reference, digest };
}

/** Gives an image to the nodes; its name. A cluster that is not ours must have it, by `npm run cluster:load -- FILE`. */
export async function load(world: World, image: Image): Promise<string> {
  await world.cluster?.load(image.file, image);
  return image.reference;
}
