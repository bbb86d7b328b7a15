import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { chmod, chown, cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { built } from '../support/built.ts';
import { cacheManifest, TestServer } from '../support/server.ts';

const MAIN = built('dist/server/main.js');

/** Whom the server runs as: no permission keeps root out. Undefined: as we do. */
const USER = process.getuid?.() === 0 && [MAIN, process.execPath].every(isOpenToAll) ? 65534 : undefined;

/** Where no other user gets at the sources, root without what makes it root. */
const PREFIX =
  process.getuid?.() === 0 && USER === undefined ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] : [];

/** Whether any user may get at a file. */
function isOpenToAll(file: string): boolean {
  for (let place = file; ; place = path.dirname(place)) {
    if ((statSync(place).mode & 0o001) === 0 && place !== file) return false;
    if (place === path.dirname(place)) return true;
  }
}

/** Takes a file or folder away from the user of the server. */
async function takeAway(file: string): Promise<void> {
  if (USER !== undefined) await chown(file, 0, 0);
  await chmod(file, USER === undefined ? 0 : statSync(file).mode & 0o700);
}

describe('a file that the user of the server may not read', () => {
  let folder: string;
  let copies = 0;
  const at = (name: string) => ({
    manifest: path.join(folder, name, 'cache.yaml'),
    data: path.join(folder, name, 'data'),
    disk: path.join(folder, name, 'disk'),
    secrets: path.join(folder, name, 'secrets'),
  });
  type Place = ReturnType<typeof at>;

  const manifestOf = ({ disk }: Place) =>
    cacheManifest(
      'main',
      `storages:
  - {name: disk, local: {path: ${disk}}}
tokens:
  - {name: push, permissions: [Write]}
  - {name: given, permissions: [Write], secretRef: {name: mine, key: token}}
`,
    );

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-owner-'));
    await chmod(folder, 0o755);
    const place = at('original');
    await mkdir(path.join(place.secrets, 'mine'), { recursive: true });
    await writeFile(path.join(place.secrets, 'mine', 'token'), 'given-token');
    const server = await TestServer.start({
      folder: path.join(folder, 'original'),
      manifest: manifestOf(place),
      args: ['--secrets', place.secrets],
    });
    await server.stop();
  });
  after(async () => {
    await own(folder, undefined);
    await rm(folder, { recursive: true, force: true });
  });

  /** Gives all of it to a user, who may read it. */
  async function own(root: string, uid: number | undefined): Promise<void> {
    await chmod(root, 0o755);
    if (uid !== undefined) await chown(root, uid, uid);
    for (const entry of await readdir(root, { withFileTypes: true })) {
      const name = path.join(root, entry.name);
      if (entry.isDirectory()) await own(name, uid);
      else {
        await chmod(name, 0o600);
        if (uid !== undefined) await chown(name, uid, uid);
      }
    }
  }

  /** Runs a server to its end, or until it is ready. */
  async function run({ manifest, data, secrets }: Place): Promise<{ code: number | null; output: string }> {
    const words = ['serve', '-f', manifest, '--data', data, '--secrets', secrets, '--log-format', 'json'];
    const ports = ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'];
    const [program = '', ...args] = [...PREFIX, process.execPath, MAIN, ...words, ...ports];
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: '/',
      ...(USER !== undefined && { uid: USER, gid: USER }),
    });
    let output = '';
    let isAsked = false;
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
      // Once: a second signal would end it without its leave.
      if (isAsked || !output.includes('"msg":"ready"')) return;
      isAsked = true;
      child.kill('SIGTERM');
    });
    const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
    return { code, output };
  }

  async function without(
    fileOf: (place: Place) => string,
  ): Promise<{ place: Place; code: number | null; output: string }> {
    const name = `copy-${++copies}`;
    const place = at(name);
    await cp(path.join(folder, 'original'), path.join(folder, name), { recursive: true });
    await writeFile(place.manifest, manifestOf(place));
    await own(path.join(folder, name), USER);
    await takeAway(fileOf(place));
    return { place, ...(await run(place)) };
  }

  const cache = ({ data }: Place, ...names: string[]) => path.join(data, 'main', ...names);
  const REFUSED: Readonly<Record<string, readonly [fileOf: (place: Place) => string, words: RegExp]>> = {
    'the root key': [
      (place) => cache(place, 'root.key'),
      /^cache main: EACCES: .*; the user of this process.* must own it/,
    ],
    'a signing key': [
      (place) => cache(place, 'signing', 'main.localhost-1'),
      /^cache main: EACCES: .*; the user of this process.* must own it/,
    ],
    'a token': [
      (place) => cache(place, 'tokens', 'push'),
      /^cache main: EACCES: .*; the user of this process.* must own it/,
    ],
    'the folder of tokens': [
      (place) => cache(place, 'tokens'),
      /^cache main: EACCES: .*; the user of this process.* must own it/,
    ],
    'the database': [(place) => cache(place, 'db.sqlite'), /^cache main: .* cannot be opened; this user must own it/],
    'the lock': [(place) => cache(place, 'lock'), /^cache main: .* cannot be opened; this user must own it/],
    'the folder of the cache': [(place) => cache(place), /^cache main: .*main.* cannot be opened; this user must own/],
    'the manifest': [({ manifest }) => manifest, /^EACCES: .*; the user of this process.* must own it/],
    'a value of a Secret': [
      ({ secrets }) => path.join(secrets, 'mine', 'token'),
      /^EACCES: .*; the user of this process.* must own it/,
    ],
  };
  for (const [what, [fileOf, words]] of Object.entries(REFUSED))
    it(`ends the start in one line: ${what}`, async () => {
      const { place, code, output } = await without(fileOf);
      assert.equal(code, 1, output);
      const [line = '', ...more] = output.trimEnd().split('\n');
      assert.deepEqual(more, [], output);
      assert.match(line, /^narwhal-server: /);
      assert.match(line.slice('narwhal-server: '.length), words);
      assert.ok(line.includes(fileOf(place)), line);
    });

  const UNAVAILABLE: Readonly<Record<string, (place: Place) => string>> = {
    'the marker of a storage': ({ disk }) => path.join(disk, '.narwhal'),
    'the objects of a storage': ({ disk }) => path.join(disk, 'objects'),
    'the staging folder of a storage': ({ disk }) => path.join(disk, '.staging'),
    'the folder of a storage': ({ disk }) => disk,
  };
  for (const [what, fileOf] of Object.entries(UNAVAILABLE))
    it(`makes a storage unavailable in one line: ${what}`, async () => {
      const { place, code, output } = await without(fileOf);
      assert.equal(code, 0, output);
      const lines = output
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
      const told = lines.find(({ msg }) => msg === 'storage is unavailable');
      assert.equal(told?.cache, 'main', output);
      assert.ok(told.reason.includes(fileOf(place)), told.reason);
      assert.match(told.reason, /; this user must own the folder and all that is in it$/);
    });
});
