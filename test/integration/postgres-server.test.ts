// The PostgreSQL server of the tests, and the TCP proxy in front of it.
import assert from 'node:assert/strict';
import pg from 'pg';
import { unpackedPostgres } from '../../hack/components/postgres.mjs';
import { describeWith } from '../support/needs.ts';
import { PostgresServer } from '../support/postgres.ts';
import { until } from '../support/server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const CONNECT_MS = 200;

describeWith('postgres', 'the PostgreSQL server of the tests', () => {
  let server: PostgresServer;

  before(async () => {
    server = await PostgresServer.start();
  });
  after(() => server.remove());

  it('keeps what was committed over a crash, on the same port', async () => {
    const url = await server.createDatabase('kept');
    await server.query('CREATE TABLE t (n int)', { database: 'kept' });
    await server.query('INSERT INTO t VALUES ($1)', { database: 'kept', values: [7] });
    await server.stop('immediate');
    await assert.rejects(server.query('SELECT 1'), { code: 'ECONNREFUSED' });
    await server.restart();
    assert.equal(server.url('kept'), url);
    assert.deepEqual(await server.query('SELECT n FROM t', { database: 'kept' }), [{ n: 7 }]);
  });

  it('asks for the password', async () => {
    const url = new URL(server.url());
    url.password = 'wrong';
    await assert.rejects(connect(url.href), { code: '28P01' });
  });

  it('says what is wrong when it does not start', async () => {
    await assert.rejects(PostgresServer.start({ settings: { nonsense: 'on' } }), /"nonsense"/);
  });

  it('speaks TLS, and nothing else, with a certificate of its own authority', async () => {
    const secure = await PostgresServer.start({ tls: true });
    try {
      const sql = 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()';
      assert.deepEqual(await secure.query(sql), [{ ssl: true }]);
      await assert.rejects(connect(secure.url()), { code: '28000' });
      await assert.rejects(connect(secure.url(), { ssl: true }), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
      await (await connect(`${secure.url()}?sslmode=verify-full&sslrootcert=${secure.caFile}`)).end();
    } finally {
      await secure.remove();
    }
  });

  it("runs from Debian's unpacked package as well", async () => {
    // Where the machine has a server, nobody else has fetched the package.
    const unpacked = await PostgresServer.start({ programs: await unpackedPostgres() });
    try {
      const [row] = await unpacked.query<{ setting: string }>(`SELECT setting FROM pg_config WHERE name = 'SHAREDIR'`);
      assert.match(row?.setting ?? '', /.+\/usr\/share\/postgresql\/\d+$/);
    } finally {
      await unpacked.remove();
    }
  });

  describe('behind the TCP proxy', () => {
    let proxy: TcpProxy;
    let url: string;

    beforeEach(async () => {
      proxy = await TcpProxy.start({ host: server.host, port: server.port });
      url = proxy.through(server.url());
    });
    afterEach(() => proxy.close());

    it('loses its connections when they are cut, and takes new ones', async () => {
      const client = await connect(url);
      const lost = assert.rejects(client.query('SELECT pg_sleep(10)'));
      await until('the query runs', async () => {
        const sql = `SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(10)' AND pid <> pg_backend_pid()`;
        return (await server.query(sql)).length === 1;
      });
      proxy.cut();
      await lost;
      assert.equal(proxy.connections, 0);
      await (await connect(url)).end();
    });

    it('says nothing while paused, and goes on afterwards', async () => {
      const client = await connect(url);
      proxy.pause();
      let answered = false;
      const answer = client.query('SELECT 1 AS n').then(({ rows }) => {
        answered = true;
        return rows;
      });
      await assert.rejects(connect(url, { connectionTimeoutMillis: CONNECT_MS }), /timeout/);
      assert.equal(answered, false);
      proxy.resume();
      assert.deepEqual(await answer, [{ n: 1 }]);
      await client.end();
      await until('the proxy has heard of both ends', () => proxy.connections === 0);
    });

    it('refuses new connections and keeps those that are there', async () => {
      const client = await connect(url);
      await proxy.refuse(true);
      await assert.rejects(connect(url), { code: 'ECONNREFUSED' });
      assert.deepEqual((await client.query('SELECT 1 AS n')).rows, [{ n: 1 }]);
      await proxy.refuse(false);
      await (await connect(url)).end();
      await client.end();
    });

    it('passes on why the server ends a session', async () => {
      const client = await connect(url);
      const ended = new Promise((resolve) => client.on('error', resolve));
      await server.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()`);
      assert.equal(((await ended) as { code?: string }).code, '57P01');
    });

    it('leads to another server when the target changes', async () => {
      const other = await PostgresServer.start();
      try {
        proxy.target = { host: other.host, port: other.port };
        // The password is the first server's.
        await assert.rejects(connect(url), { code: '28P01' });
        await (await connect(proxy.through(other.url()))).end();
      } finally {
        await other.remove();
      }
    });
  });
});

async function connect(url: string, config: pg.ClientConfig = {}): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, ...config });
  client.on('error', () => {});
  await client.connect();
  return client;
}
