// The prebuilt native half of the package sqlite3, where its archive has the SHA-256 that prebuilt-sqlite3.json knows.
// npm's lockfile covers the package and not this file, which its install script would take from a release page unseen.
// Runs on Node 24, also by itself: `node hack/lib/prebuilt-sqlite3.mjs node_modules/sqlite3`.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';

const RELEASES = 'https://github.com/TryGhost/node-sqlite3/releases/download';
const ADDON = 'build/Release/node_sqlite3.node';
// An archive has a megabyte.
const MOST_BYTES = 32 * 2 ** 20;
// Where it cannot be had, the answer is quick or never comes.
const LIMIT_MS = 20_000;

/** SHA-256, in hex, by the name of the archive. What is not in it is compiled. */
export const KNOWN = JSON.parse(fs.readFileSync(new URL('prebuilt-sqlite3.json', import.meta.url), 'utf8'));

/**
 * The name of the archive for a platform.
 * @param {{ version: string, binary: { napi_versions: number[] } }} manifest package.json of sqlite3
 */
export function archiveName(manifest, { napi = process.versions.napi, platform = platformName() } = {}) {
  const usable = manifest.binary.napi_versions.filter((version) => version <= Number(napi));
  return `sqlite3-v${manifest.version}-napi-v${Math.max(...usable)}-${platform}.tar.gz`;
}

function platformName() {
  const isMusl = process.platform === 'linux' && process.report.getReport().header.glibcVersionRuntime === undefined;
  return `${process.platform}${isMusl ? 'musl' : ''}-${process.arch}`;
}

/**
 * Puts the addon into the package's folder. Throws with the reason where it is unknown, cannot be had, or is another one.
 * @param {string} folder of the package
 * @param {{ known?: Record<string, string>, releases?: string, limitMs?: number }} [options]
 */
export async function installPrebuilt(folder, { known = KNOWN, releases = RELEASES, limitMs = LIMIT_MS } = {}) {
  const manifest = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
  const name = archiveName(manifest);
  const expected = known[name];
  if (expected === undefined) throw new Error(`no SHA-256 of ${name} is known`);
  const bytes = await download(`${releases}/v${manifest.version}/${name}`, limitMs);
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== expected) throw new Error(`${name} has the SHA-256 ${found}, expected is ${expected}`);
  const addon = fileIn(gunzipSync(bytes, { maxOutputLength: MOST_BYTES }), ADDON);
  const target = path.join(folder, ADDON);
  fs.mkdirSync(path.dirname(target), { recursive: true });
  fs.writeFileSync(target, addon, { mode: 0o755 });
}

async function download(url, limitMs) {
  const response = await fetch(url, { signal: AbortSignal.timeout(limitMs) });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  const pieces = [];
  let size = 0;
  for await (const piece of response.body) {
    size += piece.length;
    if (size > MOST_BYTES) throw new Error(`${url}: larger than ${MOST_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** One file of a tar (POSIX ustar): blocks of 512 bytes, a header before each file. */
function fileIn(tar, wanted) {
  const text = (at, length) => tar.toString('latin1', at, at + length).replace(/\0.*$/s, '');
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    if (!(size >= 0)) break;
    if (text(at, 100).replace(/^\.\//, '') === wanted) return tar.subarray(at + 512, at + 512 + size);
    at += 512 + 512 * Math.ceil(size / 512);
  }
  throw new Error(`the archive has no ${wanted}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    await installPrebuilt(process.argv[2] ?? 'node_modules/sqlite3');
  } catch (error) {
    console.error(`no prebuilt sqlite3: ${error.cause?.message ?? error.message}`);
    process.exitCode = 1;
  }
}
