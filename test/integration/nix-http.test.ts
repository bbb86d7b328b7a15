// The nix protocol as bytes on the wire: addresses, headers, ranges, bodies. What nix itself makes of it: nix-push-pull.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { compressionSuffix } from '../../server/nix/index.ts';
import { type NixPath, nixPath, push } from '../support/nix-path.ts';
import { put, type Reply, send } from '../support/raw-http.ts';
import { TestServer } from '../support/server.ts';
import { compress } from '../unit/cache/verify/support.ts';

const DRV = '00000000000000000000000000000000-thing-1.0.drv';
const REALISATION = `sha256:${'ab'.repeat(32)}`;
const DEBUG_ID = '0123456789abcdef0123456789abcdef01234567';

describe('the nix protocol over HTTP', () => {
  let server: TestServer;
  let pushUrl: string;
  let auth: Record<string, string>;
  let path: NixPath;

  before(async () => {
    server = await TestServer.start();
    pushUrl = `${server.url}/push`;
    auth = await server.auth();
    path = nixPath({ name: 'odd+name=1' });
    const { nar, narinfo } = await push(pushUrl, path, auth);
    assert.equal(nar.status, 200, nar.text);
    assert.equal(narinfo.status, 200, narinfo.text);
  });
  after(() => server.remove());

  const get = (where: string, headers = {}) => send(server.url, where, { headers });
  const head = (where: string, headers = {}) => send(server.url, where, { method: 'HEAD', headers });

  /** The file of a realisation as nix writes it, of a path that is not here. */
  const realisation = (id: string, name: string) =>
    `{"dependentRealisations":{},"id":"${id}","outPath":"${'1'.repeat(32)}-${name}","signatures":[]}`;

  /** One file of each family, with what is in it. */
  function auxiliaries(version = '2'): [where: string, body: string][] {
    return [
      [`/${path.hashPart}.ls`, `{"version":1,"root":{"type":"regular","size":${version}}}`],
      [`/log/${DRV}`, `building ${version}\n`],
      [`/debuginfo/${DEBUG_ID}.debug`, `{"archive":"../nar/x","member":"${version}"}`],
      [`/realisations/${REALISATION}!out.doi`, realisation(`${REALISATION}!out`, version)],
      [`/build-trace-v2/${DRV}/out.doi`, `{"outPath":"${'1'.repeat(32)}-${version}","signatures":[]}`],
    ];
  }

  describe('addresses', () => {
    it('are decoded once', async () => {
      const encoded = `/%6e%61r/${path.url.slice(4)}`;
      assert.equal((await get(encoded)).status, 200);
      assert.equal((await get(encoded.replaceAll('%', '%25'))).status, 404);
    });

    it('keep a plus a plus', async () => {
      const log = `/log/${path.basename}.drv`;
      assert.equal((await put(pushUrl, log, 'plus\n', auth)).status, 200);
      const encoded = log.replace('+', '%2B').replace('=', '%3D');
      assert.equal((await get(encoded)).text, 'plus\n');
      assert.equal((await get(log.replace('+', '%20'))).status, 404);
    });

    it('may have doubled slashes', async () => {
      assert.equal((await get(`//${path.hashPart}.narinfo`)).status, 200);
      assert.equal((await get(`//nar//${path.url.slice(4)}`)).status, 200);
      assert.equal((await put(server.url, `//push//log//${DRV}`, 'x', auth)).status, 200);
    });

    it('may have a query that nobody knows', async () => {
      for (const [where, body] of auxiliaries()) {
        assert.equal((await put(pushUrl, `${where}?a=b`, body, auth)).status, 200, where);
        assert.equal((await get(`${where}?c`)).text, body, where);
      }
      for (const where of ['nix-cache-info', `${path.hashPart}.narinfo`, path.url])
        assert.equal((await get(`/${where}?hash=abc&x=1`)).status, 200, where);
    });

    it('with what can only be an attack lead nowhere', async () => {
      const attacks = [
        '/../nar/x',
        '/nar/..%2f..%2fetc',
        '/nar/%2e%2e',
        '/log/%00.drv',
        '/nar/a%5cb',
        '/nar/%zz',
        '/%',
      ];
      for (const where of attacks) {
        assert.equal((await get(where)).status, 404, where);
        assert.equal((await put(pushUrl, where, 'x', auth)).status, 404, where);
      }
    });

    it('of narinfos that cannot be are simply missing', async () => {
      const wrong = ['x', 'e'.repeat(32), '0'.repeat(31), '0'.repeat(33), 'A'.repeat(32), '0'.repeat(32), '%30'];
      for (const hash of wrong) {
        assert.equal((await get(`/${hash}.narinfo`)).status, 404, hash);
        assert.equal((await head(`/${hash}.narinfo`)).status, 404, hash);
      }
    });

    it('that are unknown are missing, with one line of text', async () => {
      for (const where of [
        '/',
        '/nar/',
        '/x.ls',
        '/log/x',
        '/debuginfo/12',
        '/realisations/x!out.doi',
        '/favicon.ico',
      ]) {
        const reply = await get(where);
        assert.equal(reply.status, 404, where);
        assert.equal(reply.text, 'not found\n', where);
      }
    });
  });

  describe('reads', () => {
    it('answer HEAD with the headers of GET and no body', async () => {
      const stable = ({ date: _, 'x-request-id': __, ...rest }: Reply['headers']) => rest;
      const places = [
        'nix-cache-info',
        `${path.hashPart}.narinfo`,
        path.url,
        `log/${DRV}`,
        'x.narinfo',
        'nar/x',
        'none',
      ];
      await put(pushUrl, `/log/${DRV}`, 'building\n', auth);
      for (const base of [server.url, `${server.url}/push`, server.api(), `${server.api()}/push`]) {
        for (const where of places) {
          const [got, headed] = [await send(base, `/${where}`), await send(base, `/${where}`, { method: 'HEAD' })];
          assert.equal(headed.status, got.status, where);
          assert.deepEqual(stable(headed.headers), stable(got.headers), where);
          assert.equal(headed.body.length, 0, where);
          assert.equal(Number(got.headers['content-length']), got.body.length, where);
        }
      }
    });

    it('serve nix-cache-info with a priority behind that of cache.nixos.org', async () => {
      const reply = await get('/nix-cache-info');
      assert.equal(reply.text, 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 41\n');
      assert.match(reply.headers['content-type'] ?? '', /^text\/x-nix-cache-info/);
    });

    it('serve a NAR that never changes, whole or from any byte', async () => {
      const whole = await get(`/${path.url}`);
      assert.ok(whole.body.equals(path.file));
      assert.equal(whole.headers['content-type'], 'application/x-nix-nar');
      assert.equal(whole.headers['accept-ranges'], 'bytes');
      assert.equal(whole.headers['cache-control'], 'public, max-age=31536000, immutable');
      assert.equal(whole.headers['content-encoding'], undefined);

      const size = path.file.length;
      const ranges: [header: string, start: number, end: number][] = [
        ['bytes=100-', 100, size - 1],
        ['bytes=0-0', 0, 0],
        ['bytes=5-9', 5, 9],
        [`bytes=10-${size + 5}`, 10, size - 1],
        ['bytes=-7', size - 7, size - 1],
        [`bytes=-${size + 1}`, 0, size - 1],
      ];
      for (const [range, start, end] of ranges) {
        const part = await get(`/${path.url}`, { range });
        assert.equal(part.status, 206, range);
        assert.equal(part.headers['content-range'], `bytes ${start}-${end}/${size}`, range);
        assert.ok(part.body.equals(path.file.subarray(start, end + 1)), range);
      }
    });

    it('refuse a range behind the end and send the whole for forms that they do not do', async () => {
      const size = path.file.length;
      for (const range of [`bytes=${size}-`, `bytes=${size + 10}-`, 'bytes=-0']) {
        const reply = await get(`/${path.url}`, { range });
        assert.equal(reply.status, 416, range);
        assert.equal(reply.headers['content-range'], `bytes */${size}`, range);
      }
      for (const range of ['bytes=0-1,5-6', 'bytes=9-5', 'bytes=a-b', 'items=0-1', 'bytes=-']) {
        const reply = await get(`/${path.url}`, { range });
        assert.equal(reply.status, 200, range);
        assert.ok(reply.body.equals(path.file), range);
      }
    });

    it('answer 304 to whoever has the same already', async () => {
      for (const where of [`/${path.hashPart}.narinfo`, `/${path.url}`]) {
        const { headers } = await get(where);
        const etag = headers.etag ?? '';
        for (const header of [etag, `"other", ${etag}`, `W/${etag}`, '*']) {
          const reply = await get(where, { 'if-none-match': header });
          assert.equal(reply.status, 304, `${where} ${header}`);
          assert.equal(reply.body.length, 0);
          assert.equal(reply.headers.etag, etag);
        }
        assert.equal((await get(where, { 'if-none-match': '"other"' })).status, 200);
      }
    });

    it('never encode what they send', async () => {
      for (const where of [`/${path.hashPart}.narinfo`, `/${path.url}`, '/nix-cache-info']) {
        const reply = await get(where, { 'accept-encoding': 'zstd, br, gzip, deflate, bzip2, xz' });
        assert.equal(reply.headers['content-encoding'], undefined, where);
      }
    });
  });

  describe('writes', () => {
    it('keep auxiliary files as they came, and the newest of two', async () => {
      for (const [where, body] of auxiliaries('1')) assert.equal((await put(pushUrl, where, body, auth)).status, 200);
      for (const [where, body] of auxiliaries()) {
        assert.equal((await put(pushUrl, where, body, auth)).status, 200, where);
        const reply = await get(where);
        assert.equal(reply.text, body, where);
        assert.match(
          reply.headers['content-type'] ?? '',
          where.startsWith('/log') ? /^text\/plain/ : /^application\/json$/,
        );
      }
    });

    it('take a log without a byte', async () => {
      const where = `/log/${DRV.replace('thing', 'empty')}`;
      assert.equal((await put(pushUrl, where, '', auth)).status, 200);
      const reply = await get(where);
      assert.equal(reply.status, 200);
      assert.equal(reply.headers['content-length'], '0');
      assert.equal((await head(where)).status, 200);
    });

    it('take a realisation whose exclamation mark is raw or encoded', async () => {
      const raw = `/realisations/sha256:${'cd'.repeat(32)}!dev.doi`;
      const encoded = raw.replace('!', '%21').replace(':', '%3A');
      const body = (name: string) => realisation(`sha256:${'cd'.repeat(32)}!dev`, name);
      assert.equal((await put(pushUrl, raw, body('raw'), auth)).status, 200);
      assert.equal((await get(encoded)).text, body('raw'));
      assert.equal((await put(pushUrl, encoded, body('encoded'), auth)).status, 200);
      assert.equal((await get(raw)).text, body('encoded'));
    });

    it('take a log whose name has a question mark, raw or encoded', async () => {
      const raw = `/log/${DRV.replace('thing', 'what?is=this+')}`;
      assert.equal((await put(pushUrl, raw, 'raw\n', auth)).status, 200);
      assert.equal((await get(raw.replace('?', '%3F'))).text, 'raw\n');
      assert.equal((await get(raw)).text, 'raw\n');
    });

    it('take nix-cache-info for the same store folder and change nothing', async () => {
      const good = await put(pushUrl, '/nix-cache-info', 'StoreDir: /nix/store\nPriority: 1\n', auth);
      assert.equal(good.status, 200, good.text);
      const other = await put(pushUrl, '/nix-cache-info', 'StoreDir: /gnu/store\n', auth);
      assert.equal(other.status, 409);
      assert.equal(other.text, 'this cache is for /nix/store, not /gnu/store\n');
      assert.match((await get('/nix-cache-info')).text, /^Priority: 41$/m);
    });

    it('are refused on the pull URL, with the push URL', async () => {
      const fresh = nixPath();
      for (const where of [`/${fresh.url}`, `/${fresh.hashPart}.narinfo`, `/log/${DRV}`, '/nix-cache-info']) {
        for (const base of [server.url, server.api()]) {
          const reply = await send(base, where, { method: 'PUT', body: fresh.file, headers: auth, expect: true });
          assert.equal(reply.status, 405, where);
          assert.equal(reply.continued, false, where);
          const url = `http://main.localhost:${server.port}/push?compression=zstd`;
          assert.equal(reply.text, `this URL is for pulling only; push with: nix copy --to '${url}' PATH\n`);
        }
      }
    });

    it('with another method are refused', async () => {
      for (const method of ['POST', 'DELETE', 'PATCH']) {
        const reply = await send(pushUrl, `/${path.hashPart}.narinfo`, { method, headers: auth });
        assert.equal(reply.status, 405, method);
        assert.equal((await get(`/${path.hashPart}.narinfo`)).status, 200);
      }
    });

    it('refuse a NAR under a name that its bytes do not have', async () => {
      const [a, b] = [nixPath(), nixPath()];
      const reply = await put(pushUrl, `/${a.url}`, b.file, auth);
      assert.equal(reply.status, 400);
      assert.equal(reply.text, `the SHA-256 of the received bytes is ${b.fileHash}, the name says ${a.fileHash}\n`);
      assert.equal((await get(`/${a.url}`)).status, 404);
      for (const name of ['x.nar', 'p', `${'e'.repeat(52)}.nar`, `${'0'.repeat(51)}.nar.xz`]) {
        const misnamed = await send(pushUrl, `/nar/${name}`, {
          method: 'PUT',
          body: b.file,
          headers: auth,
          expect: true,
        });
        assert.equal(misnamed.status, 400, name);
        assert.equal(misnamed.continued, false, name);
        assert.match(misnamed.text, /^a NAR is called nar\/<SHA-256 of the file in nix32>\.nar/);
      }
    });

    it('take the same NAR twice', async () => {
      for (const expect of [false, true]) {
        const again = await send(pushUrl, `/${path.url}`, { method: 'PUT', body: path.file, headers: auth, expect });
        assert.equal(again.status, 200, again.text);
      }
    });

    it('take a body without a length', async () => {
      const fresh = nixPath();
      const { nar, narinfo } = await push(pushUrl, fresh, { ...auth, 'transfer-encoding': 'chunked' });
      assert.equal(nar.status, 200, nar.text);
      assert.equal(narinfo.status, 200, narinfo.text);
      assert.equal((await head(`/${fresh.url}`)).headers['content-length'], String(fresh.file.length));
    });

    it('show a NAR only once it is complete', async () => {
      const fresh = nixPath({ tree: { type: 'regular', contents: randomBytes(300_000) } });
      const cut = await put(pushUrl, `/${fresh.url}`, fresh.file.subarray(0, 200_000), auth);
      assert.equal(cut.status, 400, cut.text);
      assert.equal((await head(`/${fresh.url}`)).status, 404);
      assert.equal((await put(pushUrl, `/${fresh.url}`, fresh.file, auth)).status, 200);
      assert.equal((await head(`/${fresh.url}`)).status, 200);
    });
  });

  for (const compression of ['none', 'xz', 'bzip2', 'zstd', 'lz4', 'br', 'gzip'] as const) {
    it(`takes and serves a NAR compressed with ${compression}`, async () => {
      const fresh = nixPath({ compression });
      const { nar, narinfo } = await push(pushUrl, fresh, auth);
      assert.equal(nar.status, 200, nar.text);
      assert.equal(narinfo.status, 200, narinfo.text);
      assert.ok((await get(`/${fresh.url}`)).body.equals(fresh.file));
      const text = (await get(`/${fresh.hashPart}.narinfo`)).text;
      assert.match(text, new RegExp(`^Compression: ${compression}$`, 'm'));
      assert.ok(fresh.url.endsWith(`.nar${compressionSuffix(compression)}`));
    });
  }

  for (const encoding of ['gzip', 'br', 'zstd', 'xz', 'bzip2'] as const) {
    it(`decodes bodies with Content-Encoding ${encoding}`, async () => {
      const headers = { ...auth, 'content-encoding': encoding };
      const fresh = nixPath({ compression: 'none' });
      const encoded = (body: Buffer | string) => compress(encoding, Buffer.from(body));
      const nar = await put(pushUrl, `/${fresh.url}`, encoded(fresh.file), headers);
      assert.equal(nar.status, 200, nar.text);
      const narinfo = await put(pushUrl, `/${fresh.hashPart}.narinfo`, encoded(fresh.narinfo), headers);
      assert.equal(narinfo.status, 200, narinfo.text);
      assert.ok((await get(`/${fresh.url}`)).body.equals(fresh.file));
      assert.ok((await get(`/${fresh.hashPart}.narinfo`)).text.startsWith(fresh.narinfo));
      for (const [where, body] of auxiliaries()) {
        const reply = await put(pushUrl, where, encoded(body), headers);
        assert.equal(reply.status, 200, `${where}: ${reply.text}`);
        assert.equal((await get(where)).text, body, where);
      }
      const broken = await put(pushUrl, `/log/${DRV}`, encoded('x'.repeat(5000)).subarray(0, 14), headers);
      assert.equal(broken.status, 400, broken.text);
    });
  }
});
