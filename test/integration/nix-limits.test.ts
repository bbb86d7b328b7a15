// What is refused before or while a body is read: `100 Continue` only after the checks that need none, sizes, encodings.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { nixPath } from '../support/nix-path.ts';
import { put, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';
import { compress } from '../unit/cache/verify/support.ts';

const DRV = '00000000000000000000000000000000-thing-1.0.drv';
const KIB = 1024;
const LIMITS = `limits:
  maxNarSize: 1Mi
  maxListingSize: 96Ki
  maxLogSize: 96Ki
`;
const FULL = standardSpec.replace('local: {}', 'local: {}\n    capacity: 1k');

describe('bodies of the nix protocol', () => {
  let server: TestServer;
  let pushUrl: string;
  let auth: Record<string, string>;

  before(async () => {
    const manifest = `${cacheManifest('main', standardSpec + LIMITS)}---\n${cacheManifest('full', FULL)}`;
    server = await TestServer.start({ manifest });
    pushUrl = `${server.api()}/push`;
    auth = await server.auth();
  });
  after(() => server.remove());

  const announced = (
    where: string,
    body: Uint8Array | string,
    headers: Record<string, string> = auth,
    base = pushUrl,
  ) => send(base, where, { method: 'PUT', body, headers, expect: true });

  /** Each family with a bound, and that bound. */
  const bounded: [where: string, bytes: number][] = [
    [`/${'0'.repeat(32)}.narinfo`, 64 * KIB],
    [`/${'0'.repeat(32)}.ls`, 96 * KIB],
    [`/log/${DRV}`, 96 * KIB],
    [`/debuginfo/${'0'.repeat(40)}.debug`, 64 * KIB],
    [`/realisations/sha256:${'0'.repeat(64)}!out.doi`, 64 * KIB],
    [`/build-trace-v2/${DRV}/out.doi`, 64 * KIB],
    ['/nix-cache-info', 64 * KIB],
  ];

  /** A body that a family takes, of so many bytes. */
  function filled(where: string, bytes: number): string {
    const outPath = `${'0'.repeat(32)}-x`;
    const texts: [ending: string, text: object][] = [
      ['.ls', { version: 1, root: { type: 'regular', size: 1 } }],
      ['!out.doi', { id: `sha256:${'0'.repeat(64)}!out`, outPath }],
      ['/out.doi', { outPath }],
      ['.debug', { archive: '../nar/x', member: 'x' }],
    ];
    const text = texts.find(([ending]) => where.endsWith(ending))?.[1];
    return (text === undefined ? '' : JSON.stringify(text)).padEnd(bytes, ' ');
  }

  it('are asked for at once when nothing speaks against them', async () => {
    const path = nixPath();
    for (const [where, body] of [
      [`/${path.url}`, path.file],
      [`/${path.hashPart}.narinfo`, path.narinfo],
      [`/log/${DRV}`, 'a log\n'],
    ] as const) {
      const reply = await announced(where, body);
      assert.equal(reply.status, 200, reply.text);
      assert.equal(reply.continued, true, where);
    }
  });

  it('are not asked for without a token that may write', async () => {
    const path = nixPath();
    const strangers: Record<string, string>[] = [{}, await server.auth('read'), { authorization: 'Bearer nonsense' }];
    for (const headers of strangers) {
      for (const where of [`/${path.url}`, ...bounded.map(([where]) => where)]) {
        const reply = await announced(where, path.file, headers);
        assert.equal(reply.status, 401, where);
        assert.equal(reply.continued, false, where);
        assert.match(reply.text, /^cache main: [ -~]+\n$/);
      }
    }
  });

  it('are not asked for when they are announced as too large', async () => {
    const path = nixPath({ tree: { type: 'regular', contents: randomBytes(2 ** 20) }, compression: 'none' });
    for (const [where, bytes] of [...bounded, [`/${path.url}`, 2 ** 20] as const]) {
      const reply = await announced(where, Buffer.alloc(bytes + 1));
      assert.equal(reply.status, 413, where);
      assert.equal(reply.continued, false, where);
      assert.equal(reply.text, `larger than the limit of ${bytes} bytes\n`);
    }
  });

  it('are not asked for when no storage has room', async () => {
    const path = nixPath({ tree: { type: 'regular', contents: randomBytes(5000) } });
    const headers = await server.auth('push', 'full');
    const reply = await announced(`/${path.url}`, path.file, headers, `${server.api('full')}/push`);
    assert.equal(reply.status, 413);
    assert.equal(reply.continued, false);
    assert.equal(reply.text, `no storage of this cache has room for ${path.file.length} more bytes\n`);
  });

  it('are not asked for in an encoding that is not known', async () => {
    const path = nixPath();
    for (const encoding of ['compress', 'none', 'gzip, zstd', 'x']) {
      for (const where of [`/${path.url}`, `/${path.hashPart}.narinfo`, `/log/${DRV}`]) {
        const reply = await announced(where, 'x', { ...auth, 'content-encoding': encoding });
        assert.equal(reply.status, 415, `${where} ${encoding}`);
        assert.equal(reply.continued, false, where);
        assert.equal(reply.text, `Content-Encoding ${encoding} is not supported\n`);
      }
    }
  });

  it('are read up to their limit and no further', async () => {
    for (const [where, bytes] of bounded.filter(([where]) => !where.endsWith('info'))) {
      assert.equal((await put(pushUrl, where, filled(where, bytes), auth)).status, 200, where);
      const stored = (await send(server.api(), where)).body.length;
      const unannounced = { ...auth, 'transfer-encoding': 'chunked' };
      const reply = await send(pushUrl, where, {
        method: 'PUT',
        body: filled(where, bytes + 1),
        headers: unannounced,
      });
      assert.equal(reply.status, 413, where);
      assert.equal((await send(server.api(), where)).body.length, stored, 'the one within the limit stays');
      // Realisations are written anew.
      if (!where.endsWith('.doi')) assert.equal(stored, bytes);
    }
  });

  for (const encoding of ['gzip', 'br', 'zstd', 'xz', 'bzip2'] as const) {
    it(`that are bombs in ${encoding} stop at the limit`, async () => {
      const headers = { ...auth, 'content-encoding': encoding };
      const bomb = compress(encoding, Buffer.alloc(20_000_000, ' '));
      for (const [where, bytes] of [...bounded, [`/nar/${'0'.repeat(52)}.nar`, 2 ** 20] as const]) {
        const reply = await put(pushUrl, where, bomb, headers);
        assert.equal(reply.status, 413, `${where}: ${reply.text}`);
        assert.match(reply.text, new RegExp(`${bytes} bytes`));
      }
    });

    it(`with NARs that are bombs in ${encoding} stop at the limit`, async () => {
      const path = nixPath({ tree: { type: 'regular', contents: Buffer.alloc(20_000_000) }, compression: encoding });
      const reply = await put(pushUrl, `/${path.url}`, path.file, auth);
      assert.equal(reply.status, 413, reply.text);
      assert.match(reply.text, /^the NAR is larger than 1048576 bytes, the limit\n$/);
    });
  }
});
