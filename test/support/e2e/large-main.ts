// A push and a pull of one path of any size in a pod, as nix does them and with nothing kept: random bytes made on the
// fly, the same twice, once for their hash and once to send.
import assert from 'node:assert/strict';
import { createCipheriv, createHash, type Hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { encodeNix32, writeNar } from '../../../server/nix/index.ts';

const { URL_OF_CACHE = '', TOKEN_FILE = '', BYTES = '' } = process.env;
const PIECE = 1 << 20;
const size = Number(BYTES);
assert.equal(size % PIECE, 0, 'whole MiB: nothing to pad');
const key = randomBytes(32);
const headers = { authorization: `Bearer ${fs.readFileSync(TOKEN_FILE, 'utf8').trim()}` };

/** The NAR of one file of `size` bytes. */
function* nar(): Generator<Buffer> {
  // Behind the contents come `)` and its length; before them, theirs.
  const empty = Buffer.from(writeNar({ type: 'regular', contents: Buffer.alloc(0) }));
  const [head, tail] = [empty.subarray(0, -16), empty.subarray(-16)];
  head.writeBigUInt64LE(BigInt(size), head.length - 8);
  yield head;
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  const zeros = Buffer.alloc(PIECE);
  for (let left = size; left > 0; left -= PIECE) yield cipher.update(zeros);
  yield tail;
}

const digestOf = (hash: Hash) => `sha256:${encodeNix32(hash.digest())}`;

async function send(method: string, path: string, length: number, pieces: Iterable<Buffer>): Promise<void> {
  const request = https.request(`${URL_OF_CACHE}${path}`, {
    method,
    headers: { ...headers, 'content-length': length },
  });
  const answered = once(request, 'response') as Promise<[IncomingMessage]>;
  for (const piece of pieces) if (!request.write(piece)) await Promise.race([once(request, 'drain'), answered]);
  request.end();
  const [answer] = await answered;
  const text = (await answer.setEncoding('utf8').toArray()).join('');
  assert.equal(answer.statusCode, 200, text);
}

async function get(path: string): Promise<IncomingMessage> {
  const [answer] = (await once(https.get(`${URL_OF_CACHE}${path}`, { headers }), 'response')) as [IncomingMessage];
  assert.equal(answer.statusCode, 200);
  return answer;
}

const hash = createHash('sha256');
let length = 0;
for (const piece of nar()) {
  hash.update(piece);
  length += piece.length;
}
const narHash = digestOf(hash);
const hashPart = encodeNix32(randomBytes(20));
const storePath = `/nix/store/${hashPart}-large`;
const url = `nar/${narHash.slice(7)}.nar`;
await send('PUT', `/push/${url}`, length, nar());
const narinfo = `StorePath: ${storePath}
URL: ${url}
Compression: none
FileHash: ${narHash}
FileSize: ${length}
NarHash: ${narHash}
NarSize: ${length}
References: 
`;
await send('PUT', `/push/${hashPart}.narinfo`, narinfo.length, [Buffer.from(narinfo)]);

const told = (await (await get(`/${hashPart}.narinfo`)).setEncoding('utf8').toArray()).join('');
assert.ok(told.includes(`NarHash: ${narHash}\n`), told);
const back = createHash('sha256');
for await (const piece of await get(`/${/^URL: (.*)$/m.exec(told)?.[1]}`)) back.update(piece as Buffer);
assert.equal(digestOf(back), narHash, 'other bytes come back');
console.log(JSON.stringify({ storePath, narHash }));
