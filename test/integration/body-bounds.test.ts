// How long a small body may take, how much may be sent for nothing, and how soon what cannot be right is refused.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import net from 'node:net';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { assertRefused } from '../support/cachix-calls.ts';
import { CACHIX } from '../support/door-requests.ts';
import { nixPath } from '../support/nix-path.ts';
import { put, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';
import { compress } from '../unit/cache/verify/support.ts';

const MIB = 2 ** 20;
const HASH = '0'.repeat(32);
const DRV = `${HASH}-thing-1.0.drv`;
const API = '/api/v1/cache/main';

/** A head in HTTP/1.1 with an endless body in chunks. */
function chunked(method: string, path: string, headers: Record<string, string> = {}): string {
  const all = { host: 'main.localhost', 'transfer-encoding': 'chunked', ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

const chunk = (text: string | Buffer) =>
  Buffer.concat([Buffer.from(`${text.length.toString(16)}\r\n`), Buffer.from(text), Buffer.from('\r\n')]);

/** A connection on which a request is begun and never ended; `answer` is what came first. */
function begin(port: number, head: string, body: string | Buffer): { socket: net.Socket; answer: Promise<string> } {
  const socket = net.connect(port, '127.0.0.1', () => {
    socket.write(head);
    socket.write(chunk(body));
  });
  const answer = new Promise<string>((resolve) => {
    socket.on('error', () => {});
    socket.once('data', (piece) => resolve(piece.toString('latin1')));
    socket.once('close', () => resolve(''));
  });
  return { socket, answer };
}

describe('a small body', () => {
  let server: TestServer;
  let auth: Record<string, string>;
  before(async () => {
    server = await TestServer.start({ args: ['--body-timeout', '1'] });
    auth = await server.auth();
  });
  after(() => server.remove());

  const small: readonly (readonly [what: string, method: string, path: string, byte: string])[] = [
    ['a missing-paths query', 'POST', `${API}/narinfo`, ' '],
    ['a request for a part URL', 'POST', `${API}/multipart-nar/11111111-1111-4111-8111-111111111111?partNumber=1`, ' '],
    ['a completion', 'POST', `${API}/multipart-nar/11111111-1111-4111-8111-111111111111/complete`, ' '],
    ['a key', 'POST', `${API}/key`, ' '],
    ['a narinfo', 'PUT', `/push/${HASH}.narinfo`, 'x'],
    ['a listing', 'PUT', `/push/${HASH}.ls`, ' '],
    ['debuginfo', 'PUT', `/push/debuginfo/${'0'.repeat(40)}`, ' '],
    ['a store description', 'PUT', '/push/nix-cache-info', 'x'],
  ];
  for (const [what, method, path, byte] of small)
    it(`has so long to arrive, however often a byte of it comes: ${what}`, async () => {
      const headers = what === 'a key' ? await server.auth('admin') : auth;
      const { socket, answer } = begin(server.port, chunked(method, path, headers), byte);
      const trickle = setInterval(() => socket.write(chunk(byte)), 50);
      try {
        const text = await answer;
        assert.match(text, /^HTTP\/1\.1 408 [\s\S]*\r\n\r\na body of this kind has 1 seconds to arrive\n$/);
      } finally {
        clearInterval(trickle);
        socket.destroy();
      }
    });

  it('has longer the more of it has come: a listing over a link that other pushes fill', async () => {
    const entries = '{"type":"directory","entries":{"a":{"type":"regular","size":1}}}';
    const pieces = [`{"version":1,"root":${entries}}`, ...Array.from({ length: 20 }, () => ' '.repeat(64 * 1024))];
    const { socket, answer } = begin(server.port, chunked('PUT', `/push/${HASH}.ls`, auth), pieces[0] ?? '');
    let next = 1;
    const end = performance.now() + 2000;
    const flow = setInterval(() => {
      socket.write(chunk(pieces[next++] ?? ' '));
      if (performance.now() < end) return;
      socket.write('0\r\n\r\n');
      clearInterval(flow);
    }, 100);
    try {
      assert.match(await answer, /^HTTP\/1\.1 200 /);
    } finally {
      clearInterval(flow);
      socket.destroy();
    }
  });

  it('has so long as well where it is encoded, whatever it is', async () => {
    // A frame of 1 MiB to be skipped: bytes that are right, and give nothing.
    const start = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0x10, 0]);
    const headers = { ...auth, 'content-encoding': 'zstd' };
    const { socket, answer } = begin(server.port, chunked('PUT', `/push/log/${DRV}`, headers), start);
    const trickle = setInterval(() => socket.write(chunk('x')), 50);
    try {
      assert.match(await answer, /^HTTP\/1\.1 408 /);
    } finally {
      clearInterval(trickle);
      socket.destroy();
    }
  });

  it('is not what a log is, which may take as long as it likes', async () => {
    const { socket, answer } = begin(server.port, chunked('PUT', `/push/log/${DRV}`, auth), 'x');
    const end = performance.now() + 1500;
    const trickle = setInterval(() => {
      socket.write(chunk('x'));
      if (performance.now() < end) return;
      socket.write('0\r\n\r\n');
      clearInterval(trickle);
    }, 50);
    try {
      assert.match(await answer, /^HTTP\/1\.1 200 /);
    } finally {
      clearInterval(trickle);
      socket.destroy();
    }
  });
});

describe('a body that cannot be right', () => {
  let server: TestServer;
  let auth: Record<string, string>;
  before(async () => {
    server = await TestServer.start({ manifest: cacheManifest('main', `${standardSpec}limits:\n  maxNarSize: 1Mi\n`) });
    auth = await server.auth();
  });
  after(() => server.remove());

  const wrong: readonly (readonly [what: string, path: string, body: string, text: RegExp])[] = [
    ['lists in lists', '/narinfo', '[[[[', /expected a JSON list of store path hashes/],
    ['an object', '/narinfo', '{', /expected a JSON list of store path hashes/],
    ['a text without an end', '/narinfo', `["${'a'.repeat(65)}`, /expected a JSON list of store path hashes/],
    ['numbers', '/narinfo', '[0,', /expected a JSON list of store path hashes/],
  ];
  for (const [what, path, body, text] of wrong)
    it(`is refused before the rest of it is sent: ${what}`, async () => {
      const { socket, answer } = begin(server.port, chunked('POST', `${API}${path}`), body);
      const reply = await answer;
      assert.match(reply, /^HTTP\/1\.1 400 /);
      assert.match(reply, text);
      socket.destroy();
    });

  for (const [what, body, text] of [
    ['nested without an end', `{"a":${'['.repeat(20)}`, /JSON that is nested deeper than 8/],
    ['a list where an object belongs', '[', /expected a JSON object/],
    ['more values than anybody has', `{"a":[${'0,'.repeat(100_001)}`, /more than 100000 values in one JSON text/],
  ] as const)
    it(`is refused before the rest of it is sent: JSON ${what}`, async () => {
      const upload = '11111111-1111-4111-8111-111111111111';
      const head = chunked('POST', `${API}/multipart-nar/${upload}/complete?uploadId=x`, auth);
      const { socket, answer } = begin(server.port, head, body);
      const reply = await answer;
      assert.match(reply, /^HTTP\/1\.1 4(?:00|13) /);
      assert.match(reply, text);
      socket.destroy();
    });

  it('is read no further than a NAR may go, where that NAR is here already', async () => {
    const path = nixPath();
    assert.equal((await put(server.api(), `/push/${path.url}`, path.file, auth)).status, 200);
    const endless = { ...auth, 'transfer-encoding': 'chunked' };
    const reply = await put(server.api(), `/push/${path.url}`, Buffer.alloc(MIB + 1), endless);
    assertRefused(reply, 413, /^larger than the limit of 1048576 bytes/);
  });

  for (const [route, make] of Object.entries(CACHIX))
    it(`is not even asked for in a Content-Encoding: ${route}`, async () => {
      for (const encoding of ['gzip', 'bzip2', 'zstd', 'aws-chunked']) {
        const { method, path, headers, body } = await make(server);
        const encoded = { ...headers, 'content-encoding': encoding };
        const reply = await send(server.url, path, { method, headers: encoded, body, expect: true });
        assert.equal(reply.continued, false);
        assertRefused(reply, 415, new RegExp(`^Content-Encoding ${encoding} is not possible here`));
      }
    });
});

describe('an encoded body', () => {
  let server: TestServer;
  let pushUrl: string;
  let auth: Record<string, string>;
  before(async () => {
    server = await TestServer.start({ manifest: cacheManifest('main', standardSpec) });
    pushUrl = `${server.api()}/push`;
    auth = await server.auth();
  });
  after(() => server.remove());

  const often = (empty: Buffer) => Buffer.alloc(Math.ceil((9 * MIB) / empty.length) * empty.length, empty);
  const nothing: Readonly<Record<string, Buffer>> = {
    xz: often(compress('xz', Buffer.alloc(0))),
    gzip: often(gzipSync('')),
    // One frame that says to be skipped.
    zstd: Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0x90, 0]), Buffer.alloc(9 * MIB)]),
  };
  for (const [encoding, bytes] of Object.entries(nothing)) {
    it(`may not be long and hold nothing: ${encoding}`, async () => {
      const headers = { ...auth, 'content-encoding': encoding };
      assertRefused(await put(pushUrl, `/log/${DRV}`, bytes, headers), 400, /more than 8 MiB of it give nothing/);
      const narinfo = await put(pushUrl, `/${HASH}.narinfo`, bytes.subarray(0, MIB), headers);
      assertRefused(narinfo, 413, /^larger than the limit of 65536 bytes/);
      const nar = await put(pushUrl, `/nar/${'0'.repeat(52)}.nar`, bytes, headers);
      assertRefused(nar, 400, /more than 8 MiB of it give nothing/);
    });

    it(`may not be long and hold nothing, as the file of a NAR: ${encoding}`, async () => {
      const path = nixPath({ compression: encoding as 'xz' | 'gzip' | 'zstd', file: () => bytes });
      assertRefused(await put(pushUrl, `/${path.url}`, path.file, auth), 400, /more than 8 MiB of it give nothing/);
    });
  }

  it('may not grow without measure, unless it is a NAR', async () => {
    const zeros = Buffer.alloc(60 * MIB);
    const headers = { ...auth, 'content-encoding': 'zstd' };
    const log = await put(pushUrl, `/log/${DRV}`, zstdCompressSync(zeros), headers);
    assertRefused(log, 413, /^Content-Encoding zstd: the body grows to more than 1000 times its size/);
    const path = nixPath({ tree: { type: 'regular', contents: zeros }, compression: 'none' });
    const nar = await put(pushUrl, `/${path.url}`, zstdCompressSync(path.file), headers);
    assert.equal(nar.status, 200, nar.text);
  });

  it('may shrink as much as texts do', async () => {
    const log = 'building the same thing again, line by line\n'.repeat(300_000);
    const headers = { ...auth, 'content-encoding': 'gzip' };
    const reply = await put(pushUrl, `/log/${DRV}`, gzipSync(log), headers);
    assert.equal(reply.status, 200, reply.text);
    assert.equal((await send(server.url, `/log/${DRV}`)).text, log);
  });

  it('has one of a few programs to itself, or waits unread; a program ends with its client', async () => {
    const programs = async () => {
      const tasks = await readdir(`/proc/${server.pid}/task`);
      const lists = await Promise.all(
        tasks.map((task) => readFile(`/proc/${server.pid}/task/${task}/children`, 'utf8').catch(() => '')),
      );
      return lists
        .join(' ')
        .split(' ')
        .filter((pid) => pid !== '').length;
    };
    const before = await programs();
    const start = compress('bzip2', Buffer.from('a log\n')).subarray(0, 10);
    const headers = { ...auth, 'content-encoding': 'bzip2', expect: '100-continue' };
    const clients = Array.from({ length: 12 }, (_, index) => {
      const head = chunked('PUT', `/push/log/${DRV.replace('1.0', String(index))}`, headers);
      const client = { ...begin(server.port, head, start), isAsked: false };
      void client.answer.then((text) => {
        client.isAsked = text.startsWith('HTTP/1.1 100 ');
      });
      return client;
    });
    const asked = () => clients.filter(({ isAsked }) => isAsked);
    try {
      // Those whose body is read are asked for it.
      await until('four are asked for their bodies', () => asked().length === 4);
      await until('their programs run', async () => (await programs()) - before === 4);
      const waiting = clients.find(({ isAsked }) => !isAsked);
      waiting?.socket.destroy();
      asked()[0]?.socket.destroy();
      await until('another one is asked', () => asked().length === 5);
      await until('as many run', async () => (await programs()) - before === 4);
    } finally {
      for (const { socket } of clients) socket.destroy();
    }
    await until('none is left', async () => (await programs()) - before === 0);
    const last = await put(pushUrl, `/log/${DRV}`, compress('bzip2', Buffer.from('a log\n')), {
      ...auth,
      'content-encoding': 'bzip2',
    });
    assert.equal(last.status, 200, last.text);
  });
});
