import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { assertRefused, assertServed, Calls, claimOf, EMPTY, isPublished, Upload } from '../support/cachix-calls.ts';
import { type Pushable, pushable, randomHashPart } from '../support/cachix-paths.ts';
import { stagedFiles } from '../support/disk.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

/** Values that `complete` is sent with instead of the right ones, and the line that answers them. */
const WRONG_CLAIMS: readonly [string, (path: Pushable) => Record<string, unknown>, RegExp][] = [
  ['another file hash', () => ({ cFileHash: randomBytes(32).toString('hex') }), /^cFileHash says/],
  ['a file hash that is none', () => ({ cFileHash: 'abc' }), /hash/i],
  ['another file size', (path) => ({ cFileSize: path.file.length + 1 }), /^cFileSize says/],
  ['a file size of text', (path) => ({ cFileSize: String(path.file.length) }), /^cFileSize: expected a whole number/],
  ['another NAR hash', () => ({ cNarHash: `sha256:${'0'.repeat(52)}` }), /^cNarHash says/],
  ['a NAR hash of another algorithm', () => ({ cNarHash: `sha1:${'0'.repeat(32)}` }), /sha/],
  ['a bigger NAR size', (path) => ({ cNarSize: path.nar.length + 8 }), /NarSize|bytes/i],
  ['a NAR size of 0', () => ({ cNarSize: 0 }), /^cNarSize: expected a whole number/],
  ['half a byte', () => ({ cNarSize: 1.5 }), /^cNarSize: expected a whole number/],
  ['a store hash with a letter that nix32 lacks', () => ({ cStoreHash: 'e'.repeat(32) }), /^cStoreHash: expected/],
  ['a short store hash', () => ({ cStoreHash: '0'.repeat(31) }), /^cStoreHash: expected/],
  ['a name with a slash', () => ({ cStoreSuffix: '../x' }), /^cStoreSuffix: expected/],
  ['an empty name', () => ({ cStoreSuffix: '' }), /^cStoreSuffix: expected/],
  ['a reference with a folder', () => ({ cReferences: [`/nix/store/${'0'.repeat(32)}-x`] }), /cReferences/],
  ['a reference that is no path', () => ({ cReferences: ['hello'] }), /cReferences/],
  ['references that are no list', () => ({ cReferences: 'none' }), /^cReferences: expected a list/],
  ['a deriver that is no derivation', () => ({ cDeriver: 'hello' }), /deriver/i],
  ['a signature that is a number', () => ({ cSig: 7 }), /^cSig: expected/],
];

describe('a Cachix completion that is wrong', () => {
  let server: TestServer;
  let calls: Calls;
  before(async () => {
    server = await TestServer.start();
    calls = await Calls.as(server);
  });
  after(() => server.remove());
  afterEach('leaves no bytes behind', async () => {
    assert.deepEqual(await stagedFiles(server), []);
  });

  for (const [what, fields, text] of WRONG_CLAIMS) {
    it(`is refused for ${what}`, async () => {
      const path = await pushable();
      const upload = await calls.uploaded(path);
      assertRefused(await upload.complete(claimOf(path, fields(path))), 400, text);
      assert.equal(await isPublished(server, path), false);
      // The bytes are gone: the client begins anew.
      assertRefused(await upload.complete(claimOf(path)), 404, /start a new one/);
    });
  }

  it('is refused for a NAR that unpacks to more than it claims', async () => {
    const path = await pushable({ contents: Buffer.alloc(1_000_000) });
    const upload = await calls.uploaded(path);
    const reply = await upload.complete(claimOf(path, { cNarSize: 1000 }));
    assert.ok(reply.status === 400 || reply.status === 413, reply.text);
    assert.match(reply.text, /^[ -~]+\n$/);
  });

  it('is refused for bytes that are no NAR', async () => {
    const path = await pushable();
    const upload = await calls.create();
    await upload.send(1, randomBytes(path.file.length));
    assertRefused(await upload.complete(claimOf(path)), 400, /zstd/);
  });

  it('is refused for another compression than was announced', async () => {
    const path = await pushable();
    const upload = await calls.create('xz');
    await upload.send(1, path.file);
    assertRefused(await upload.complete(claimOf(path)), 400, /xz/);
  });

  it('is refused for bytes after the end', async () => {
    const path = await pushable();
    const upload = await calls.uploaded({ ...path, file: Buffer.concat([path.file, Buffer.from('more')]) });
    const reply = await upload.complete(claimOf(path, { cFileSize: path.file.length + 4 }));
    assertRefused(reply, 400, /./);
  });

  const WRONG_PARTS: readonly [string, (parts: Upload['parts']) => unknown, RegExp][] = [
    ['no list, as a part without an ETag makes it', () => null, /^parts: expected a list/],
    ['an empty list', () => [], /^parts: 2 parts were received, 0 are listed/],
    ['one part too few', (parts) => parts.slice(0, 1), /^parts: 2 parts were received, 1 are listed/],
    ['one part too many', (parts) => [...parts, { partNumber: 3, eTag: '"x"' }], /^parts: part 3 was not received/],
    ['a gap', (parts) => parts.map((part) => ({ ...part, partNumber: part.partNumber * 2 - 1 })), /^parts: expected/],
    ['the wrong order', (parts) => parts.toReversed(), /^parts: expected part 1, got 2/],
    ['exchanged ETags', (parts) => parts.map((part, i) => ({ ...part, eTag: parts[1 - i]?.eTag })), /eTag of part 1/],
    ['a part twice', (parts) => [parts[0], parts[0]], /^parts: expected part 2, got 1/],
    ['entries that are no parts', () => [1, 2], /^parts: expected partNumber and eTag/],
  ];
  for (const [what, change, text] of WRONG_PARTS) {
    it(`is refused for a list of parts with ${what}`, async () => {
      const path = await pushable();
      const upload = await calls.uploaded(path, [100]);
      assertRefused(await upload.complete(claimOf(path), change(upload.parts)), 400, text);
      assert.equal(await isPublished(server, path), false);
    });
  }

  it('is refused for an upload without a part', async () => {
    const path = await pushable();
    assertRefused(await (await calls.create()).complete(claimOf(path)), 400, /./);
  });

  it('is refused for a body that is no JSON', async () => {
    const path = await pushable();
    const upload = await calls.uploaded(path);
    const url = `/multipart-nar/${upload.id}/complete?uploadId=${upload.uploadId}`;
    assertRefused(await calls.call('POST', url, Buffer.from('{"parts"')), 400, /not JSON/);
  });

  it('is refused for another upload id, and the upload goes on', async () => {
    const path = await pushable();
    const upload = await calls.uploaded(path);
    const stranger = new Upload(calls, upload.id, 'other');
    assertRefused(await stranger.complete(claimOf(path), upload.parts), 404, /no such upload/);
    assert.equal((await upload.complete(claimOf(path))).status, 200);
    await assertServed(server, path);
  });

  it('is refused for an upload that never was, or whose id is no UUID', async () => {
    const path = await pushable();
    for (const id of ['11111111-1111-4111-8111-111111111111', 'x', '..%2f..']) {
      assertRefused(await new Upload(calls, id, 'up1').complete(claimOf(path), []), 404, /./);
    }
  });
});

describe('a part URL', () => {
  let server: TestServer;
  let calls: Calls;
  const piece = randomBytes(500);
  before(async () => {
    const manifest = ['main', 'other'].map((name) => cacheManifest(name, standardSpec)).join('---\n');
    server = await TestServer.start({ manifest });
    calls = await Calls.as(server);
  });
  after(() => server.remove());

  it('is absolute, below the API URL, and needs no credential', async () => {
    const upload = await calls.create();
    const reply = await upload.askUrl(1, piece);
    assert.equal(reply.headers['content-type'], 'application/json; charset=utf-8');
    const { uploadUrl } = JSON.parse(reply.text) as { uploadUrl: string };
    assert.ok(uploadUrl.startsWith(`http://localhost:${server.port}/api/v1/cache/main/`), uploadUrl);
    assert.equal((await upload.put(await upload.url(1, piece), piece)).status, 200);
  });

  const TAMPERED: readonly [string, (url: URL, other: Upload) => void][] = [
    ['another upload', (url, other) => Object.assign(url, { pathname: url.pathname.replace(UUID, other.id) })],
    ['another part', (url) => Object.assign(url, { pathname: url.pathname.replace('/part/1', '/part/2') })],
    ['another upload id', (url, other) => url.searchParams.set('uploadId', other.uploadId)],
    ['another MD5', (url) => url.searchParams.set('md5', '0'.repeat(32))],
    ['a later expiry', (url) => url.searchParams.set('expires', `${Number(url.searchParams.get('expires')) + 1}`)],
    ['another signature', (url) => url.searchParams.set('signature', 'A'.repeat(43))],
    ['no signature', (url) => url.searchParams.delete('signature')],
    ['two signatures', (url) => url.searchParams.append('signature', 'A'.repeat(43))],
    ['another cache', (url) => Object.assign(url, { pathname: url.pathname.replace('/main/', '/other/') })],
  ];
  for (const [what, tamper] of TAMPERED) {
    it(`is refused for ${what}`, async () => {
      const [upload, other] = [await calls.create(), await calls.create()];
      const url = new URL(await upload.url(1, piece), server.url);
      tamper(url, other);
      assertRefused(await upload.put(`${url.pathname}${url.search}`, piece), 401, /^this part URL is not one of ours/);
    });
  }

  it('refuses bytes with another MD5, with the header or without it', async () => {
    const upload = await calls.create();
    const url = await upload.url(1, piece);
    assertRefused(await upload.put(url, randomBytes(500)), 400, /^Content-MD5 is not the one/);
    const lie = {
      'content-md5': Buffer.from(new URL(url, server.url).searchParams.get('md5') ?? '', 'hex').toString('base64'),
    };
    assertRefused(await upload.put(url, randomBytes(500), lie), 400, /MD5/);
    assert.equal((await upload.put(url, piece)).status, 200, 'the right bytes are still welcome');
  });

  it('is not made for a part number that is none', async () => {
    const upload = await calls.create();
    for (const number of ['0', '-1', '10001', '1.5', 'x', '']) {
      assertRefused(await upload.askUrl(number, piece), 400, /^partNumber: expected 1 to 10000/);
    }
  });

  it('is not made for what is no MD5', async () => {
    const upload = await calls.create();
    for (const contentMD5 of ['', 'x', 7, null, randomBytes(15).toString('base64')]) {
      const path = `/multipart-nar/${upload.id}?uploadId=${upload.uploadId}&partNumber=1`;
      assertRefused(await calls.call('POST', path, { contentMD5 }), 400, /^contentMD5: expected/);
    }
  });

  it('is not made for an upload of another cache', async () => {
    const upload = await calls.create();
    const other = await Calls.as(server, 'push', 'other');
    assertRefused(await new Upload(other, upload.id, upload.uploadId).askUrl(1, piece), 404, /no such upload/);
  });

  it('takes no part with a Content-Encoding', async () => {
    const upload = await calls.create();
    assertRefused(
      await upload.put(await upload.url(1, piece), piece, { 'content-encoding': 'gzip' }),
      415,
      /^Content-Encoding gzip/,
    );
  });
});

describe('a Cachix upload that cannot begin', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start();
  });
  after(() => server.remove());

  it('is refused for a compression that the protocol lacks', async () => {
    const calls = await Calls.as(server);
    assertRefused(await calls.call('POST', '/multipart-nar?compression=br', EMPTY), 400, /^compression: expected/);
  });

  it('is refused without the right to write', async () => {
    const path = await pushable();
    for (const [token, text] of [
      [await server.token('read'), /token read has the permission Read, this needs Write/],
      ['', /needs a token with the permission Write/],
      ['wrong', /^cache main: /],
    ] as const) {
      const calls = new Calls(server, token);
      const upload = new Upload(calls, '11111111-1111-4111-8111-111111111111', 'up1');
      assertRefused(await calls.call('POST', '/multipart-nar?compression=zst', EMPTY), 401, text);
      assertRefused(await upload.askUrl(1, path.file), 401, text);
      assertRefused(await upload.complete(claimOf(path), []), 401, text);
      assertRefused(await upload.abort(), 401, text);
      assertRefused(await calls.call('POST', '/nar?compression=zst', path.file), 401, text);
      assertRefused(await calls.call('POST', `/${randomHashPart()}.narinfo`, claimOf(path)), 401, text);
    }
  });
});

const UUID = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/;
