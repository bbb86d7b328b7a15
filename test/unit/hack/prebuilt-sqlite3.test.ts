import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import tar from 'tar-stream';
import { root } from '../../../hack/lib/places.mjs';
import { archiveName, installPrebuilt, KNOWN } from '../../../hack/lib/prebuilt-sqlite3.mjs';

const ADDON = Buffer.from('an addon\n'.repeat(1000));

describe('the prebuilt half of sqlite3', () => {
  const manifest = JSON.parse(fs.readFileSync(path.join(root, 'node_modules/sqlite3/package.json'), 'utf8'));
  const name = archiveName(manifest);
  let folder: string;
  let releases: string;
  let server: http.Server;
  let archive: Buffer;
  let answers: Record<string, (response: http.ServerResponse) => void>;
  const addon = () => path.join(folder, 'build/Release/node_sqlite3.node');

  before(async () => {
    const pack = tar.pack();
    pack.entry({ name: 'build/Release/other.node' }, 'something else');
    pack.entry({ name: 'build/Release/node_sqlite3.node' }, ADDON);
    pack.finalize();
    archive = gzipSync(await buffer(pack));
    server = http.createServer(({ url = '' }, response) => {
      const answer = answers[url];
      if (answer) answer(response);
      else response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    releases = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-prebuilt-'));
    fs.writeFileSync(path.join(folder, 'package.json'), JSON.stringify(manifest));
    answers = {
      [`/v${manifest.version}/${name}`]: (response) => response.writeHead(302, { location: '/file' }).end(),
      '/file': (response) => response.end(archive),
    };
  });
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

  const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

  it('is taken where its archive has the hash that is known', async () => {
    await installPrebuilt(folder, { known: { [name]: sha256(archive) }, releases });
    assert.deepEqual(fs.readFileSync(addon()), ADDON);
  });

  const refused: readonly (readonly [string, () => Record<string, string>, RegExp])[] = [
    ['its archive is another one', () => ({ [name]: sha256(ADDON) }), /has the SHA-256 [0-9a-f]{64}, expected is/],
    ['no hash of it is known', () => ({}), /^no SHA-256 of sqlite3-v\S+ is known$/],
  ];
  for (const [why, known, reason] of refused)
    it(`is not taken where ${why}, and nothing of it stays`, async () => {
      await assert.rejects(installPrebuilt(folder, { known: known(), releases }), { message: reason });
      assert.deepEqual(fs.readdirSync(folder), ['package.json']);
    });

  it('is not taken where it cannot be had, is no archive, or has no addon', async () => {
    const known = { [name]: sha256(archive) };
    answers = {};
    await assert.rejects(installPrebuilt(folder, { known, releases }), { message: /: 404$/ });
    answers = { [`/v${manifest.version}/${name}`]: () => {} };
    await assert.rejects(installPrebuilt(folder, { known, releases, limitMs: 100 }), { name: 'TimeoutError' });
    for (const bytes of [Buffer.from('garbage'), gzipSync('garbage'), gzipSync(Buffer.alloc(1024))]) {
      answers = { [`/v${manifest.version}/${name}`]: (response) => response.end(bytes) };
      await assert.rejects(installPrebuilt(folder, { known: { [name]: sha256(bytes) }, releases }));
    }
    assert.deepEqual(fs.readdirSync(folder), ['package.json']);
  });

  it('is named as its releases are', () => {
    const names = [
      ['linux-x64', 'sqlite3-v6.0.1-napi-v6-linux-x64.tar.gz'],
      ['linuxmusl-arm64', 'sqlite3-v6.0.1-napi-v6-linuxmusl-arm64.tar.gz'],
    ] as const;
    const six = { version: '6.0.1', binary: { napi_versions: [3, 6] } };
    for (const [platform, expected] of names) assert.equal(archiveName(six, { napi: '10', platform }), expected);
    assert.equal(archiveName(six, { napi: '5', platform: 'linux-x64' }), 'sqlite3-v6.0.1-napi-v3-linux-x64.tar.gz');
  });

  it('has hashes of the version in the lockfile, and of no other', () => {
    const { version } = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages[
      'node_modules/sqlite3'
    ];
    assert.ok(Object.keys(KNOWN).length > 0);
    for (const [archive, hash] of Object.entries(KNOWN)) {
      assert.ok(archive.startsWith(`sqlite3-v${version}-napi-v`), archive);
      assert.match(String(hash), /^[0-9a-f]{64}$/);
    }
  });
});
