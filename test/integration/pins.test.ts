import assert from 'node:assert/strict';
import { GatewayPair } from '../support/gateway-pair.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { pushByPut } from '../support/push.ts';
import { type Reply, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const HASH = '0'.repeat(32);
const STRANGER = 'no such cache, or no access to it without a token that it knows\n';
const FAST = ['--housekeeping-interval', '0.1'];

interface Told {
  readonly revision: number;
  readonly storePath: string;
  readonly createdOn: string;
  readonly [field: string]: unknown;
}

/** Asks for pins of one cache as the holder of a token; without a name, as a stranger. */
class Client {
  readonly #base: string;
  readonly #headers: () => Promise<Record<string, string>>;

  constructor(base: string, headers: () => Promise<Record<string, string>> = async () => ({})) {
    this.#base = base;
    this.#headers = headers;
  }

  static of(server: TestServer, token?: string, cache = 'main'): Client {
    return new Client(server.api(cache), token === undefined ? undefined : () => server.auth(token, cache));
  }

  async send(method: string, path: string, body?: unknown): Promise<Reply> {
    const bytes = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    return send(this.#base, path, {
      method,
      headers: await this.#headers(),
      ...(bytes !== undefined && { body: bytes }),
    });
  }

  pin(name: string, { storePath }: Pick<TestPath, 'storePath'>, rest: object = {}): Promise<Reply> {
    return this.send('POST', '/pin', { name, storePath, artifacts: [], keep: null, ...rest });
  }

  async list(): Promise<{ name: string; lastRevision: Told }[]> {
    return this.#json('/pin') as Promise<{ name: string; lastRevision: Told }[]>;
  }

  async history(name: string): Promise<Told[]> {
    return this.#json(`/pin/${encodeURIComponent(name)}`) as Promise<Told[]>;
  }

  async #json(path: string): Promise<unknown> {
    const { status, text, headers } = await this.send('GET', path);
    assert.equal(status, 200, text);
    assert.equal(headers['content-type'], 'application/json; charset=utf-8');
    return JSON.parse(text);
  }
}

function assertRefused({ status, text }: Reply, wanted: number, line: RegExp | string): void {
  assert.equal(status, wanted, text);
  if (typeof line === 'string') assert.equal(text, line);
  else assert.match(text, line);
  assert.match(text, /^[ -~]+\n$/);
}

const revisions = (told: readonly Told[]) => told.map(({ revision, storePath }) => [revision, storePath]);

describe('pins of a public cache', () => {
  let server: TestServer;
  let writer: Client;
  let reader: Client;
  let paths: TestPath[];
  before(async () => {
    server = await TestServer.start({
      manifest: `${cacheManifest('main', standardSpec)}---\n${cacheManifest('other', standardSpec)}`,
      args: FAST,
    });
    writer = Client.of(server, 'push');
    reader = Client.of(server, 'read');
    paths = [makePath(), makePath(), makePath()];
    for (const path of paths) await pushByPut(server, path);
  });
  after(() => server.remove());
  afterEach(async () => {
    for (const { name } of await reader.list()) await writer.send('DELETE', `/pin/${encodeURIComponent(name)}`);
  });
  const path = (index = 0): TestPath => paths[index] ?? makePath();

  it('are added with exactly 200, listed as Cachix lists them, and have a history', async () => {
    const first = await writer.pin('release/v1', path(0), {
      artifacts: ['/bin/app'],
      keep: { tag: 'Revisions', contents: 7 },
    });
    assert.deepEqual([first.status, first.text], [200, '']);
    assert.equal((await writer.pin('release/v1', path(1))).status, 200);
    const [pin, ...rest] = await reader.list();
    assert.deepEqual(rest, []);
    assert.equal(pin?.name, 'release/v1');
    const { createdOn, ...last } = pin.lastRevision;
    assert.equal(createdOn, new Date(createdOn).toISOString());
    assert.deepEqual(last, {
      ...{ revision: 2, storePath: path(1).storePath, artifacts: [], keep: null },
      ...{ origin: 'api', present: true },
    });
    const history = await reader.history('release/v1');
    assert.deepEqual(revisions(history), [
      [2, path(1).storePath],
      [1, path(0).storePath],
    ]);
    assert.deepEqual(history[1]?.artifacts, ['bin/app']);
    assert.deepEqual(history[1]?.keep, { tag: 'Revisions', contents: 7 });
  });

  it('are the same when a client repeats its call', async () => {
    for (let time = 0; time < 3; time++) assert.equal((await writer.pin('a', path())).status, 200);
    await Promise.all(Array.from({ length: 8 }, () => writer.pin('a', path(1))));
    assert.deepEqual(
      revisions(await reader.history('a')).map(([revision]) => revision),
      [2, 1],
    );
  });

  it('go, once', async () => {
    await writer.pin('a', path());
    const gone = await writer.send('DELETE', '/pin/a');
    assert.deepEqual([gone.status, gone.text], [200, '']);
    assertRefused(await writer.send('DELETE', '/pin/a'), 404, 'no such pin\n');
    assertRefused(await reader.send('GET', '/pin/a'), 404, 'no such pin\n');
    assert.deepEqual(await reader.list(), []);
  });

  it('are found at the host of the cache and below the API host alike', async () => {
    await writer.pin('a', path());
    const headers = { ...(await server.auth('read')), host: 'main.localhost' };
    assert.equal((await send(server.url, '/api/v1/cache/main/pin', { headers })).status, 200);
    const head = await reader.send('HEAD', '/pin');
    assert.deepEqual([head.status, head.text], [200, '']);
  });

  it('are listed for holders of a token alone, and strangers hear what strangers of a private cache do', async () => {
    await writer.pin('a', path());
    const strangers = [
      Client.of(server),
      new Client(server.api(), async () => ({ authorization: 'Bearer nwl_unknown' })),
      new Client(server.api(), () => server.auth('admin', 'other')),
    ];
    for (const stranger of strangers)
      for (const where of ['/pin', '/pin/a', '/pin/nonsense'])
        assertRefused(await stranger.send('GET', where), 401, STRANGER);
  });

  it('need Write to be changed, and show the names of tokens to administrators alone', async () => {
    assertRefused(await reader.pin('a', path()), 401, /token read has the permission Read, this needs Write/);
    assertRefused(await Client.of(server).pin('a', path()), 401, /needs a token with the permission Write/);
    await writer.pin('a', path());
    assertRefused(await reader.send('DELETE', '/pin/a'), 401, /this needs Write/);
    assertRefused(await Client.of(server).send('DELETE', '/pin/a'), 401, /needs a token/);
    const admin = Client.of(server, 'admin');
    assert.equal((await admin.list())[0]?.lastRevision.token, 'push');
    assert.equal((await admin.history('a'))[0]?.token, 'push');
    for (const client of [reader, writer]) assert.ok(!('token' in ((await client.list())[0]?.lastRevision ?? {})));
  });

  it('outlive the server', async () => {
    await writer.pin('a', path());
    const before = await reader.list();
    await server.stop('SIGKILL');
    await server.restart();
    writer = Client.of(server, 'push');
    reader = Client.of(server, 'read');
    assert.deepEqual(await reader.list(), before);
  });

  it('lose the revisions that their rule keeps no longer', async () => {
    for (const index of [0, 1, 0]) await writer.pin('a', path(index));
    await writer.pin('a', path(2), { keep: { tag: 'Revisions', contents: 2 } });
    await until('two revisions stay', async () => (await reader.history('a')).length === 2);
    assert.deepEqual(revisions(await reader.history('a')), [
      [4, path(2).storePath],
      [3, path(0).storePath],
    ]);
  });

  it('count in /status', async () => {
    await writer.pin('a', path());
    const { caches } = (await (await fetch(`${server.adminUrl}/status`)).json()) as {
      caches: { name: string; pins: unknown }[];
    };
    assert.deepEqual(caches.find(({ name }) => name === 'main')?.pins, { names: 1, missing: 0, firstMissing: [] });
  });

  const good = { name: 'a', storePath: `/nix/store/${HASH}-x`, artifacts: [], keep: null };
  const BAD: readonly [what: string, body: unknown, status: number, line: RegExp][] = [
    ['no body', '', 400, /^the body is empty/],
    ['no JSON', '{"name":', 400, /are not JSON/],
    ['a list', [], 400, /^expected a JSON object/],
    ['text', '"x"', 400, /^expected a JSON object/],
    ['JSON that is too deep', '{"a":'.repeat(20), 400, /nested deeper/],
    ['JSON that is too long', { ...good, artifacts: ['x'.repeat(600_000)] }, 413, /^larger than the limit/],
    ['no name', { ...good, name: undefined }, 400, /^name: /],
    ['an empty name', { ...good, name: '' }, 400, /^name: /],
    ['a name that is too long', { ...good, name: 'x'.repeat(201) }, 400, /^name: /],
    ['a name of two lines', { ...good, name: 'a\nb' }, 400, /^name: /],
    ['a name with a NUL', { ...good, name: 'a\0' }, 400, /^name: /],
    ['a name that climbs', { ...good, name: '../a' }, 400, /^name: /],
    ['a name that is a list', { ...good, name: ['a'] }, 400, /^name: /],
    ['half a character', `{"name":"\\ud800","storePath":"/nix/store/${HASH}-x"}`, 400, /^name: /],
    ['no path', { ...good, storePath: null }, 400, /^storePath: expected text/],
    ['a file of a path', { ...good, storePath: `/nix/store/${HASH}-x/bin` }, 400, /^storePath: /],
    ['another store', { ...good, storePath: `/gnu/store/${HASH}-x` }, 400, /^storePath: expected \/nix\/store/],
    ['a bad hash', { ...good, storePath: `/nix/store/${'e'.repeat(32)}-x` }, 400, /^storePath: /],
    ['artifacts that are no list', { ...good, artifacts: 'bin' }, 400, /^artifacts: /],
    ['artifacts that are no text', { ...good, artifacts: [1] }, 400, /^artifacts: /],
    ['an artifact that climbs', { ...good, artifacts: ['bin/../../x'] }, 400, /^artifacts: /],
    ['an artifact with a NUL', { ...good, artifacts: ['a\0'] }, 400, /^artifacts: /],
    ['too many artifacts', { ...good, artifacts: Array(101).fill('x') }, 400, /^artifacts: /],
    ['a keep of 0', { ...good, keep: { tag: 'Days', contents: 0 } }, 400, /^keep: Days expects/],
    ['a keep below 0', { ...good, keep: { tag: 'Revisions', contents: -3 } }, 400, /^keep: Revisions expects/],
    ['half a day', { ...good, keep: { tag: 'Days', contents: 0.5 } }, 400, /^keep: Days expects/],
    ['a keep beyond all numbers', { ...good, keep: { tag: 'Days', contents: 1e300 } }, 400, /^keep: Days expects/],
    ['a keep that nobody knows', { ...good, keep: { tag: 'Weeks', contents: 1 } }, 400, /^keep: expected/],
    ['a keep that is text', { ...good, keep: 'Forever' }, 400, /^keep: expected/],
    ['a path that is not here', good, 404, /is not published here: push it before it is pinned$/m],
  ];
  for (const [what, body, status, line] of BAD) {
    it(`are refused for ${what}, and stay as they are`, async () => {
      await writer.pin('a', path());
      const before = await reader.list();
      assertRefused(await writer.send('POST', '/pin', body), status, line);
      assert.deepEqual(await reader.list(), before);
    });
  }

  it('are refused under the hash of another name', async () => {
    assertRefused(await writer.pin('a', { storePath: `${path().storePath}-other` }), 404, /is not published here/);
  });

  it('are not found by names that cannot be', async () => {
    for (const name of ['', '%0a', '%00', '..', 'a%2f..%2fb', 'a\\b', 'x'.repeat(201), '%zz', 'a%2f'])
      for (const method of ['GET', 'DELETE']) {
        const { status, text } = await writer.send(method, `/pin/${name}`);
        assert.ok([400, 404, 405].includes(status), `${method} ${name}: ${status}`);
        assert.match(text, /^[ -~]+\n$/);
      }
    for (const method of ['PUT', 'DELETE', 'PATCH'])
      assert.ok([404, 405].includes((await writer.send(method, '/pin')).status));
  });
});

describe('pins behind a gateway', () => {
  it('are added, listed and removed as at the server', async () => {
    const pair = await GatewayPair.start();
    try {
      const path = makePath();
      await pushByPut(pair.main, path);
      await pushByPut(pair.secret, path, { cache: 'private' });
      for (const [cache, server] of [
        ['main', pair.main],
        ['private', pair.secret],
      ] as const) {
        const client = new Client(pair.api(cache), () => server.auth('push', cache));
        assert.equal((await client.pin('a b/ü', path)).status, 200);
        assert.deepEqual(
          (await client.list()).map(({ name }) => name),
          ['a b/ü'],
        );
        assert.equal((await client.history('a b/ü')).length, 1);
        assertRefused(await new Client(pair.api(cache)).send('GET', '/pin'), 401, STRANGER);
        assert.equal((await client.send('DELETE', `/pin/${encodeURIComponent('a b/ü')}`)).status, 200);
        assert.deepEqual(await client.list(), []);
      }
    } finally {
      await pair.remove();
    }
  });
});

describe('pins of a manifest', () => {
  const spec = (pins: string) => cacheManifest('main', `${standardSpec}pins:\n${pins}`);
  const line = (name: string, { storePath }: Pick<TestPath, 'storePath'>, keep = '') =>
    `  - {name: ${name}, storePath: ${storePath}${keep}}\n`;
  const statusOf = async (server: TestServer) => {
    const { caches } = (await (await fetch(`${server.adminUrl}/status`)).json()) as { caches: { pins: unknown }[] };
    return caches[0]?.pins;
  };

  it('wait for their path, belong to the manifest, and follow it', async () => {
    const [first, second] = [makePath(), makePath()];
    const server = await TestServer.start({ manifest: spec(line('release', first)), args: FAST });
    try {
      const writer = Client.of(server, 'push');
      const { storePath } = first;
      const firstMissing = [{ name: 'release', storePath }];
      assert.deepEqual(await statusOf(server), { names: 1, missing: 1, firstMissing });
      assert.equal((await writer.list())[0]?.lastRevision.present, false);
      await pushByPut(server, first);
      await pushByPut(server, second);
      assert.deepEqual(await statusOf(server), { names: 1, missing: 0, firstMissing: [] });
      const { lastRevision } = (await writer.list())[0] ?? {};
      assert.deepEqual([lastRevision?.present, lastRevision?.origin], [true, 'manifest']);

      const owned = 'the pin release belongs to the manifest of this cache: change spec.pins\n';
      assertRefused(await writer.pin('release', first), 409, owned);
      assertRefused(await writer.send('DELETE', '/pin/release'), 409, owned);
      assert.equal((await writer.pin('other', first)).status, 200);

      await server.writeManifest(spec(line('release', second, ', keep: {revisions: 1}')));
      await until('the other path is pinned', async () => (await writer.history('release'))[0]?.revision === 2);
      await until('the first revision is dropped', async () => (await writer.history('release')).length === 1);
      await server.writeManifest(cacheManifest('main', standardSpec));
      await until('the name is gone', async () => (await writer.list()).length === 1);
      assert.equal((await writer.pin('release', first)).status, 200);

      // The manifest takes over a name, and gives it back.
      await server.writeManifest(spec(line('release', second)));
      await until('it is of the manifest', async () => (await writer.history('release'))[0]?.origin === 'manifest');
      await server.writeManifest(cacheManifest('main', standardSpec));
      await until('it is what was pinned before', async () => (await writer.history('release')).length === 1);
      assert.deepEqual(revisions(await writer.history('release')), [[1, first.storePath]]);
    } finally {
      await server.remove();
    }
  });

  it('are refused with file and line where they cannot be', async () => {
    const path = makePath();
    const bad = [
      line('a', path) + line('a', path),
      line('c', { storePath: '/nix/store/x' }),
      line('d', path, ', keep: {days: 0}'),
      line('e', path, ', keep: {}'),
      line('"a/../b"', path),
    ];
    await assert.rejects(TestServer.start({ manifest: spec(bad.join('')) }), ({ message }: Error) => {
      for (const told of [
        /cache\.yaml:\d+: spec\.pins\[1\]\.name: is the same as in entry \[0\]/,
        /cache\.yaml:\d+: spec\.pins\[2\]\.storePath: must be a store path/,
        /cache\.yaml:\d+: spec\.pins\[3\]\.keep\.days: must be between 1 and 36500/,
        /cache\.yaml:\d+: spec\.pins\[5\]\.name: must be a name that a URL can end with/,
      ])
        assert.match(message, told);
      return true;
    });
  });
});
