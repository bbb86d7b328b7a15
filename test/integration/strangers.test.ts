import assert from 'node:assert/strict';
import { GatewayPair } from '../support/gateway-pair.ts';
import { makePath } from '../support/nars.ts';
import { pushByPut } from '../support/push.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';
import { exchange } from '../support/socket.ts';

const HASH = '0'.repeat(32);
const ID = '00000000-0000-4000-8000-000000000000';
const DRV = `${HASH}-x.drv`;
const NAR = `nar/${'0'.repeat(52)}.nar.zst`;
const PART = `/multipart-nar/${ID}/part/1?uploadId=x&md5=${'0'.repeat(32)}&expires=9999999999999&signature=${'A'.repeat(43)}`;

/** What nix asks for, at the cache's own host and below the API host. */
const NIX = [
  ...[
    '/nix-cache-info',
    '/push/nix-cache-info',
    `/${HASH}.narinfo`,
    `/push/${HASH}.narinfo`,
    `/%30${HASH.slice(1)}.narinfo`,
  ],
  ...[
    `/${NAR}`,
    `/push/${NAR}`,
    `/${NAR.replace('.nar', '%2enar')}`,
    `/${HASH}.ls`,
    `/log/${DRV}`,
    `/debuginfo/${'a'.repeat(40)}`,
  ],
  ...[
    `/realisations/sha256:${'a'.repeat(64)}!out.doi`,
    `/build-trace-v2/${DRV}/out.doi`,
    '/',
    '/nonsense',
    '/a/../b',
    '/%zz',
  ],
];
const API = [
  ...['', '/narinfo', `/narurl/${NAR.slice(4)}`, '/key', '/nar?compression=zst', '/nar?compression=nonsense'],
  ...['/gc', '/gc/', '/gc/plan', '/gc/1', '/gcx'],
  ...['/pin', '/pin/', '/pin/x', '/pin/x/y', '/pin/%0a', '/pinx'],
  ...['/explain', '/explain/x', '/block', '/block/x', '/path/x', '/gc', '/gc/1', '/gc/plan'],
  ...['/paths', '/paths?page=x', '/paths/x', '/stats', '/stats/x', `/path/${HASH}`],
  ...['/multipart-nar?compression=zst', `/multipart-nar/${ID}?partNumber=1&uploadId=x`, '/multipart-nar/nonsense'],
  ...[
    `/multipart-nar/${ID}/complete?uploadId=x`,
    `/multipart-nar/${ID}/abort?uploadId=x`,
    PART,
    PART.replace(ID, 'nonsense'),
  ],
  ...[PART.replace('part/1', 'part/0'), PART.replace('9999999999999', '1'), '/multipart-nar/x/part/y', '/nonsense/x'],
];
const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'OPTIONS', 'DELETE', 'PATCH'];

interface Door {
  readonly port: number;
  /** A cache that is private, and the name of none. */
  readonly names: readonly [string, string];
  readonly credentials: Readonly<Record<string, string | undefined>>;
}

/** All that a client can see of an answer but its time. */
async function ask(
  port: number,
  method: string,
  host: string,
  path: string,
  authorization?: string,
  connection = 'close',
): Promise<string> {
  const body = method === 'PUT' || method === 'POST' ? '{}' : '';
  const lines = [
    `${method} ${path} HTTP/1.1`,
    ...[`Host: ${host}`, `Connection: ${connection}`, 'X-Request-Id: same'],
    ...(authorization === undefined ? [] : [`Authorization: ${authorization}`]),
    ...(body === '' ? [] : [`Content-Length: ${body.length}`]),
  ];
  const { text } = await exchange(port, `${lines.join('\r\n')}\r\n\r\n${body}`);
  return text.replace(/^Date: .*\r\n/m, '');
}

function tellsNothing(title: string, door: () => Promise<Door>): void {
  describe(title, () => {
    for (const credential of ['none', 'bare', 'unknown', 'basic', 'malformed', 'foreign', 'raw']) {
      it(`answers for a private cache and for none alike, with the credential: ${credential}`, async () => {
        const { port, names, credentials } = await door();
        const authorization = credentials[credential];
        const addresses = (name: string): [host: string, path: string][] => [
          ...NIX.map((path): [string, string] => [`${name}.localhost`, path]),
          ...[...NIX, ...API].map((path): [string, string] => ['localhost', `/api/v1/cache/${name}${path}`]),
        ];
        const [existing, missing] = [addresses(names[0]), addresses(names[1])];
        for (const method of METHODS) {
          for (const [index, [host, path]] of existing.entries()) {
            const [otherHost, otherPath] = missing[index] ?? ['', ''];
            const one = await ask(port, method, host, path, authorization);
            const other = await ask(port, method, otherHost, otherPath, authorization);
            assert.equal(one, other, `${method} ${host}${path}`);
            assert.match(one, /^HTTP\/1\.1 (?:200|401|404|405) /, `${method} ${host}${path}`);
          }
        }
      });
    }

    it('opens no WebSocket to either', async () => {
      const { port, names } = await door();
      const upgrade = 'Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13';
      for (const path of ['', '/nix-cache-info', `/${HASH}.narinfo`, '/nonsense']) {
        const [one, other] = await Promise.all(
          names.map((name) => ask(port, 'GET', 'localhost', `/api/v1/cache/${name}${path}`, undefined, upgrade)),
        );
        assert.equal(one, other, path);
      }
    });

    it('lets nix go on without a credential, and tells one that is wrong', async () => {
      const { port, names, credentials } = await door();
      for (const name of names) {
        const at = (path: string, authorization?: string, method = 'GET') =>
          ask(port, method, 'localhost', `/api/v1/cache/${name}${path}`, authorization);
        const info = await at('/nix-cache-info');
        assert.match(info, /^HTTP\/1\.1 200 /);
        assert.match(info, /\nPriority: 41\n$/);
        assert.match(await at(`/${HASH}.narinfo`), /^HTTP\/1\.1 404 /);
        const refusals = [
          await at(''),
          await at('/narinfo', undefined, 'POST'),
          await at(PART, undefined, 'PUT'),
          await at(`/push/${NAR}`, undefined, 'PUT'),
          ...(await Promise.all(
            ['unknown', 'malformed', 'foreign', 'raw'].map((it) => at('/nix-cache-info', credentials[it])),
          )),
        ];
        for (const refusal of refusals) {
          assert.match(refusal, /^HTTP\/1\.1 401 /);
          assert.match(refusal, /\r\n\r\nno such cache, or no access to it without a token that it knows\n$/);
        }
      }
    });
  });
}

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
const credentialsOf = (foreign: string) => ({
  bare: 'Bearer',
  unknown: 'Bearer nwl_unknown',
  basic: basic('x:nwl_unknown'),
  malformed: 'Negotiate abc',
  foreign: `Bearer ${foreign}`,
  raw: `Basic ${foreign}`,
});

describe('strangers', () => {
  let server: TestServer;
  let pair: GatewayPair;
  before(async () => {
    const manifest = [
      cacheManifest('open', standardSpec),
      cacheManifest('hidden', `access: Private\npriority: 7\n${standardSpec}`),
      cacheManifest('third', `access: Private\n${standardSpec}`),
    ].join('---\n');
    server = await TestServer.start({ manifest, args: ['--log-level', 'info'] });
    pair = await GatewayPair.start({ serverArgs: ['--log-level', 'info'] });
    await pushByPut(server, makePath(), { cache: 'hidden' });
  });
  after(async () => {
    await server.remove();
    await pair.remove();
  });

  tellsNothing('a server, asked by somebody of another private cache', async () => ({
    port: server.port,
    names: ['hidden', 'nosuch'],
    credentials: credentialsOf(await server.token('admin', 'third')),
  }));
  tellsNothing('a server, asked by somebody of a public cache', async () => ({
    port: server.port,
    names: ['hidden', 'nosuch'],
    credentials: credentialsOf(await server.token('admin', 'open')),
  }));
  tellsNothing('a gateway', async () => ({
    port: pair.gateway.port,
    names: ['private', 'nosuch'],
    credentials: credentialsOf(await pair.main.token('admin')),
  }));

  it('see the priority of a private cache no more than its content, which its readers do', async () => {
    const authorization = `Bearer ${await server.token('read', 'hidden')}`;
    assert.match(await ask(server.port, 'GET', 'hidden.localhost', '/nix-cache-info', authorization), /Priority: 7\n$/);
    assert.match(await ask(server.port, 'GET', 'hidden.localhost', '/nix-cache-info'), /Priority: 41\n$/);
  });

  it('find no cache at the API host, by whichever of its names', async () => {
    for (const host of ['localhost', 'api.localhost'])
      for (const port of [server.port, pair.gateway.port])
        assert.match(
          await ask(port, 'GET', host, '/nix-cache-info'),
          /^HTTP\/1\.1 404 [\s\S]*\r\n\r\nno such cache\n$/,
        );
  });
});
