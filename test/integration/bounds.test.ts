import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { makePath, type TestPath } from '../support/nars.ts';
import { createUpload, isServed, pushByCachix, pushByPut, sendPart } from '../support/push.ts';
import { send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const big = makePath({ contents: randomBytes(40 * 2 ** 20), compression: 'none' });

/** All series of a server whose names and labels begin with `series`, added up. */
async function metric(server: TestServer, series: string): Promise<number> {
  const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(series) && !line.startsWith('#'));
  assert.ok(lines.length > 0, `no series ${series}`);
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** Asks for a NAR and never reads the answer. */
function stalled(server: TestServer, it: TestPath): net.Socket {
  const socket = net.connect(server.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.pause();
  socket.write(`GET /${it.narUrl} HTTP/1.1\r\nHost: main.localhost\r\n\r\n`);
  return socket;
}

describe('bounds', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start({
      args: ['--max-downloads', '1', '--download-wait', '0.1', '--max-push-bodies', '1', '--response-timeout', '1'],
    });
    await pushByPut(server, big);
  });
  after(() => server.remove());

  it('send a read away when too many run, and no push; a reader that stands still is cut off', async () => {
    const socket = stalled(server, big);
    await until('the download runs', async () => (await metric(server, 'narwhal_downloads ')) === 1);
    const refused = await send(server.url, `/${big.narUrl}`);
    assert.equal(refused.status, 503);
    assert.equal(refused.headers['retry-after'], '5');
    assert.equal(await metric(server, 'narwhal_downloads_shed_total'), 1);
    const it = makePath();
    await pushByCachix(server, it);
    await until('the reader is cut off', async () => (await metric(server, 'narwhal_downloads ')) === 0);
    socket.destroy();
    assert.equal((await send(server.url, `/${big.narUrl}`)).body.length, big.file.length);
  });

  it('let pushes wait for each other', async () => {
    const [slow, fast] = [makePath({ contents: randomBytes(200_000) }), makePath()];
    const headers = { ...(await server.auth()), 'content-length': slow.file.length };
    const socket = net.connect(server.port, '127.0.0.1');
    const lines = Object.entries({ host: 'main.localhost', ...headers }).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    );
    socket.write(`PUT /push/${slow.narUrl} HTTP/1.1\r\n${lines.join('')}\r\n`);
    socket.write(slow.file.subarray(0, 1000));
    await until('one is received', async () => (await metric(server, 'narwhal_push_bodies{state="active"')) === 1);
    const pushed = pushByPut(server, fast);
    await until('one waits', async () => (await metric(server, 'narwhal_push_bodies{state="waiting"')) === 1);
    const answered = new Promise<string>((resolve) => socket.once('data', (piece) => resolve(String(piece))));
    socket.write(slow.file.subarray(1000));
    assert.match(await answered, /^HTTP\/1\.1 200 /);
    await pushed;
    socket.destroy();
    assert.ok(await isServed(server, fast));
    assert.equal(await metric(server, 'narwhal_push_bodies'), 0);
  });
});

describe('metrics', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start();
  });
  after(() => server.remove());

  it('move with what happens', async () => {
    const [put, pushed] = [makePath({ contents: randomBytes(5000) }), makePath({ contents: randomBytes(5000) })];
    await pushByPut(server, put);
    assert.ok((await metric(server, 'narwhal_received_bytes_total')) >= put.file.length);
    await pushByCachix(server, pushed);
    await createUpload(server).then((upload) => sendPart(upload, 1, pushed.file));
    assert.ok(await isServed(server, put));
    assert.equal((await send(server.url, `/${'0'.repeat(32)}.narinfo`)).status, 404);
    const atLeast: Record<string, number> = {
      narwhal_received_bytes_total: put.file.length + 2 * pushed.file.length,
      narwhal_sent_bytes_total: put.file.length,
      'narwhal_http_requests_total{route="nar",status="200"}': 2,
      'narwhal_http_requests_total{route="upload-complete",status="200"}': 1,
      'narwhal_narinfo_lookups_total{result="hit"': 1,
      'narwhal_narinfo_lookups_total{result="miss"': 1,
      'narwhal_paths{cache="main"}': 2,
      'narwhal_paths_published_total{cache="main"}': 2,
      'narwhal_uploads_open{cache="main"}': 1,
      'narwhal_uploads_active{cache="main"}': 1,
      narwhal_verification_seconds_count: 2,
      'narwhal_verifications{state="running"}': 0,
      'narwhal_database_commit_seconds_count{cache="main"}': 3,
      'narwhal_database_writes_total{cache="main"}': 3,
      'narwhal_database_queue{cache="main"}': 0,
      'narwhal_storage_bytes{cache="main",storage="disk",kind="used"}': put.file.length + pushed.file.length,
      'narwhal_storage_bytes{cache="main",storage="disk",kind="free"}': 1,
      'narwhal_storage_ready{cache="main",storage="disk"}': 1,
      nodejs_eventloop_lag_seconds: 0,
    };
    for (const [series, least] of Object.entries(atLeast)) {
      const value = await metric(server, series);
      assert.ok(value >= least, `${series}: ${value} < ${least}`);
    }
  });
});

describe('look-ups of narinfos', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start();
  });
  after(() => server.remove());

  it('are counted by what answered them: the database the first time, memory from then on', async () => {
    const it = makePath();
    await pushByPut(server, it);
    const lookUps = (result: string, source: string) =>
      metric(server, `narwhal_narinfo_lookups_total{result="${result}",source="${source}"}`);
    const counts = async () => ({
      memory: [await lookUps('hit', 'memory'), await lookUps('miss', 'memory')],
      database: [await lookUps('hit', 'database'), await lookUps('miss', 'database')],
    });
    assert.deepEqual(await counts(), { memory: [0, 0], database: [0, 0] });
    const get = (hashPart: string) => send(server.url, `/${hashPart}.narinfo`);
    assert.equal((await get(it.hashPart)).status, 200);
    assert.deepEqual(await counts(), { memory: [0, 0], database: [1, 0] });
    assert.equal((await get(it.hashPart)).status, 200);
    assert.equal((await get('0'.repeat(32))).status, 404);
    assert.deepEqual(await counts(), { memory: [1, 1], database: [1, 0] });
  });
});

describe('an answer', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start();
  });
  after(() => server.remove());

  it('is counted once, and logged with its own status, when its address has to be decoded first', async () => {
    const reply = await send(server.url, `/%30${'0'.repeat(31)}.narinfo`, { headers: { 'x-request-id': 'decoded' } });
    assert.equal(reply.status, 404);
    assert.equal(await metric(server, 'narwhal_http_requests_total{route="narinfo",status="404"}'), 1);
    await until('the line is there', () => /"requestId":"decoded".*"status":404/.test(server.output));
  });

  it('quotes nothing but one short line of what a client sent', async () => {
    const headers = await server.auth();
    const body = `StorePath: /nix/store/${'0'.repeat(32)}-a\u001b[31m${'x'.repeat(5000)}\nURL: nar/x.nar\n`;
    const reply = await send(server.url, `/push/${'0'.repeat(32)}.narinfo`, { method: 'PUT', headers, body });
    assert.equal(reply.status, 400);
    assert.match(reply.text, /^[ -~]{1,900}\n$/);
  });
});

describe('a server behind a proxy', () => {
  const FORWARDED = { 'x-forwarded-for': '203.0.113.9, 198.51.100.7', 'x-forwarded-proto': 'https' };
  const ALIASES = ['--alias', 'cache.example.org', '--alias', 'http://plain.example.org'];

  async function uri(server: TestServer, host: string, headers: Record<string, string> = FORWARDED): Promise<string> {
    const reply = await send(server.url, '/api/v1/cache/main', { headers: { host, ...headers } });
    return (JSON.parse(reply.text) as { uri: string }).uri;
  }

  it('believes a trusted one: who asks, and by which scheme', async () => {
    const server = await TestServer.start({ args: [...ALIASES, '--trusted-proxies', '127.0.0.0/8'] });
    try {
      assert.equal(await uri(server, 'cache.example.org'), 'https://main.cache.example.org');
      assert.equal(await uri(server, 'cache.example.org', {}), 'http://main.cache.example.org');
      assert.equal(await uri(server, 'plain.example.org'), 'http://main.plain.example.org');
      await until('the line is there', () => server.output.includes('"remote":"198.51.100.7"'));
      assert.ok(!server.output.includes('203.0.113.9'));
    } finally {
      await server.remove();
    }
  });

  it('believes nobody else', async () => {
    const server = await TestServer.start({ args: [...ALIASES, '--trusted-proxies', '10.0.0.0/8'] });
    try {
      assert.equal(await uri(server, 'cache.example.org'), 'http://main.cache.example.org');
      await until('the line is there', () => server.output.includes('"remote":"127.0.0.1"'));
      assert.ok(!server.output.includes('198.51.100.7'));
    } finally {
      await server.remove();
    }
  });

  it('refuses a network that is none', async () => {
    await assert.rejects(
      TestServer.start({ args: ['--trusted-proxies', '10.0.0.0/33'] }),
      /expected an address or a network/,
    );
  });
});

describe('a plain read at level debug', () => {
  it('has an id and a line, as every other request; at info neither', async () => {
    const server = await TestServer.start({ manifest: cacheManifest('main', standardSpec) });
    try {
      const path = `/${'1'.repeat(32)}.narinfo`;
      const reply = await send(server.url, path, { headers: { 'x-request-id': 'mine-7' } });
      assert.equal(reply.status, 404);
      assert.equal(reply.headers['x-request-id'], 'mine-7');
      await until('the line is there', () => server.output.includes('"requestId":"mine-7"'));
      const line = server.output.split('\n').find((text) => text.includes('mine-7')) ?? '';
      const fields = JSON.parse(line) as Record<string, unknown>;
      assert.deepEqual(
        [fields.method, fields.path, fields.route, fields.status, fields.remote],
        ['GET', path, 'narinfo', 404, '127.0.0.1'],
      );
      await server.stop();
      await server.restart(['--log-level', 'info']);
      const quiet = await send(server.url, path, { headers: { 'x-request-id': 'mine-8' } });
      assert.equal(quiet.headers['x-request-id'], undefined);
      await server.stop();
      assert.ok(!server.output.includes('mine-8'));
    } finally {
      await server.remove();
    }
  });
});
