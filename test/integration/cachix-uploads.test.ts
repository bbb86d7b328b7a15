import assert from 'node:assert/strict';
import { createHash, createSecretKey, hkdfSync, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { signPart } from '../../server/cache/index.ts';
import { SqliteDatabase } from '../../server/metadata/index.ts';
import {
  assertRefused,
  assertServed,
  Calls,
  claimOf,
  EMPTY,
  isPublished,
  md5,
  pieces,
  Upload,
} from '../support/cachix-calls.ts';
import { type Pushable, pushable } from '../support/cachix-paths.ts';
import { assertConsistent, query, stagedFiles } from '../support/disk.ts';
import { TestServer, until } from '../support/server.ts';

describe('a Cachix upload', () => {
  let server: TestServer;
  let calls: Calls;
  before(async () => {
    server = await TestServer.start();
    calls = await Calls.as(server);
  });
  after(async () => {
    await server.stop();
    await assertConsistent(server);
    await server.remove();
  });
  afterEach(async () => {
    assert.deepEqual(await stagedFiles(server), []);
  });

  const big = () => pushable({ contents: randomBytes(400_000) });

  async function finish(upload: Upload, pushed: Pushable): Promise<void> {
    const reply = await upload.complete(claimOf(pushed));
    assert.equal(reply.status, 200, reply.text);
    await assertServed(server, pushed);
  }

  it('has new ids each time', async () => {
    const [a, b] = [await calls.create(), await calls.create()];
    assert.notEqual(a.id, b.id);
    assert.notEqual(a.uploadId, b.uploadId);
  });

  it('gives the URL of a part again', async () => {
    const pushed = await big();
    const upload = await calls.create();
    const [first, second] = [await upload.url(1, pushed.file), await upload.url(1, pushed.file)];
    for (const url of [first, second]) {
      const reply = await upload.put(url, pushed.file);
      assert.equal(reply.status, 200, reply.text);
      upload.etags.set(1, reply.headers.etag ?? '');
    }
    await finish(upload, pushed);
  });

  it('answers a part with its ETag in quotes, and again when it is sent again', async () => {
    const pushed = await big();
    const upload = await calls.create();
    const url = await upload.url(1, pushed.file);
    const etags = [await upload.put(url, pushed.file), await upload.put(url, pushed.file)].map(
      (reply) => reply.headers.etag,
    );
    const expected = `"${Buffer.from(md5(pushed.file), 'base64').toString('hex')}"`;
    assert.deepEqual(etags, [expected, expected]);
    await upload.abort();
  });

  it('takes ETags with and without quotes', async () => {
    const pushed = await big();
    const upload = await calls.uploaded(pushed, [1000]);
    const parts = upload.parts.map((part) => ({ ...part, eTag: part.eTag.replaceAll('"', '') }));
    assert.equal((await upload.complete(claimOf(pushed), parts)).status, 200);
  });

  it('is completed again with 200 and an empty body', async () => {
    const pushed = await big();
    const upload = await calls.uploaded(pushed);
    for (const _ of [1, 2, 3]) {
      const reply = await upload.complete(claimOf(pushed));
      assert.equal(reply.status, 200, reply.text);
      assert.equal(reply.text, '');
      assert.equal(reply.headers['content-length'], '0');
    }
    await assertServed(server, pushed);
  });

  it('is not completed a second time for another path', async () => {
    const [pushed, other] = [await big(), await big()];
    const upload = await calls.uploaded(pushed);
    await finish(upload, pushed);
    assertRefused(await upload.complete(claimOf(other)), 409, /completed for another store path/);
  });

  it('is completed once by two calls at one time', async () => {
    const pushed = await big();
    const upload = await calls.uploaded(pushed, [1000, 1000]);
    const replies = await Promise.all([1, 2, 3, 4].map(() => upload.complete(claimOf(pushed))));
    assert.deepEqual(
      replies.map((reply) => reply.status),
      [200, 200, 200, 200],
    );
    await assertServed(server, pushed);
  });

  it('fails for all calls at one time when it is wrong', async () => {
    const pushed = await big();
    const upload = await calls.uploaded(pushed);
    const claim = claimOf(pushed, { cNarHash: `sha256:${'0'.repeat(52)}` });
    const replies = await Promise.all([1, 2, 3].map(() => upload.complete(claim)));
    for (const reply of replies) assert.ok(reply.status === 400 || reply.status === 404, reply.text);
    assert.ok(replies.some((reply) => reply.status === 400));
  });

  it('keeps the entry that is there when the path is pushed again', async () => {
    const first = await big();
    const second = await pushable({ hashPart: first.hashPart, contents: randomBytes(300_000) });
    await finish(await calls.uploaded(first), first);
    const again = await calls.uploaded(second);
    assert.equal((await again.complete(claimOf(second))).status, 200);
    await assertServed(server, first);
    await until('the difference is logged', () => server.output.includes('"differs":true'));
  });

  it('lets two pushers of one path race', async () => {
    const pushed = await big();
    const uploads = await Promise.all([1, 2, 3, 4].map(() => calls.uploaded(pushed, [50_000])));
    const replies = await Promise.all(uploads.map((upload) => upload.complete(claimOf(pushed))));
    assert.deepEqual(
      replies.map((reply) => reply.status),
      [200, 200, 200, 200],
    );
    await assertServed(server, pushed);
  });

  it('is aborted, again and again', async () => {
    const pushed = await big();
    const upload = await calls.uploaded(pushed);
    for (const _ of [1, 2]) assert.equal((await upload.abort()).status, 200);
    const unknown = new Upload(calls, '11111111-1111-4111-8111-111111111111', 'up1');
    assert.equal((await unknown.abort()).status, 200);
    assertRefused(await upload.complete(claimOf(pushed)), 404, /start a new one/);
    assertRefused(await upload.askUrl(1, pushed.file), 404, /start a new one/);
  });

  it('stays published when its abort comes too late', async () => {
    const pushed = await big();
    const upload = await calls.uploaded(pushed);
    await finish(upload, pushed);
    assert.equal((await upload.abort()).status, 200);
    await assertServed(server, pushed);
  });

  it('is not aborted by who does not know its upload id', async () => {
    const pushed = await big();
    const upload = await calls.uploaded(pushed);
    assert.equal((await new Upload(calls, upload.id, 'other').abort()).status, 200);
    await finish(upload, pushed);
  });

  const ORDERS: readonly [string, readonly number[], readonly number[]][] = [
    ['one after the other', [100_000, 100_000], [1, 2, 3]],
    ['backwards', [100_000, 100_000, 100_000], [4, 3, 2, 1]],
    ['mixed', [10, 20, 30, 40, 50], [3, 1, 6, 2, 5, 4]],
    ['of odd sizes', [1, 99_999, 7, 123_456], [2, 1, 5, 4, 3]],
    ['of no bytes in between', [1000, 0, 1000, 0], [5, 4, 3, 2, 1]],
    ['thirteen', Array.from({ length: 12 }, () => 30_000), [13, 1, 12, 2, 11, 3, 10, 4, 9, 5, 8, 6, 7]],
  ];
  for (const [what, sizes, order] of ORDERS) {
    it(`takes parts that come ${what}`, async () => {
      const pushed = await big();
      const upload = await calls.create();
      const parts = pieces(pushed.file, sizes);
      for (const number of order) await upload.send(number, parts[number - 1] ?? EMPTY);
      await finish(upload, pushed);
    });
  }

  it('takes parts that come all at once', async () => {
    const pushed = await big();
    const upload = await calls.create();
    const parts = pieces(
      pushed.file,
      Array.from({ length: 12 }, () => 30_000),
    );
    await Promise.all(parts.map((piece, index) => upload.send(index + 1, piece)));
    await finish(upload, pushed);
  });

  it('takes an empty last part', async () => {
    const pushed = await big();
    const upload = await calls.uploaded(pushed, [pushed.file.length]);
    assert.deepEqual(upload.parts.at(-1), { partNumber: 2, eTag: '"d41d8cd98f00b204e9800998ecf8427e"' });
    await finish(upload, pushed);
  });

  for (const number of [1, 2]) {
    it(`takes part ${number} twice at one time`, async () => {
      const pushed = await big();
      const upload = await calls.create();
      const parts = pieces(pushed.file, [200_000]);
      const piece = parts[number - 1] ?? EMPTY;
      const url = await upload.url(number, piece);
      const replies = await Promise.all([1, 2, 3].map(() => upload.put(url, piece)));
      assert.deepEqual(
        replies.map((reply) => reply.status),
        [200, 200, 200],
      );
      upload.etags.set(number, replies[0]?.headers.etag ?? '');
      const other = 3 - number;
      await upload.send(other, parts[other - 1] ?? EMPTY);
      await finish(upload, pushed);
    });
  }

  it('keeps a part that arrived while an earlier try at it hangs and breaks', async () => {
    const pushed = await big();
    const upload = await calls.create();
    const [first = EMPTY, second = EMPTY] = pieces(pushed.file, [200_000]);
    const url = await upload.url(2, second);
    const hanging = request(server, 'PUT', url, { 'content-length': second.length });
    hanging.write(second.subarray(0, 1000));
    await until('the hanging try has begun', async () => (await stagedFiles(server)).length > 0);
    await upload.send(2, second);
    hanging.destroy();
    await until('the server has noticed', () => server.output.includes('"status":400'));
    await upload.send(1, first);
    await finish(upload, pushed);
  });

  it('refuses a part of another size under the same number', async () => {
    const pushed = await big();
    const upload = await calls.create();
    await upload.send(1, pushed.file);
    const url = await upload.url(1, pushed.file.subarray(1));
    assertRefused(await upload.put(url, pushed.file.subarray(1)), 409, /start a new upload/);
    await finish(upload, pushed);
  });

  it('goes on when the client that asked for its completion hangs up', async () => {
    const pushed = await pushable({ contents: randomBytes(8_000_000) });
    const upload = await calls.uploaded(pushed);
    const body = JSON.stringify({ parts: upload.parts, narInfoCreate: claimOf(pushed) });
    const url = `/api/v1/cache/main/multipart-nar/${upload.id}/complete?uploadId=${upload.uploadId}`;
    const asking = request(server, 'POST', url, {
      authorization: `Bearer ${calls.token}`,
      'content-length': Buffer.byteLength(body),
    });
    await new Promise<void>((resolve) => asking.end(body, resolve));
    asking.destroy();
    await until('it is published all the same', () => isPublished(server, pushed));
    assert.equal((await upload.complete(claimOf(pushed))).status, 200);
    await assertServed(server, pushed);
  });

  it('keeps references in order, and a deriver', async () => {
    const references = ['b', 'a'].map((letter) => `${letter.repeat(32)}-dep`);
    const deriver = `${'c'.repeat(32)}-test.drv`;
    const pushed = await pushable({ references: references.toSorted(), deriver });
    await (await calls.uploaded(pushed)).complete(claimOf(pushed));
    const headers = await server.auth('push');
    const narinfo = (below = '') => fetch(`${server.api()}${below}/${pushed.hashPart}.narinfo`, { headers });
    // Nobody has pushed what it refers to: only a pusher is told of it.
    assert.equal((await narinfo()).status, 404);
    const text = await (await narinfo('/push')).text();
    assert.match(text, new RegExp(`\nReferences: ${references.toSorted().join(' ')}\n`));
    assert.match(text, new RegExp(`\nDeriver: ${deriver}\n`));
  });

  it('takes a NAR hash in the spellings that an import sends', async () => {
    const pushed = await big();
    const hash = createHash('sha256').update(pushed.nar).digest();
    for (const cNarHash of [`sha256:${hash.toString('hex')}`, `sha256-${hash.toString('base64')}`]) {
      const again = await pushable({ contents: randomBytes(10) });
      const upload = await calls.uploaded({ ...pushed, hashPart: again.hashPart });
      const reply = await upload.complete(claimOf(pushed, { cStoreHash: again.hashPart, cNarHash }));
      assert.equal(reply.status, 200, reply.text);
    }
  });
});

describe('a Cachix upload and time', () => {
  let server: TestServer;
  let calls: Calls;
  beforeEach(async () => {
    server = await TestServer.start({ args: ['--housekeeping-interval', '0.1'] });
    calls = await Calls.as(server);
  });
  afterEach(() => server.remove());

  it('survives a restart between its parts, and one before its completion', async () => {
    const pushed = await pushable({ contents: randomBytes(300_000) });
    const [first = EMPTY, second = EMPTY, third = EMPTY] = pieces(pushed.file, [100_000, 100_000]);
    const upload = await calls.create();
    await upload.send(3, third);
    await upload.send(1, first);
    const url = await upload.url(2, second);
    assert.equal(await server.stop(), 0);
    await server.restart();
    const reply = await upload.put(url, second);
    assert.equal(reply.status, 200, reply.text);
    upload.etags.set(2, reply.headers.etag ?? '');
    assert.equal(await server.stop(), 0);
    await server.restart();
    assert.equal((await upload.complete(claimOf(pushed))).status, 200);
    await assertServed(server, pushed);
    assert.equal(await server.stop(), 0);
    await server.restart();
    assert.equal((await upload.complete(claimOf(pushed))).status, 200, 'a repeat is known after a restart');
    assert.deepEqual(await stagedFiles(server), []);
  });

  it('expires, and leaves nothing behind', async () => {
    const pushed = await pushable();
    const [upload, other] = [await calls.uploaded(pushed), await calls.uploaded(pushed, [100])];
    const url = await upload.url(2, EMPTY);
    await server.stop();
    await change(server, 'UPDATE uploads SET expires_at = 1 WHERE id = ?', [upload.id]);
    await server.restart();
    assertRefused(await upload.complete(claimOf(pushed)), 404, /this upload is over; start a new one/);
    assertRefused(await upload.put(url, EMPTY), 404, /this upload is over; start a new one/);
    await until('its bytes are gone', async () => !(await stagedFiles(server)).includes(upload.id));
    assert.deepEqual(await stagedFiles(server), [other.id], 'another upload stays');
    assert.equal((await other.complete(claimOf(pushed))).status, 200);
    await server.stop();
    const rows = await query(server, `SELECT count(*) AS value FROM upload_parts`);
    assert.deepEqual(rows, ['0']);
  });

  it('takes no part by a URL that has expired', async () => {
    const piece = randomBytes(100);
    const upload = await calls.create();
    const url = new URL(await upload.url(1, piece), server.url);
    const root = Buffer.from((await readFile(path.join(server.data, 'main', 'root.key'), 'utf8')).trim(), 'base64');
    const key = createSecretKey(Buffer.from(hkdfSync('sha256', root, EMPTY, 'narwhal part urls 1', 32)));
    const { id, uploadId } = upload;
    const grant = { id, uploadId, part: 1, md5: url.searchParams.get('md5') ?? '', expiresAt: Date.now() - 1 };
    url.searchParams.set('expires', String(grant.expiresAt));
    url.searchParams.set('signature', signPart(key, grant));
    assertRefused(await upload.put(`${url.pathname}${url.search}`, piece), 401, /^this part URL has expired/);
  });
});

/** Changes rows of a stopped server's database. */
async function change(server: TestServer, sql: string, values: string[]): Promise<void> {
  const database = await SqliteDatabase.open({ file: path.join(server.data, 'main', 'db.sqlite') });
  try {
    await database.write((tx) => tx.query(sql, values));
  } finally {
    await database.close();
  }
}

function request(server: TestServer, method: string, target: string, headers: http.OutgoingHttpHeaders) {
  const outgoing = http.request({ host: '127.0.0.1', port: server.port, method, path: target, headers, agent: false });
  outgoing.on('error', () => {});
  return outgoing;
}
