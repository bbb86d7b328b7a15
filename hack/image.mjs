// `npm run image -- [--client] [--name REFERENCE] [--out FILE]`: the image of this clone as an archive, without a
// registry, a daemon or root. For tests, and for clusters that load images from files; users have the Dockerfile.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { setUp } from './setup.mjs';

const USAGE = 'usage: npm run image -- [--client] [--name REFERENCE] [--out FILE]';

/**
 * The archive of an image, built if need be and kept. Two at once wait for each other.
 * @param {'narwhal' | 'client'} kind the product, or the test clients with nix
 * @param {{ reference?: string, say?: (line: string) => void }} [options] `reference`: another name than its own
 * @returns {Promise<import('./image/make.mjs').Image>}
 */
export async function ensureImage(kind, { reference, say = announce } = {}) {
  await setUp();
  // With packages, which are there from here on.
  const { makeImage } = await import('./image/make.mjs');
  return makeImage(kind, { ...(reference && { reference }), say });
}

function announce(line) {
  console.error(`image: ${line}`);
}

async function main(args) {
  const flags = parse(args);
  if (!flags) return usage();
  const image = await ensureImage(flags.client ? 'client' : 'narwhal', { reference: flags.name });
  const out = flags.out && path.resolve(flags.out);
  if (out) {
    fs.copyFileSync(image.file, out);
    if (image.sbom) fs.copyFileSync(image.sbom, `${out}.cdx.json`);
  }
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1).padStart(6)} MB`;
  console.log(`${image.reference}\n${image.digest}\n${out ?? image.file}`);
  for (const [part, bytes] of Object.entries(image.parts)) console.log(`  ${part.padEnd(8)} ${megabytes(bytes)}`);
  console.log(`  ${'unpacked'.padEnd(8)} ${megabytes(image.unpackedBytes)}`);
  return 0;
}

function usage() {
  console.error(USAGE);
  return 1;
}

/** The flags, or nothing when they are not ours. */
function parse(args) {
  const flags = { client: false, name: undefined, out: undefined };
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === '--client') flags.client = true;
    else if ((arg === '--name' || arg === '--out') && rest.length > 0) flags[arg.slice(2)] = rest.shift();
    else return undefined;
  }
  return flags;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    console.error(`no image: ${error.message}`);
    process.exitCode = 1;
  }
}
