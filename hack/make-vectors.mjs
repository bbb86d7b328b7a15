#!/usr/bin/env node
// Makes test/vectors/nix.json with the nix on PATH (2.8 or newer, no daemon, nothing written outside a temporary
// folder): hashes, content-addressed paths, signatures, NARs and narinfo texts, all from Nix itself.
//
//   node hack/make-vectors.mjs [OUTPUT]
import { execFileSync } from 'node:child_process';
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

const output = process.argv[2] ?? new URL('../test/vectors/nix.json', import.meta.url).pathname;
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-vectors-'));
const store = path.join(work, 'store');
const keyFile = path.join(work, 'secret-key');

const environment = {
  PATH: process.env.PATH,
  // A shared home would answer from the cache that Nix keeps of binary caches.
  HOME: path.join(work, 'home'),
  XDG_CACHE_HOME: path.join(work, 'home/cache'),
  NIX_CONF_DIR: path.join(work, 'conf'),
  NIX_REMOTE: '',
};

const SETTINGS = `experimental-features = nix-command ca-derivations
substituters =
build-users-group =
require-sigs = false
`;

function nix(program, ...args) {
  return execFileSync(program, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 });
}

function nixText(program, ...args) {
  return nix(program, ...args)
    .toString()
    .trim();
}

function write(name, contents) {
  const file = path.join(work, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, contents);
  return file;
}

// The same bytes in every run, so that a new run changes the file only where Nix does.
function bytesOf(label, size) {
  return crypto.createHash('shake256', { outputLength: size }).update(label).digest();
}

function hashes() {
  const vectors = [];
  for (const algorithm of ['md5', 'sha1', 'sha256', 'sha512']) {
    for (let i = 0; i < 6; i++) {
      const hex = crypto.hash(algorithm, `${algorithm}-${i}`);
      vectors.push({
        algorithm,
        hex,
        nix32: nixText('nix-hash', '--type', algorithm, '--to-base32', hex),
        base64: nixText('nix', 'hash', 'to-base64', '--type', algorithm, hex),
        sri: nixText('nix', 'hash', 'to-sri', '--type', algorithm, hex),
      });
    }
  }
  return vectors;
}

function makeTrees() {
  const trees = path.join(work, 'trees');
  for (let size = 0; size <= 17; size += size < 9 ? 1 : 4) write(`trees/file-${size}`, bytesOf('file', size));
  write('trees/program', '#!/bin/sh\necho hello\n');
  fs.chmodSync(path.join(trees, 'program'), 0o755);
  fs.symlinkSync('/nix/store/somewhere', path.join(trees, 'link'));
  fs.mkdirSync(path.join(trees, 'empty'));
  for (const name of ['a', 'b', 'B', 'a.b', 'a-b', 'ab', 'x y', '\u00e9', '\u{1f433}', '~', '...', 'n'.repeat(255)]) {
    write(`trees/names/${name}`, name.slice(0, 20));
  }
  write(`trees/deep/${'d/'.repeat(40)}leaf`, 'deep');
  write('trees/mixed/bin/tool', '#!/bin/sh\n');
  fs.chmodSync(path.join(trees, 'mixed/bin/tool'), 0o755);
  write('trees/mixed/lib/data', bytesOf('data', 3000));
  fs.symlinkSync('bin/tool', path.join(trees, 'mixed/tool'));
  fs.mkdirSync(path.join(trees, 'mixed/share'));
  return fs
    .readdirSync(trees)
    .sort()
    .map((name) => path.join(trees, name));
}

function nars(trees) {
  return trees.map((tree) => ({
    name: path.basename(tree),
    nar: nix('nix-store', '--dump', tree).toString('base64'),
    narHash: `sha256:${nixText('nix-hash', '--type', 'sha256', '--base32', tree)}`,
  }));
}

function addContentAddressed(trees) {
  for (const tree of trees) nix('nix-store', '--store', store, '--add', tree);
  const flat = write('plus+equals=question?', bytesOf('flat', 700));
  for (const algorithm of ['md5', 'sha1', 'sha256', 'sha512']) {
    nix('nix-store', '--store', store, '--add-fixed', algorithm, flat);
    nix('nix-store', '--store', store, '--add-fixed', '--recursive', algorithm, trees.at(-1));
  }
  const expression = `
    let a = builtins.toFile "text-a" "a";
        b = builtins.toFile "text-b" "b after \${a}";
    in [ a b (builtins.toFile "text-c" "c after \${b} and \${a}") ]`;
  nix('nix-instantiate', '--store', store, '--eval', '--strict', '--json', '--read-write-mode', '-E', expression);
}

// A path that holds its own name and has a deriver comes in as from a binary cache: no build, hence no sandbox.
function addInputAddressed() {
  const basename = '7rjj86a15146cq1d3qy068lml7n7ykzm-self-1.0';
  const storePath = `/nix/store/${basename}`;
  const tree = write('self', `I am ${storePath}\n`);
  const nar = nix('nix-store', '--dump', tree);
  write('import/nar/self.nar', nar);
  write('import/nix-cache-info', 'StoreDir: /nix/store\n');
  write(
    `import/${basename.slice(0, 32)}.narinfo`,
    `${[
      `StorePath: ${storePath}`,
      'URL: nar/self.nar',
      'Compression: none',
      `NarHash: sha256:${crypto.hash('sha256', nar)}`,
      `NarSize: ${nar.length}`,
      `References: ${basename}`,
      'Deriver: 2c7sgx69p4mmp76cvmi5j6c72dj76jj8-self-1.0.drv',
    ].join('\n')}\n`,
  );
  nix('nix', 'copy', '--from', `file://${path.join(work, 'import')}`, '--to', store, storePath);
  nix('nix', 'store', 'make-content-addressed', '--store', store, storePath);
}

function paths() {
  const infos = JSON.parse(nixText('nix', 'path-info', '--store', store, '--all', '--json', '--sigs'));
  return infos
    .map(({ path: storePath, ca, deriver, narHash, narSize, references, signatures }) => {
      return { storePath, ca, deriver, narHash, narSize, references, signatures };
    })
    .sort((a, b) => (a.storePath < b.storePath ? -1 : 1));
}

function narInfos(compression) {
  const cache = path.join(work, `cache-${compression}`);
  nix('nix', 'copy', '--from', store, '--to', `file://${cache}?compression=${compression}`, '--all');
  return fs
    .readdirSync(cache)
    .filter((name) => name.endsWith('.narinfo'))
    .sort()
    .map((name) => fs.readFileSync(path.join(cache, name), 'utf8'));
}

try {
  write('conf/nix.conf', SETTINGS);
  const secretKey = `vectors-1:${seedAndPublic().toString('base64')}`;
  fs.writeFileSync(keyFile, secretKey);
  const trees = makeTrees();
  addContentAddressed(trees);
  addInputAddressed();
  nix('nix', 'store', 'sign', '--store', store, '--all', '--key-file', keyFile);
  const vectors = {
    nix: nixText('nix', '--version'),
    hashes: hashes(),
    nars: nars(trees),
    secretKey,
    publicKey: execFileSync('nix', ['key', 'convert-secret-to-public'], {
      env: environment,
      input: secretKey,
    }).toString(),
    paths: paths(),
    narInfos: [...narInfos('xz'), ...narInfos('none').slice(0, 3), ...narInfos('zstd').slice(0, 3)],
  };
  fs.mkdirSync(path.dirname(output), { recursive: true });
  fs.writeFileSync(output, `${JSON.stringify(vectors, null, 1)}\n`);
  console.log(`${output}: ${fs.statSync(output).size} bytes, ${vectors.paths.length} paths`);
} finally {
  execFileSync('chmod', ['-R', 'u+w', work]);
  fs.rmSync(work, { recursive: true });
}

// A fixed test key: worthless, but the same in each run.
function seedAndPublic() {
  const seed = bytesOf('test key', 32);
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const key = crypto.createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  return Buffer.concat([seed, crypto.createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(12)]);
}
