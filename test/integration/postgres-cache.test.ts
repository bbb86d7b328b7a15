import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { generateSecretKey, parseSecretKey } from '../../server/nix/index.ts';
import { runCli } from '../support/cli.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { PostgresServer } from '../support/postgres.ts';
import { type CacheOnPostgresInit, cacheOnPostgres } from '../support/postgres-cache.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { TestServer, until } from '../support/server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

describe('a server on PostgreSQL', () => {
  let postgres: PostgresServer;
  let server: TestServer | undefined;
  const secrets: string[] = [];
  const output: string[] = [];
  before(async () => {
    postgres = await PostgresServer.start();
  });
  afterEach(async () => {
    if (server === undefined) return;
    await server.stop();
    output.push(server.output);
    await server.remove();
    server = undefined;
  });
  after(async () => {
    await postgres.remove();
    assert.ok(output.length > 10 && secrets.length > 20);
    for (const secret of secrets) for (const text of output) assert.ok(!text.includes(secret), 'a secret was logged');
  });

  function cache(init: CacheOnPostgresInit) {
    const made = cacheOnPostgres(init);
    secrets.push(...made.secrets);
    return made;
  }

  async function start(init: Partial<CacheOnPostgresInit> = {}, args: readonly string[] = []): Promise<TestServer> {
    const url = init.url ?? (await postgres.createDatabase());
    server = await TestServer.start({ ...cache({ ...init, url }), args });
    return server;
  }

  /** What a server says that does not start, and how long it took. */
  async function refusal(init: CacheOnPostgresInit, args: readonly string[] = []): Promise<string> {
    const { manifest } = cache(init);
    const folder = await TestServer.start();
    await folder.writeManifest(manifest);
    await folder.stop();
    const words = ['-f', folder.manifestFile, '--data', folder.data, '--listen', '127.0.0.1:0'];
    const more = ['--admin-listen', '127.0.0.1:0', '--log-level', 'error', ...args];
    const { code, stderr, stdout } = await runCli([...words, ...more]);
    await folder.remove();
    output.push(stderr, stdout);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /^narwhal-server: [^\n]*\n$/, 'one line');
    return stderr;
  }

  it('takes pushes by both protocols and finds them again after a restart', async () => {
    const it = await start();
    const [put, cachix] = [makePath(), makePath()];
    await pushByPut(it, put);
    await pushByCachix(it, cachix, { parts: 3 });
    assert.ok((await isServed(it, put)) && (await isServed(it, cachix)));
    const missing = makePath();
    assert.equal(await isServed(it, missing), false);
    const query = await fetch(`${it.api()}/narinfo`, {
      method: 'POST',
      headers: await it.auth(),
      body: JSON.stringify([missing.hashPart, put.hashPart, cachix.hashPart]),
    });
    assert.deepEqual(await query.json(), [missing.hashPart]);
    await it.stop();
    await it.restart();
    assert.ok((await isServed(it, put)) && (await isServed(it, cachix)));
  });

  it('makes no database, lock, key or token of its own', async () => {
    const it = await start();
    await pushByPut(it, makePath());
    assert.deepEqual(await readdir(path.join(it.data, 'main')), ['storages']);
  });

  it('shows its connections among the metrics, and the times of its commits', async () => {
    const it = await start({}, ['--database-connections', '4']);
    await pushByPut(it, makePath());
    const text = await (await fetch(`${it.adminUrl}/metrics`)).text();
    for (const state of ['total', 'idle', 'waiting'])
      assert.match(text, new RegExp(`narwhal_database_connections\\{cache="main",state="${state}"\\} \\d`));
    assert.match(text, /narwhal_database_commit_seconds_count\{cache="main"\} [1-9]/);
    assert.match(text, /narwhal_paths\{cache="main"\} \d/);
  });

  it('loses nothing and answers no push with an error while PostgreSQL restarts', async () => {
    const it = await start();
    let isOver = false;
    const acknowledged: TestPath[] = [];
    const pusher = async (push: typeof pushByPut) => {
      while (!isOver) {
        const path = makePath();
        await push(it, path);
        acknowledged.push(path);
      }
    };
    const pushers = [pushByPut, pushByPut, pushByCachix, pushByCachix].map(pusher);
    const more = async () => {
      const before = acknowledged.length;
      await until('pushes go on', () => acknowledged.length > before + 10);
    };
    for (const mode of ['fast', 'immediate', 'immediate'] as const) {
      await more();
      await postgres.stop(mode);
      await postgres.restart();
    }
    await more();
    isOver = true;
    await Promise.all(pushers);
    for (const path of acknowledged) assert.ok(await isServed(it, path), path.storePath);
  });

  it('publishes no half of a path while PostgreSQL is ended again and again', async () => {
    const url = await postgres.createDatabase();
    const it = await start({ url }, ['--transient-retry', '1']);
    const paths = Array.from({ length: 60 }, () => makePath());
    const [acknowledged, refused] = [new Set<TestPath>(), new Set<TestPath>()];
    const pusher = async (push: typeof pushByPut, own: readonly TestPath[]) => {
      for (const path of own)
        await push(it, path).then(
          () => acknowledged.add(path),
          () => refused.add(path),
        );
    };
    const pushing = Promise.all([
      pusher(pushByPut, paths.slice(0, 20)),
      pusher(pushByPut, paths.slice(20, 40)),
      pusher(pushByCachix, paths.slice(40)),
    ]);
    for (let round = 0; round < 4; round++) {
      const [good, bad] = [acknowledged.size, refused.size];
      await postgres.stop('immediate');
      // Once for longer than a push is waited for.
      if (round === 2) await until('a push is refused', () => refused.size > bad);
      await postgres.restart();
      await until('pushes go on', () => acknowledged.size > good || acknowledged.size + refused.size === paths.length);
    }
    await pushing;
    for (const path of paths) {
      const served = await isServed(it, path);
      assert.ok(served || refused.has(path), `${path.storePath} was acknowledged`);
    }
    const database = new URL(url).pathname.slice(1);
    const bare = await postgres.query(
      `SELECT 1 FROM main.paths p LEFT JOIN main.objects o ON o.id = p.object_id AND o.state = 'verified' WHERE o.id IS NULL`,
      { database },
    );
    assert.deepEqual(bare, []);
  });

  it('answers 503 with Retry-After while the database is away, is not ready, and comes back by itself', async () => {
    const it = await start({}, ['--transient-retry', '0.5']);
    const path = makePath();
    await pushByPut(it, path);
    assert.ok(await isServed(it, path));
    await postgres.stop();
    try {
      const ready = await fetch(`${it.adminUrl}/readyz?verbose`);
      assert.equal(ready.status, 503);
      assert.match(await ready.text(), /^\[-\] cache main database: .*does not answer/m);
      await until('the narinfo is forgotten', async () => {
        const response = await fetch(`${it.url}/${path.hashPart}.narinfo`);
        await response.text();
        return response.status === 503 && response.headers.get('retry-after') !== null;
      });
      const put = await fetch(`${it.api()}/push/${makePath().narUrl}`, {
        method: 'PUT',
        headers: await it.auth(),
        body: path.file,
      });
      assert.equal(put.status, 503);
      assert.equal(await put.text(), 'temporarily unavailable\n');
    } finally {
      await postgres.restart();
    }
    await until('it is ready', async () => (await fetch(`${it.adminUrl}/readyz`)).status === 200);
    assert.ok(await isServed(it, path));
  });

  it('stops by itself behind a network that swallows everything', async () => {
    const proxy = await TcpProxy.start({ host: postgres.host, port: postgres.port });
    const it = await start({ url: proxy.through(await postgres.createDatabase()) });
    await pushByPut(it, makePath());
    proxy.pause();
    try {
      assert.equal(await it.stop(), 0);
    } finally {
      await proxy.close();
    }
  });

  describe('does not start', () => {
    let url: string;
    before(async () => {
      url = await postgres.createDatabase();
    });

    it('with a wrong password', async () => {
      const wrong = url.replace(/:[^:@]*@/, ':wrongpw@');
      assert.match(
        await refusal({ url: wrong }),
        /cache main: database \S+ at \S+ does not know user narwhal with this password: correct the Secret/,
      );
    });

    it('without its database', async () => {
      assert.match(
        await refusal({ url: postgres.url('nowhere') }),
        /database nowhere at \S+ does not exist: create it/,
      );
    });

    it('where nobody answers, after the time that it was told to wait', async () => {
      const nobody = url.replace(/:\d+\//, ':1/');
      const text = await refusal({ url: nobody }, ['--database-wait', '2']);
      assert.match(text, /database \S+ at 127\.0\.0\.1:1 cannot be reached: connect ECONNREFUSED/);
    });

    it('on a server without TLS, where the manifest asks for it', async () => {
      const text = await refusal({ url, postgres: { tls: { mode: 'Require' } } });
      assert.match(text, /does not speak TLS, which the manifest asks for/);
    });

    it('on the schema of another cache', async () => {
      const shared = await postgres.createDatabase();
      await start({ url: shared, postgres: { schema: 'one' } });
      const text = await refusal({ url: shared, name: 'other', postgres: { schema: 'one' } });
      assert.match(text, /cache other: the schema one of the database belongs to the cache main/);
    });

    it('with another root key than the servers before it', async () => {
      const shared = await postgres.createDatabase();
      const signingKeys = [generateSecretKey('main.localhost-1')];
      await start({ url: shared, signingKeys });
      const text = await refusal({ url: shared, signingKeys });
      assert.match(
        text,
        /rootSecretRef holds the key with the fingerprint [0-9a-f]{16}, the database was used with [0-9a-f]{16}/,
      );
    });

    it('with a signing key that nobody knows, nor with another one of the same name', async () => {
      const shared = await postgres.createDatabase();
      const rootKey = Buffer.alloc(32, 7).toString('base64');
      const key = generateSecretKey('main.localhost-1');
      await start({ url: shared, rootKey, signingKeys: [key] });
      const same = generateSecretKey('main.localhost-1');
      const text = await refusal({ url: shared, rootKey, signingKeys: [same] });
      assert.match(
        text,
        /the signing key main\.localhost-1 has the fingerprint [0-9a-f]{16}, the database knows it with [0-9a-f]{16}/,
      );
      const other = generateSecretKey('main.localhost-2');
      assert.match(
        await refusal({ url: shared, rootKey, signingKeys: [other] }),
        /none of the signing keys main\.localhost-2 \([0-9a-f]{16}\) is known to the database, which knows main\.localhost-1/,
      );
    });
  });

  it('takes a new signing key beside the old one, then the new one alone', async () => {
    const url = await postgres.createDatabase();
    const rootKey = Buffer.alloc(32, 7).toString('base64');
    const [old, next] = [generateSecretKey('main.localhost-1'), generateSecretKey('main.localhost-2')];
    const it = await start({ url, rootKey, signingKeys: [old] });
    const path = makePath();
    await pushByPut(it, path);
    const text = async () => (await fetch(`${it.url}/${path.hashPart}.narinfo`)).text();
    const write = (signingKeys: string[]) => it.writeManifest(cache({ url, rootKey, signingKeys }).manifest);
    await write([next]);
    await until('the new set is refused', () => it.output.includes('none of the signing keys'));
    await write([old, next]);
    await until('both sign', async () => /main\.localhost-2:/.test(await text()));
    await write([next]);
    await until('the old one has gone', async () => {
      const info: unknown = await (await fetch(it.api())).json();
      return (
        JSON.stringify(info).includes(parseSecretKey(next).publicKey) && !JSON.stringify(info).includes('localhost-1:')
      );
    });
  });

  it('refuses another root key and another database at a reload, and goes on as it was', async () => {
    const url = await postgres.createDatabase();
    const signingKeys = [generateSecretKey('main.localhost-1')];
    const rootKey = Buffer.alloc(32, 7).toString('base64');
    const it = await start({ url, signingKeys, rootKey });
    await it.writeManifest(cache({ url, signingKeys }).manifest);
    await until('the root key is refused', () => it.output.includes('rootSecretRef holds the key'));
    await it.writeManifest(cache({ url, signingKeys, rootKey, postgres: { schema: 'elsewhere' } }).manifest);
    await until('the schema is refused', () => it.output.includes('names another database than the one in use'));
    assert.equal((await fetch(`${it.adminUrl}/readyz`)).status, 200);
  });

  it('uses a new password without a restart', async () => {
    await postgres.query(`CREATE ROLE rotating LOGIN SUPERUSER PASSWORD 'first-password'`);
    const first = (await postgres.createDatabase()).replace(/\/\/[^@]*@/, '//rotating:first-password@');
    const more = {
      rootKey: Buffer.alloc(32, 7).toString('base64'),
      signingKeys: [generateSecretKey('main.localhost-1')],
    };
    const it = await start({ url: first, ...more });
    const { manifest } = cache({ ...more, url: first.replace('first-password', 'second-password') });
    await postgres.query(`ALTER ROLE rotating PASSWORD 'second-password'`);
    // The token is a new one too, which tells that the manifest is in use.
    await it.writeManifest(manifest);
    await until('it is applied', () => it.output.includes('the changed manifests are applied'));
    await postgres.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotating'`);
    const missing = await fetch(`${it.url}/${makePath().hashPart}.narinfo`);
    assert.equal(missing.status, 404);
  });
});

describe('a server on PostgreSQL with TLS', () => {
  let postgres: PostgresServer;
  let other: PostgresServer;
  let server: TestServer | undefined;
  before(async () => {
    postgres = await PostgresServer.start({ tls: true });
    other = await PostgresServer.start({ tls: true });
  });
  afterEach(() => server?.remove());
  after(async () => {
    await postgres.remove();
    await other.remove();
  });

  const init = (ca: string | undefined, tls: object, host = '127.0.0.1') =>
    cacheOnPostgres({
      url: postgres.url().replace('127.0.0.1', host),
      postgres: { tls, schema: `tls_${Math.random().toString(36).slice(2)}` },
      ...(ca !== undefined && { ca }),
    });

  for (const mode of ['VerifyFull', 'VerifyCa'])
    it(`believes the certificate of its own CA (${mode})`, async () => {
      server = await TestServer.start(init(postgres.ca, { mode, caSecretRef: { name: 'ca' } }));
      const path = makePath();
      await pushByPut(server, path);
      assert.ok(await isServed(server, path));
      const [row] = await postgres.query<{ n: string }>(
        `SELECT count(*) AS n FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
         WHERE s.ssl AND a.application_name = 'narwhal-server'`,
      );
      assert.ok(Number(row?.n) >= 2);
    });

  it('believes anybody with Require', async () => {
    server = await TestServer.start(init(undefined, { mode: 'Require' }));
    await pushByPut(server, makePath());
  });

  for (const [what, ca, message] of [
    ['of another CA', () => other.ca, /its certificate is not trusted .*is the CA in tls\.caSecretRef its own\?/],
    [
      'that the world does not know',
      () => undefined,
      /its certificate is not trusted .*give its CA in tls\.caSecretRef/,
    ],
  ] as const)
    it(`does not believe a certificate ${what}`, async () => {
      const text = ca();
      const tls = { mode: 'VerifyFull', ...(text !== undefined && { caSecretRef: { name: 'ca' } }) };
      await assert.rejects(TestServer.start(init(text, tls)), message);
      server = undefined;
    });
});
