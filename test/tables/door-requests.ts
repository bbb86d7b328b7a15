/**
 * Heads and bodies that doors were tried with: what ended a process or led astray once, what programs send by mistake, and the
 * usual requests, for the fuzzer to change. Grown by hand: what a run finds is added here.
 */
import zlib from 'node:zlib';

/** Stands for a token that may push. */
export const TOKEN = '{token}';
const HOST = 'Host: main.localhost\r\n';
const PUSHER = `${HOST}Authorization: Bearer ${TOKEN}\r\n`;
const HASH = '0'.repeat(32);
const API = '/api/v1/cache/main';
const PART = `${API}/multipart-nar/11111111-1111-4111-8111-111111111111`;

/** Request targets in all forms that HTTP has, and in some that it has not. */
const TARGETS: readonly string[] = [
  '/',
  '//',
  '///',
  '/?',
  '/#',
  '//livez',
  '//[',
  '//:x@[/',
  '/livez',
  '/readyz?verbose',
  '/metrics',
  '/status',
  '/%',
  '/%zz?%zz',
  '/%00',
  '/%ff%fe',
  '/\\..\\',
  '*',
  '?',
  'livez',
  'http:',
  'http://',
  'http://[',
  'http://[::1',
  'http://x:99999/livez',
  'http://x/livez',
  'http://a:b:c/livez?verbose',
  `http://x:y${API}/multipart-nar?compression=zst`,
  'https://%/',
  'file:///etc/passwd',
  'javascript:x',
  'main.localhost:443',
  `/${HASH}.narinfo`,
  `//${HASH}.narinfo?x`,
  `/push//nar//${'0'.repeat(52)}.nar`,
  `${API}`,
  `${API}/`,
  `${API}//narinfo`,
  '/api/v1/cache/',
  '/api/v1/cache//',
  '/api/v1/cache/__proto__/nix-cache-info',
  '/api/v1/cache/constructor',
  '/api/v1/user',
  '/api/v2/deploy/x',
  '/ws',
  '/ws-deployment?x=%',
  '/log/a.drv?outputs=&x',
  `${API}/gc`,
  `${API}/gc/plan?limit=x`,
  `${API}/pin`,
  `${API}/pin/%ff`,
  `${API}/pin/../pin`,
  `${API}/paths?page=%ff&limit=-1`,
  `${API}/paths?search=%00&sort=__proto__`,
  `${API}/explain/%ff`,
  `${API}/path/x?now=true&block=%00`,
  `${API}/block/..`,
];

/** Headers, each a line or several. */
const HEADERS: readonly string[] = [
  '',
  'Host: \r\n',
  'Host: [\r\n',
  'Host: a b\r\n',
  'Host: x:y:z\r\n',
  'Host: ../..\r\n',
  'Host: __proto__.localhost\r\n',
  'Host: \xff\xfe\r\n',
  `${HOST}Host: other.localhost\r\n`,
  `${HOST}Expect: 100-continue\r\n`,
  `${HOST}Expect: 100-continue, 200-ok\r\n`,
  `${HOST}Expect: \r\n`,
  `${HOST}Expect: 200-maybe\r\nContent-Length: 5\r\n`,
  `${HOST}Upgrade: websocket\r\nConnection: Upgrade\r\n`,
  `${HOST}Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: \r\n`,
  `${HOST}Upgrade: websocket, x\r\nConnection: keep-alive, Upgrade\r\n`,
  `${HOST}Connection: close, host, content-length, \x7f\r\n`,
  `${HOST}Connection: Upgrade\r\n`,
  `${HOST}Range: bytes=-0\r\n`,
  `${HOST}Range: bytes=99999999999999999999-\r\n`,
  `${HOST}If-None-Match: W/*, "\xff"\r\n`,
  `${HOST}Authorization: Basic \xff\r\n`,
  `${HOST}Authorization: \r\n`,
  `${HOST}Authorization: Bearer \xe9\xff\r\n`,
  `${HOST}X-Request-Id: \xff\r\n`,
  `${HOST}X-Request-Id: a\r\nX-Request-Id: b\r\n`,
  `${HOST}X-Forwarded-For: fe80::1%eth0\r\n`,
  `${HOST}X-Forwarded-For: ::ffff:1.2.3, fe80::1%, 127.0.0.1\r\n`,
  `${HOST}X-Forwarded-For: ,,,\r\nX-Forwarded-Proto: ,https\r\nX-Forwarded-Host: [\r\n`,
  `${PUSHER}Content-Encoding: gzip\r\nContent-Length: 5\r\n`,
  `${HOST}Content-Encoding: \xff\r\nContent-Length: 5\r\n`,
  `${PUSHER}Content-Encoding: constructor\r\nContent-Length: 5\r\n`,
  `${HOST}Content-MD5: \xff\r\nContent-Length: 5\r\n`,
  `${PUSHER}Content-Length: 5\r\n`,
  `${PUSHER}Content-Length: 0\r\n`,
  `${HOST}Content-Length: 9007199254740993\r\n`,
  `${HOST}Content-Length: 99999999999999999999999\r\n`,
  `${HOST}Content-Length: -1\r\n`,
  `${PUSHER}Transfer-Encoding: chunked\r\n`,
  `${HOST}Transfer-Encoding: gzip, chunked\r\n`,
  `${HOST}Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n`,
  `${HOST}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n`,
  `${HOST}TE: trailers\r\nX: \0\r\n`,
  `${HOST}${'A: b\r\n'.repeat(300)}`,
  `${HOST}X: ${'x'.repeat(15_000)}\r\n`,
];

const BODIES: readonly string[] = [
  '',
  'hello',
  '[[[[[[[[',
  '[]',
  '{}',
  'null',
  '5\r\nhello\r\n0\r\n\r\n',
  '5\r\nhello\r\n0\r\nX-Sum: \xff\xfe\r\n: \r\n\r\n',
  '0\r\nX-Sum: a\r\n\r\n',
  'ffffffffffffffff\r\n',
  '\x1f\x8b\x08\x00\x00',
];

const METHODS: readonly string[] = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'OPTIONS',
  'TRACE',
  'PATCH',
  'CONNECT',
  'PROPFIND',
  'M-SEARCH',
  'QUERY',
  'PRI',
  'get',
];

const VERSIONS: readonly string[] = ['HTTP/1.1', 'HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/1.12', 'http/1.1', ''];

/** From which the fuzzer puts requests together. */
export const PIECES = { methods: METHODS, targets: TARGETS, headers: HEADERS, bodies: BODIES, versions: VERSIONS };

const NARINFO = `StorePath: /nix/store/${HASH}-x\nURL: nar/x.nar\n`;
/** An empty stream, as xz writes it. */
const EMPTY_XZ = Buffer.from('/Td6WFoAAATm1rRGAAAAABzfRCEftvN9AQAAAAAEWVo=', 'base64');
const encoded: readonly (readonly [encoding: string, body: Buffer])[] = [
  ['gzip', zlib.gzipSync(NARINFO)],
  ['br', zlib.brotliCompressSync(NARINFO)],
  ['zstd', zlib.zstdCompressSync(NARINFO)],
  ['xz', Buffer.concat([EMPTY_XZ, EMPTY_XZ])],
  ['bzip2', Buffer.from('BZh91AY&SY')],
  ['lz4', Buffer.from([4, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7, 0, 0, 0, 0])],
];

/** Whole requests, as they were found to be trouble somewhere or are usual. */
export const REQUESTS: readonly string[] = [
  // A second request on the connection asks for another protocol while the answer to the first is not out.
  `GET ${API}/nix-cache-info HTTP/1.1\r\n${HOST}\r\nGET /ws HTTP/1.1\r\n${HOST}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n`,
  `GET ${API}/nix-cache-info HTTP/1.1\r\n${HOST}\r\nCONNECT x:1 HTTP/1.1\r\n${HOST}\r\n`,
  `GET ${API}/ws HTTP/1.1\r\n${HOST}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x85\0\0\0\0hello`,
  'CONNECT main.localhost:443 HTTP/1.1\r\nHost: x\r\n\r\n',
  'CONNECT // HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n',
  'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n',
  'TRACE / HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  '\0\0\0\0',
  '\r\n\r\n\r\n',
  'GET\r\n\r\n',
  `GET /${HASH}.narinfo HTTP/1.1\r\n${HOST}\r\n`,
  `HEAD /push/${HASH}.narinfo HTTP/1.0\r\n\r\n`,
  `PUT /push/${HASH}.narinfo HTTP/1.1\r\n${PUSHER}Content-Length: 5\r\n\r\nhello`,
  `PUT /push/nar/${'0'.repeat(52)}.nar.xz HTTP/1.1\r\n${PUSHER}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
  `POST ${API}/narinfo HTTP/1.1\r\n${PUSHER}Content-Type: application/json\r\nContent-Length: 36\r\n\r\n["${HASH}"]`,
  `POST ${API}/narinfo HTTP/1.1\r\n${PUSHER}Transfer-Encoding: chunked\r\n\r\n4\r\n[[[[\r\n4\r\n[[[[\r\n`,
  `POST ${API}/multipart-nar?compression=zst&compression=xz HTTP/1.1\r\n${PUSHER}Content-Length: 0\r\n\r\n`,
  `POST ${PART}?uploadId=a&uploadId=b&partNumber=1 HTTP/1.1\r\n${PUSHER}Content-Length: 2\r\n\r\n{}`,
  `PUT ${PART}/part/1?uploadId=a&md5=b&expires=NaN&signature=%ff HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\nx`,
  `PUT ${PART}/part/1?expires=1e999&signature=${'a'.repeat(43)} HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\nx`,
  `POST ${PART}/complete?uploadId=a HTTP/1.1\r\n${PUSHER}Content-Length: 2\r\n\r\n{}`,
  `POST ${PART}/abort HTTP/1.1\r\n${PUSHER}Content-Length: 0\r\n\r\n`,
  `POST ${API}/key HTTP/1.1\r\n${PUSHER}Content-Length: 16\r\n\r\n{"publicKey":1}\n`,
  `POST ${API}/nar?compression=br HTTP/1.1\r\n${PUSHER}Content-Length: 0\r\n\r\n`,
  `POST ${API}/${HASH}.narinfo HTTP/1.1\r\n${PUSHER}Content-Length: 2\r\n\r\n{}`,
  ...encoded.flatMap(([encoding, body]) =>
    [`${HASH}.narinfo`, `${HASH}.ls`, `nar/${'0'.repeat(52)}.nar`].map(
      (file) =>
        `PUT /push/${file} HTTP/1.1\r\n${PUSHER}Content-Encoding: ${encoding}\r\nContent-Length: ${body.length}\r\n\r\n${body.toString('latin1')}`,
    ),
  ),
  ...encoded.map(
    ([ending, body]) =>
      `PUT /push/nar/${'0'.repeat(52)}.nar.${ending} HTTP/1.1\r\n${PUSHER}Content-Length: ${body.length}\r\n\r\n${body.toString('latin1')}`,
  ),
];

/** What a server behind a gateway may answer; pods belong to whoever has the cache. */
export const ANSWERS: readonly string[] = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: \xff\xfe\r\nContent-Length: 1\r\n\r\n',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n',
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello',
  'HTTP/1.1 101 \r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 103 Early Hints\r\nLink: \xff\r\n\r\nHTTP/1.1 204 \r\n\r\n',
  'HTTP/1.1 199 \r\n\r\n',
  'HTTP/1.1 000 x\r\n\r\n',
  'HTTP/1.1 999 \xe9\x7f\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 099 x\r\nContent-Length: 1\r\n\r\nx',
  'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello',
  'HTTP/1.1 302 Found\r\nLocation: \xff\0\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 200 OK\r\nConnection: close, content-length, \xff\r\nContent-Length: 2\r\n\r\nok',
  'HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n',
  'HTTP/1.0 200 OK\r\n\r\nuntil the end',
  'HTTP/2.0 200 OK\r\n\r\n',
  `HTTP/1.1 200 ${'x'.repeat(20_000)}\r\n\r\n`,
  `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
  `HTTP/1.1 200 OK\r\n${'Set-Cookie: a\r\n'.repeat(1000)}Content-Length: 0\r\n\r\n`,
  'no HTTP at all\r\n\r\n',
  '',
];
