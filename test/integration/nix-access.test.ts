// Who may do what, on every route of the nix protocol and at each of its addresses.
import assert from 'node:assert/strict';
import { LISTING, nixPath, push } from '../support/nix-path.ts';
import { put, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const EXPIRED = '  - {name: expired, permissions: [Admin], expiresAt: 2020-01-01T00:00:00Z}\n';
const DRV = '00000000000000000000000000000000-thing-1.0.drv';

const MANIFEST = [
  cacheManifest('main', standardSpec + EXPIRED),
  cacheManifest('private', `${standardSpec}${EXPIRED}access: Private\n`),
].join('---\n');

type Headers = Record<string, string>;

describe('access by the nix protocol', () => {
  let server: TestServer;
  const path = nixPath();
  const outPath = `${'1'.repeat(32)}-out`;
  /** Files beside the path, each in its form. */
  const files: readonly (readonly [route: string, body: string])[] = [
    [`/${path.hashPart}.ls`, LISTING],
    [`/log/${DRV}`, 'x'],
    [`/debuginfo/${'0'.repeat(40)}.debug`, '{"archive":"../nar/x","member":"y"}'],
    [
      `/realisations/sha256:${'0'.repeat(64)}!out.doi`,
      JSON.stringify({ id: `sha256:${'0'.repeat(64)}!out`, outPath, signatures: [], dependentRealisations: {} }),
    ],
    [`/build-trace-v2/${DRV}/out.doi`, JSON.stringify({ outPath, signatures: [] })],
  ];
  /** Every route, with a file that is there; nix-cache-info apart. */
  const routes = [`/${path.hashPart}.narinfo`, `/${path.url}`, ...files.map(([route]) => route)];

  before(async () => {
    server = await TestServer.start({ manifest: MANIFEST });
    for (const cache of ['main', 'private']) {
      const auth = await server.auth('push', cache);
      const { narinfo } = await push(`${server.api(cache)}/push`, path, auth);
      assert.equal(narinfo.status, 200, narinfo.text);
      for (const [route, body] of files)
        assert.equal((await put(`${server.api(cache)}/push`, route, body, auth)).status, 200, route);
    }
  });
  after(() => server.remove());

  const basic = (user: string, password: string): Headers => ({
    authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
  });

  /** The addresses of a cache, each with what a request there needs: by path, by host, and both below /push. */
  const addresses = (cache: string): [base: string, headers: Headers][] => [
    [server.api(cache), {}],
    [`${server.api(cache)}/push`, {}],
    [server.url, { host: `${cache}.localhost:${server.port}` }],
    [`${server.url}/push`, { host: `${cache}.localhost` }],
  ];

  async function everywhere(
    cache: string,
    headers: Headers,
    check: (got: Awaited<ReturnType<typeof send>>, what: string) => void,
  ) {
    for (const [base, host] of addresses(cache)) {
      for (const route of routes) {
        // Encoded, an address goes another way through the server.
        for (const where of [route, route.replace(/^\/./, (start) => `/%${start.charCodeAt(1).toString(16)}`)]) {
          for (const method of ['GET', 'HEAD']) {
            const reply = await send(base, where, { method, headers: { ...host, ...headers } });
            check(reply, `${method} ${base}${where}`);
          }
        }
      }
    }
  }

  async function cacheInfo(cache: string, headers: Headers): Promise<{ status: number; text: string }[]> {
    return Promise.all(
      addresses(cache).map(([base, host]) => send(base, '/nix-cache-info', { headers: { ...host, ...headers } })),
    );
  }

  it('a private cache hides everything but nix-cache-info from strangers', async () => {
    await everywhere('private', {}, (reply, what) => {
      assert.equal(reply.status, 404, what);
      assert.equal(reply.headers['cache-control'], 'no-store', what);
    });
    for (const info of await cacheInfo('private', {})) assert.equal(info.status, 200);
    const missing = await send(server.api('private'), `/${'0'.repeat(32)}.narinfo`);
    const hidden = await send(server.api('private'), `/${path.hashPart}.narinfo`);
    assert.equal(hidden.text, missing.text, 'what is there and what is not look the same');
    // An empty credential is none: cachix sends a bare Bearer.
    assert.equal(
      (await send(server.api('private'), `/${path.url}`, { headers: { authorization: 'Bearer' } })).status,
      404,
    );
  });

  it('a private cache tells a wrong credential so on every route', async () => {
    const expired = await server.auth('expired', 'private');
    const foreign = await server.auth('admin', 'main');
    const stranger = /^no such cache, or no access to it without a token that it knows$/m;
    const wrong: [headers: Headers, text: RegExp][] = [
      [{ authorization: 'Bearer nwl_nonsense' }, stranger],
      [{ authorization: 'Basic nwl_nonsense' }, stranger],
      [{ authorization: `Basic ${await server.token('read', 'private')}` }, stranger],
      [basic('nix', 'nwl_nonsense'), stranger],
      [foreign, stranger],
      [expired, /token expired expired on 2020-01-01T00:00:00\.000Z/],
    ];
    for (const [headers, text] of wrong) {
      await everywhere('private', headers, (reply, what) => {
        assert.equal(reply.status, 401, what);
        assert.match(reply.headers['content-type'] ?? '', /^text\/plain/, what);
        assert.match(reply.headers['www-authenticate'] ?? '', /^Basic /, what);
        if (!what.startsWith('HEAD')) assert.match(reply.text, text, what);
      });
      for (const info of await cacheInfo('private', headers)) {
        assert.equal(info.status, 401);
        assert.match(info.text, text);
      }
    }
  });

  it('a private cache serves who may read, by Bearer and by Basic with any user', async () => {
    const read = await server.token('read', 'private');
    const ways = [
      { authorization: `Bearer ${read}` },
      { authorization: `bearer ${read}` },
      basic('x', read),
      basic('', read),
    ];
    for (const headers of [...ways, await server.auth('push', 'private'), await server.auth('admin', 'private')]) {
      await everywhere('private', headers, (reply, what) => {
        assert.equal(reply.status, 200, what);
        assert.match(reply.headers['cache-control'] ?? '', /^private, /, what);
      });
      for (const info of await cacheInfo('private', headers)) assert.equal(info.status, 200);
    }
  });

  it('a public cache serves everybody, whatever stands in their netrc', async () => {
    for (const headers of [{}, { authorization: 'Bearer nwl_nonsense' }, await server.auth('expired', 'main')]) {
      await everywhere('main', headers, (reply, what) => {
        assert.equal(reply.status, 200, what);
        assert.match(reply.headers['cache-control'] ?? '', /^public, /, what);
      });
      for (const info of await cacheInfo('main', headers)) assert.equal(info.status, 200);
    }
  });

  for (const cache of ['main', 'private']) {
    it(`the ${cache} cache takes writes from who may write only, before the body`, async () => {
      const isOpen = cache === 'main';
      const unknown = isOpen ? /this token is not known here/ : /^no such cache, or no access to it/;
      const refused: [headers: Headers, text: RegExp][] = [
        [{}, isOpen ? /this needs a token with the permission Write/ : unknown],
        [await server.auth('read', cache), /token read has the permission Read, this needs Write/],
        [await server.auth('expired', cache), /token expired expired on/],
        [{ authorization: 'Bearer nwl_nonsense' }, unknown],
        [basic('nix', 'nwl_nonsense'), unknown],
      ];
      for (const [base, host] of addresses(cache)) {
        for (const where of [...routes, '/nix-cache-info']) {
          for (const [headers, text] of refused) {
            const init = { method: 'PUT', body: 'x', headers: { ...host, ...headers }, expect: true };
            const reply = await send(base, where, init);
            assert.equal(reply.status, 401, `${base}${where}`);
            // Of a realisation at the pull URL only its body tells whether it says something new.
            const isEchoed = where.endsWith('.doi') && !base.endsWith('/push');
            if (!isEchoed) assert.equal(reply.continued, false, `${base}${where}`);
            assert.match(reply.text, text);
          }
        }
      }
      for (const name of ['push', 'admin']) {
        const token = await server.token(name, cache);
        for (const headers of [{ authorization: `Bearer ${token}` }, basic('anybody', token)]) {
          const { nar, narinfo } = await push(`${server.api(cache)}/push`, nixPath(), headers);
          assert.deepEqual([nar.status, narinfo.status], [200, 200], nar.text + narinfo.text);
        }
      }
    });
  }

  it('a token that leaves the manifest is unknown at once, and one that comes is known', async () => {
    const old = await server.auth('read', 'private');
    const rotated = MANIFEST.replaceAll('name: read,', 'name: read-2,');
    await server.writeManifest(rotated);
    const status = async (headers: Headers) =>
      (await send(server.api('private'), `/${path.hashPart}.narinfo`, { headers })).status;
    await until('the old token is refused', async () => (await status(old)) === 401);
    assert.equal(await status(await server.auth('read-2', 'private')), 200);
    await server.writeManifest(MANIFEST);
    // The file of a token goes with its name, so that the name never brings an old one back.
    await until('the name has a token again', async () => {
      const again = await server.auth('read', 'private').catch(() => undefined);
      return again !== undefined && (await status(again)) === 200;
    });
    assert.equal(await status(old), 401);
  });

  it('no token appears in the log', async () => {
    for (const cache of ['main', 'private']) {
      for (const name of ['read', 'push', 'admin', 'expired'])
        assert.ok(!server.output.includes(await server.token(name, cache)), name);
    }
  });
});
