// `npm run build`: brings dist/ up to date, what `npm start`, `bin` and the tests run. `node hack/build.mjs FOLDER`: the same
// into a folder, for images, without source maps. A program and what it needs of packages is a few files, not a
// thousand: a start takes a quarter less processor time, and no types are stripped in every thread.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { buildSync } from 'esbuild';
import { root } from './lib/places.mjs';

const DIST = path.join(root, 'dist');

/** Files with names of their own. The worker lies beside the chunk that starts it. */
const ENTRIES = {
  'server/main': 'server/main.ts',
  'operator/main': 'operator/main.ts',
  'chunks/worker': 'server/cache/verify/worker.ts',
};

/**
 * Packages that stay as they are, beside dist/: with native halves, with files or threads of their own, or by name and
 * late; the SDK, because it would start no faster. The others are databases of knex that are not ours.
 */
const EXTERNAL = [
  ...['sqlite3', 'node-liblzma', 'pino', 'pino-pretty', 'pg', '@aws-sdk/client-s3', '@aws-sdk/s3-request-presigner'],
  ...['better-sqlite3', 'mariadb', 'mysql', 'mysql2', 'oracledb', 'pg-native', 'pg-query-stream', 'tedious'],
];

/** What packages of the older kind ask for by name is found from where they lie now. */
const BANNER = `import { createRequire as __createRequire } from 'node:module';
const require = __createRequire(import.meta.url);`;

/** Files that a program reads as they are; each is as far from the programs as it is from the sources that name it. */
const READ = { 'http/openapi.yaml': 'server/http/openapi.yaml' };

/** All that decides what is built. */
const SOURCES = [
  ...Object.values(READ),
  'crds',
  'operator',
  'server',
  'hack/build.mjs',
  'package-lock.json',
  'tsconfig.json',
];
/** Of a build that is old: a program that runs since then may still want a chunk of it. */
const KEPT_MS = 86_400_000;

const [folder] = process.argv.slice(2);
if (folder === undefined) bringUpToDate();
else build(path.resolve(folder), { sourcemap: false });

function bringUpToDate() {
  const stamp = path.join(DIST, '.built');
  const sources = digestOfSources();
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === sources) return;
  build(DIST, { sourcemap: true });
  fs.writeFileSync(stamp, sources);
  removeOld();
}

function digestOfSources() {
  const hash = createHash('sha256');
  for (const place of SOURCES) {
    const full = path.join(root, place);
    const names = fs.statSync(full).isDirectory() ? fs.readdirSync(full, { recursive: true }).sort() : [''];
    for (const name of names.filter((it) => it === '' || it.endsWith('.ts')))
      hash.update(`${place}/${name}\0`).update(fs.readFileSync(path.join(full, name)));
  }
  return hash.digest('hex');
}

function removeOld() {
  const before = Date.now() - KEPT_MS;
  for (const name of fs.readdirSync(path.join(DIST, 'chunks'))) {
    const file = path.join(DIST, 'chunks', name);
    if (fs.statSync(file).mtimeMs < before) fs.rmSync(file, { force: true });
  }
}

/**
 * Writes the programs into a folder. A program may run there meanwhile: what it may want is replaced whole, or stays.
 * @param {string} folder
 */
function build(folder, { sourcemap }) {
  const { outputFiles } = buildSync({
    absWorkingDir: root,
    entryPoints: Object.entries(ENTRIES).map(([out, file]) => ({ in: file, out })),
    outdir: folder,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    external: EXTERNAL,
    banner: { js: BANNER },
    sourcemap,
    write: false,
    logLevel: 'error',
  });
  const read = Object.entries(READ).map(([out, file]) => ({
    path: path.join(folder, out),
    contents: fs.readFileSync(path.join(root, file)),
  }));
  for (const { path: file, contents } of [...outputFiles, ...read]) {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const draft = `${file}.${process.pid}`;
    fs.writeFileSync(draft, contents);
    fs.renameSync(draft, file);
  }
}
