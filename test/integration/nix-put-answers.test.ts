// Which answers a PUT can get, and that nix never gets one to a PUT which it could only repeat.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { LISTING, type NixPath, nixPath, push } from '../support/nix-path.ts';
import { put, type Reply, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';
import { OTHERS, type PutAnswer, TRIED } from '../tables/put-answers.ts';
import { compress } from '../unit/cache/verify/support.ts';

const EXPIRED = '  - {name: expired, permissions: [Write], expiresAt: 2020-01-01T00:00:00Z}\n';
const LIMITS = 'limits:\n  maxNarSize: 1Mi\n';
const MANIFEST = [
  cacheManifest('main', standardSpec + EXPIRED + LIMITS),
  cacheManifest('full', standardSpec.replace('local: {}', 'local: {}\n    capacity: 1k')),
  cacheManifest('lost', standardSpec),
].join('---\n');
const SOON = ['--storage-retry', '0.05', '--idle-timeout', '0.5'];

type Answer = Pick<Reply, 'status' | 'text' | 'headers'> | 'connection closed';

describe('answers to a PUT', () => {
  let server: TestServer;
  const given = new Set<PutAnswer['answer']>();

  before(async () => {
    server = await TestServer.start({ manifest: MANIFEST, args: SOON });
  });
  after(() => server.remove());

  const pushUrl = (cache = 'main') => `${server.api(cache)}/push`;
  const auth = (cache = 'main') => server.auth('push', cache);
  const storage = () => path.join(server.data, 'main', 'storages', 'disk');

  async function putNar(nar: NixPath, cache = 'main', headers: Record<string, string> = {}): Promise<Reply> {
    return put(pushUrl(cache), `/${nar.url}`, nar.file, { ...(await auth(cache)), ...headers });
  }

  async function putText(where: string, text: string | Buffer): Promise<Reply> {
    return put(pushUrl(), where, text, await auth());
  }

  async function published(): Promise<NixPath> {
    const fresh = nixPath();
    const { nar, narinfo } = await push(pushUrl(), fresh, await auth());
    assert.deepEqual([nar.status, narinfo.status], [200, 200]);
    return fresh;
  }

  async function withToken(headers: Record<string, string>): Promise<Reply> {
    const fresh = nixPath();
    return put(pushUrl(), `/${fresh.url}`, fresh.file, headers);
  }

  const isIll = () =>
    until('the storage is ill', async () => {
      const response = await fetch(`${server.adminUrl}/readyz?verbose`);
      return (await response.text()).includes('has no marker');
    });

  const situations: Readonly<Record<string, () => Promise<Answer>>> = {
    'a NAR': () => putNar(nixPath()),
    'the same NAR again': async () => putNar(await published()),
    'a narinfo': async () => (await push(pushUrl(), nixPath(), await auth())).narinfo,
    'the same narinfo again': async () => (await push(pushUrl(), await published(), await auth())).narinfo,
    'a listing': () => putText(`/${'0'.repeat(32)}.ls`, LISTING),
    'a log without a byte': () => putText(`/log/${'0'.repeat(32)}-x.drv`, ''),
    'nix-cache-info of this store folder': () => putText('/nix-cache-info', 'StoreDir: /nix/store\n'),
    'a NAR whose storage comes back in time': async () => {
      await rename(storage(), `${storage()}-gone`);
      await isIll();
      const answer = putNar(nixPath());
      await rename(`${storage()}-gone`, storage());
      return answer;
    },
    'a narinfo of a published path with another NarHash': async () => {
      const { storePath } = await published();
      return (await push(pushUrl(), nixPath({ storePath }), await auth())).narinfo;
    },
    'nix-cache-info of another store folder': () => putText('/nix-cache-info', 'StoreDir: /gnu/store\n'),
    'a NAR for a cache whose signing key is lost': async () => {
      await server.stop();
      await rm(path.join(server.data, 'lost', 'signing'), { recursive: true });
      await server.restart();
      return putNar(nixPath(), 'lost');
    },
    'a NAR larger than the limit': () =>
      putNar(nixPath({ tree: { type: 'regular', contents: randomBytes(2 ** 20) }, compression: 'none' })),
    'a NAR that decompresses to more than the limit': () =>
      putNar(nixPath({ tree: { type: 'regular', contents: Buffer.alloc(2 ** 21) } })),
    'a narinfo larger than the limit': () => putText(`/${'0'.repeat(32)}.narinfo`, Buffer.alloc(65_537)),
    'a NAR for which no storage has room': () =>
      putNar(nixPath({ tree: { type: 'regular', contents: randomBytes(5000) } }), 'full'),
    'no token': () => withToken({}),
    'an unknown token': () => withToken({ authorization: 'Bearer nwl_nonsense' }),
    'a token without Write': async () => withToken(await server.auth('read')),
    'an expired token': async () => withToken(await server.auth('expired')),
    'a NAR whose storage stays away': async () => {
      await server.stop();
      await server.restart(['--transient-retry', '0.3']);
      await rename(storage(), `${storage()}-gone`);
      await isIll();
      try {
        return await putNar(nixPath());
      } finally {
        await rename(`${storage()}-gone`, storage());
        await server.stop();
        await server.restart();
      }
    },
    'a body that stops coming': async () =>
      stalled(server.port, `/api/v1/cache/main/push/${nixPath().url}`, await auth()),
    'a NAR whose bytes have another hash than its name': () => putNar({ ...nixPath(), url: nixPath().url }),
    'a NAR that is damaged': () => putNar(nixPath({ file: (nar) => compress('zstd', nar).subarray(0, -4) })),
    'a narinfo before its NAR': () => {
      const fresh = nixPath();
      return putText(`/${fresh.hashPart}.narinfo`, fresh.narinfo);
    },
    'a narinfo that cannot be read': () => putText(`/${'0'.repeat(32)}.narinfo`, 'hello\n'),
    'an address that nothing belongs to': () => putText('/elsewhere', 'x'),
    'the pull URL': async () => put(server.api(), `/${nixPath().url}`, 'x', await auth()),
    'an unknown Content-Encoding': () => putNar(nixPath(), 'main', { 'content-encoding': 'compress' }),
    'a NAR in no known compression': () => putNar(nixPath({ file: () => Buffer.from('LZIP and more of it') })),
  };

  for (const { answer, given: names, reason } of [...TRIED, ...OTHERS]) {
    if (names.length === 0) {
      it(`are never ${answer}: ${reason}`, () => assert.ok(!given.has(answer)));
      continue;
    }
    for (const name of names) {
      it(`are ${answer} for ${name}`, async () => {
        const situation = situations[name];
        assert.ok(situation, 'a situation of the table that nobody tests');
        const reply = await situation();
        const got = reply === 'connection closed' ? reply : reply.status;
        given.add(got);
        assert.equal(got, answer, reply === 'connection closed' ? '' : reply.text);
        if (reply === 'connection closed' || reply.status < 400) return;
        assert.match(reply.text, /^[ -~]{5,400}\n$/);
        assert.match(reply.headers['content-type'] ?? '', /^text\/plain/);
        if (reply.status >= 500) assert.match(reply.headers['retry-after'] ?? '', /^\d+$/);
      });
    }
  }

  it('are all in the tables', async () => {
    const listed = [...TRIED, ...OTHERS].filter(({ given: names }) => names.length > 0);
    assert.deepEqual(given, new Set(listed.map(({ answer }) => answer)));
    assert.deepEqual(new Set(Object.keys(situations)), new Set(listed.flatMap(({ given: names }) => names)));
    assert.equal(TRIED.length, 14);
    assert.equal((await send(server.api(), '/nix-cache-info')).status, 200);
  });
});

/** A PUT that sends half of its body and falls silent. */
function stalled(port: number, where: string, headers: Record<string, string>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
    });
    socket.on('error', reject);
    socket.on('close', () => {
      const status = /^HTTP\/1\.1 (\d+)/.exec(text)?.[1];
      resolve(status === undefined ? 'connection closed' : { status: Number(status), text, headers: {} });
    });
    socket.write(`PUT ${where} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n`);
    for (const [name, value] of Object.entries(headers)) socket.write(`${name}: ${value}\r\n`);
    socket.write(`\r\n${'x'.repeat(500)}`);
  });
}
