// What proxies and tunnels do to bodies, at each route that takes one: taken where nothing is lost by it, else refused with a
// text that says what a person has to look at. Through a gateway too.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { assertServed, Calls, claimOf, md5, pieces } from '../support/cachix-calls.ts';
import { pushable } from '../support/cachix-paths.ts';
import { CACHIX, CHANGES, NIX, sendAsIs } from '../support/door-requests.ts';
import { TestGateway } from '../support/gateway.ts';
import { describeWith } from '../support/needs.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

/** What is said, or that it is taken. */
type Answer = 'taken' | readonly [status: number, text: RegExp];

const EMPTY: Answer = [400, /^the body is empty: if something was sent, a proxy has dropped it\n$/];
const NO_JSON: Answer = [
  400,
  /^the \d+ bytes of the body are not JSON: if there were more, a proxy has cut them off\n$/,
];
const NO_ENCODING: Answer = [415, /^Content-Encoding gzip is not possible here: neither client nor proxy may encode/];
const NOT_GZIP: Answer = [400, /^Content-Encoding says gzip, and the body is not: /];
const NO_PART: Answer = [400, /^part 1 is empty and was announced with bytes: a proxy has dropped them\n$/];
const OTHER_BYTES: Answer = [400, /^part 1: the MD5 of the received bytes is [0-9a-f]{32}, Content-MD5 says/];
const LOST: Readonly<Record<string, Answer>> = {
  'a narinfo': EMPTY,
  // Some builds say nothing.
  'a log': 'taken',
  'a missing-paths query': EMPTY,
  'a request for a part URL': EMPTY,
  'a part': NO_PART,
  'a completion': EMPTY,
  'a narinfo of an old client': EMPTY,
};

const ROUTES = { ...NIX, ...CACHIX };
const every = (routes: object, answer: Answer) =>
  Object.fromEntries(Object.keys(routes).map((route) => [route, answer]));

const TABLE: Readonly<Record<keyof typeof CHANGES, Readonly<Record<string, Answer>>>> = {
  'left as it is': every(ROUTES, 'taken'),
  'sent in chunks': every(ROUTES, 'taken'),
  'with doubled slashes in its path': every(ROUTES, 'taken'),
  'without its body': LOST,
  'without its body, in chunks': LOST,
  'with half of its body': {
    'a NAR': [400, /^the zstd data is truncated\n$/],
    'a narinfo': [400, /^narinfo: the last line does not end in a line feed\n$/],
    // Nothing tells that a log has more.
    'a log': 'taken',
    'a missing-paths query': [400, /^the list of hashes is cut off: it has no end behind 0 of them\n$/],
    'a request for a part URL': NO_JSON,
    'a part': OTHER_BYTES,
    'a completion': NO_JSON,
    'a NAR of an old client': [400, /^the zstd data is truncated\n$/],
    'a narinfo of an old client': NO_JSON,
  },
  'encoded with gzip': { ...every(NIX, 'taken'), ...every(CACHIX, NO_ENCODING) },
  'called gzip and not encoded': { ...every(NIX, NOT_GZIP), ...every(CACHIX, NO_ENCODING) },
  'in a transfer coding that is not undone': every(ROUTES, [
    415,
    /^Transfer-Encoding: only chunked is possible here\n$/,
  ]),
};

describe('a body that a proxy has had in its hands', () => {
  let server: TestServer;
  let gateway: TestGateway;
  before(async () => {
    server = await TestServer.start();
    gateway = await TestGateway.start({ table: { caches: { main: { url: server.url } } } });
  });
  after(async () => {
    await gateway.remove();
    await server.remove();
  });

  for (const [change, answers] of Object.entries(TABLE))
    for (const [route, answer] of Object.entries(answers)) {
      const said = answer === 'taken' ? 'is taken' : `is refused with ${answer[0]} and a text`;
      it(`${said}: ${route} ${change}`, async () => {
        const [make, changed] = [ROUTES[route], CHANGES[change]];
        assert.ok(make && changed);
        for (const door of [server, gateway]) {
          const reply = await sendAsIs(door, changed(await make(server)));
          const [status, text] = answer === 'taken' ? [200, /(?:)/] : answer;
          assert.equal(reply.status, status, reply.text);
          assert.match(reply.text, text);
          if (status !== 200) assert.match(reply.text, /^[ -~]{1,900}\n$/);
        }
      });
    }

  for (const route of ['a NAR', 'a NAR of an old client'] as const)
    it(`is refused without its bytes: ${route}`, async () => {
      const [make, changed] = [ROUTES[route], CHANGES['without its body']];
      assert.ok(make && changed);
      const reply = await sendAsIs(server, changed(await make(server)));
      assert.ok([400, 415].includes(reply.status), reply.text);
      assert.match(reply.text, /^[ -~]{1,900}\n$/);
    });
});

describe('parts in chunks', () => {
  const CHUNKED = { 'transfer-encoding': 'chunked' };
  let server: TestServer;
  let calls: Calls;
  before(async () => {
    const manifest = cacheManifest('main', `${standardSpec}limits:\n  maxPartSize: 1Mi\n`);
    server = await TestServer.start({ manifest });
    calls = await Calls.as(server);
  });
  after(() => server.remove());

  it('make an upload, in any order and beside others', async () => {
    const path = await pushable({ contents: randomBytes(900_000) });
    const upload = await calls.create();
    const parts = pieces(path.file, [400_000, 300_000]);
    for (const number of [3, 1, 2]) {
      const piece = parts[number - 1] ?? Buffer.alloc(0);
      const reply = await upload.put(await upload.url(number, piece), piece, number === 2 ? {} : CHUNKED);
      assert.equal(reply.status, 200, reply.text);
      upload.etags.set(number, reply.headers.etag ?? '');
    }
    assert.equal((await upload.complete(claimOf(path))).status, 200);
    await assertServed(server, path);
  });

  it('may be empty where an empty part was announced', async () => {
    const path = await pushable();
    const upload = await calls.uploaded(path);
    const none = Buffer.alloc(0);
    const reply = await upload.put(await upload.url(2, none), none, CHUNKED);
    assert.equal(reply.status, 200, reply.text);
    upload.etags.set(2, reply.headers.etag ?? '');
    assert.equal((await upload.complete(claimOf(path))).status, 200);
  });

  it('are bounded as all parts are', async () => {
    const upload = await calls.create();
    const piece = randomBytes(2 ** 20 + 1);
    const reply = await upload.put(await upload.url(1, piece), piece, CHUNKED);
    assert.deepEqual([reply.status, reply.text], [413, `larger than the limit of ${2 ** 20} bytes\n`]);
  });

  it('are held to their MD5, and may be sent again', async () => {
    const upload = await calls.create();
    const [piece, other] = [randomBytes(5000), randomBytes(5000)];
    const url = await upload.url(1, piece);
    const wrong = await upload.put(url, other, { ...CHUNKED, 'content-md5': md5(piece) });
    assert.match(wrong.text, /^part 1: the MD5 of the received bytes is/);
    assert.equal((await upload.put(url, piece, CHUNKED)).status, 200);
  });
});

describeWith('versitygw', 'parts in chunks, for a bucket', () => {
  const MIB = 2 ** 20;
  let s3: S3Server;
  let server: TestServer;
  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket('chunks');
    const storage = s3Storage('main', 'chunks', s3.endpoint, { uploads: 'Proxy', reads: 'Proxy' });
    server = await TestServer.start({ manifest: s3Manifest(s3, [storage]) });
  });
  after(async () => {
    await server?.remove();
    await s3?.remove();
  });

  it('make an upload of small and of large ones, and leave nothing else behind', async () => {
    const calls = await Calls.as(server);
    for (const sizes of [[], [5 * MIB]]) {
      const path = await pushable({ contents: randomBytes(sizes.length === 0 ? 5000 : 6 * MIB) });
      const upload = await calls.create();
      for (const [index, piece] of [...pieces(path.file, sizes), Buffer.alloc(0)].entries()) {
        const reply = await upload.put(await upload.url(index + 1, piece), piece, { 'transfer-encoding': 'chunked' });
        assert.equal(reply.status, 200, reply.text);
        upload.etags.set(index + 1, reply.headers.etag ?? '');
      }
      const reply = await upload.complete(claimOf(path));
      assert.equal(reply.status, 200, reply.text);
      await assertServed(server, path);
    }
    const client = s3.client();
    const keys = async () => (await client.send(new ListObjectsV2Command({ Bucket: 'chunks' }))).Contents ?? [];
    await until('two objects and the marker are left', async () => (await keys()).length === 3);
  });
});
