import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { makePath, type TestPath } from '../support/nars.ts';
import { completeUpload, createUpload, isServed, pushByCachix, pushByPut, Refusal, sendPart } from '../support/push.ts';
import { cacheManifest, TestServer, until } from '../support/server.ts';
import { mountTmpfs, skipsTmpfs, type Tmpfs } from '../support/tmpfs.ts';

const DISK_BYTES = 8 * 2 ** 20;
const tooBig = () => makePath({ contents: randomBytes(12 * 2 ** 20) });

describe('a server whose disk is full', () => {
  let folder: string;
  let small: Tmpfs;
  let server: TestServer;
  let published: TestPath;

  function manifest(more = ''): string {
    return cacheManifest(
      'main',
      `storages:
  - {name: small, local: {path: ${small.folder}/store}}
${more}limits: {diskReserve: 64Ki}
tokens:
  - {name: push, permissions: [Write]}
`,
    );
  }

  before(async function () {
    if (skipsTmpfs()) return this.skip();
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-full-'));
    small = await mountTmpfs(path.join(folder, 'small'), DISK_BYTES);
  });
  beforeEach(async () => {
    server = await TestServer.start({ manifest: manifest() });
    published = makePath();
    await pushByPut(server, published);
  });
  afterEach(async () => {
    await server.remove();
    await rm(path.join(small.folder, 'store'), { recursive: true });
  });
  after(async () => {
    await small?.unmount();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  /** What was there is there, what is small goes in, and nothing of the failed push takes room. */
  async function assertUnharmed(): Promise<void> {
    assert.ok(await isServed(server, published));
    await until('nothing is left in the staging folder', async () => {
      return (await readdir(path.join(small.folder, 'store', '.staging'))).length === 0;
    });
    const { bavail, bsize } = await statfs(small.folder);
    assert.ok(bavail * bsize > DISK_BYTES / 2);
    assert.doesNotMatch(server.output, /"level":(50|60)/, 'a full disk is no error of the server');
  }

  it('refuses a NAR that says how long it is before its body, with one line of text', async () => {
    const refusal = await refusalOf(pushByPut(server, tooBig()));
    assert.equal(refusal.status, 413);
    assert.match(refusal.text, /^no storage of this cache has room for \d+ more bytes\n$/);
    await assertUnharmed();
  });

  it('refuses a NAR of unknown length once the disk is full', async () => {
    const { status, text } = await putChunked(server, tooBig());
    assert.equal(status, 413);
    assert.match(text, /^[ -~]+\n$/);
    await assertUnharmed();
  });

  it('refuses a part that does not fit', async () => {
    const refusal = await refusalOf(pushByCachix(server, tooBig()));
    assert.equal(refusal.status, 413);
    assert.match(refusal.text, /^[ -~]+\n$/);
    await assertUnharmed();
  });

  it('drops an upload whose parts do not fit together', async () => {
    const it = tooBig();
    const upload = await createUpload(server);
    const half = it.file.length >> 1;
    const first = await sendPart(upload, 1, it.file.subarray(0, half));
    const refusal = await refusalOf(sendPart(upload, 2, it.file.subarray(half)));
    assert.equal(refusal.status, 413);
    const later = await refusalOf(completeUpload(upload, it, [first]));
    assert.ok(later.status === 400 || later.status === 404, String(later.status));
  });

  it('takes pushes again as soon as there is room', async () => {
    await refusalOf(pushByPut(server, tooBig()));
    await pushByPut(server, makePath());
    await pushByCachix(server, makePath());
  });

  it('takes pushes again as soon as the disk has grown, also where a write has just found it full', async () => {
    assert.equal((await putChunked(server, tooBig())).status, 413);
    const refusal = await refusalOf(pushByPut(server, makePath()));
    assert.equal(refusal.status, 413, 'what was full is left out for a while');
    await small.resize(4 * DISK_BYTES);
    try {
      const it = tooBig();
      await until('it is taken', () =>
        pushByPut(server, it).then(
          () => true,
          () => false,
        ),
      );
      assert.ok(await isServed(server, it));
    } finally {
      await server.stop();
      await rm(path.join(small.folder, 'store'), { recursive: true });
      await small.resize(DISK_BYTES);
      await mkdir(path.join(small.folder, 'store'));
    }
  });

  it('goes on in another storage in mid-stream where there is one', async () => {
    await server.writeManifest(manifest('  - {name: large, local: {}}\n'));
    await until('the second storage is in use', () => server.output.includes('the changed manifests are applied'));
    const it = tooBig();
    const answer = await putChunked(server, it);
    assert.equal(answer.status, 200, answer.text);
    const headers = await server.auth();
    const url = `${server.api()}/push/${it.hashPart}.narinfo`;
    assert.equal((await fetch(url, { method: 'PUT', headers, body: it.narinfo })).status, 200);
    assert.ok(await isServed(server, it));
    await assertUnharmed();
  });
});

async function refusalOf(push: Promise<unknown>): Promise<Refusal> {
  const error = await push.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof Refusal, `expected a refusal, got ${error}`);
  return error;
}

/** PUT of a NAR without Content-Length: only the disk can tell that it does not fit. */
async function putChunked(server: TestServer, it: TestPath): Promise<{ status: number; text: string }> {
  const headers = await server.auth();
  return new Promise((resolve, reject) => {
    const request = http.request(`${server.api()}/push/${it.narUrl}`, { method: 'PUT', headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on('error', reject);
    // Two writes: a body that is given whole would get a Content-Length.
    request.write(it.file.subarray(0, 1));
    request.end(it.file.subarray(1));
  });
}
