// Pushes whose decoders want more memory than there is: those that stall hold nobody up, and all are taken in the end.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { describeWith } from '../support/needs.ts';
import { type NixPath, nixPath, push } from '../support/nix-path.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { TestServer, until } from '../support/server.ts';
import { pipe } from '../unit/cache/verify/support.ts';

const MIB = 2 ** 20;
/** One thread, and memory for one stream of `xz -9`. */
const ARGS = ['--verify-threads', '1', '--decoder-memory', String(70 * MIB)];
const BUCKET = 'narwhal-decoders';

/** A path of 2 MB in `xz -9`: more than half of it is far beyond what is verified in one go. */
function large(): NixPath {
  const tree = { type: 'regular', contents: randomBytes(2_000_000) } as const;
  return nixPath({ tree, compression: 'xz', file: (nar) => pipe(['xz', '-9', '-c'], nar) });
}

/** A PUT of a NAR that stops after more than a half. */
class StalledPush {
  readonly #request: http.ClientRequest;
  readonly #file: Buffer;
  readonly #sentBytes: number;
  readonly answer: Promise<number | undefined>;

  constructor(url: string, path: NixPath, headers: Record<string, string>) {
    this.#file = path.file;
    this.#sentBytes = Math.floor(path.file.length * 0.6);
    const length = { 'content-length': path.file.length };
    this.#request = http.request(`${url}/${path.url}`, {
      method: 'PUT',
      agent: false,
      headers: { ...headers, ...length },
    });
    this.answer = new Promise((resolve, reject) => {
      this.#request.on('error', reject);
      this.#request.on('response', (response) => {
        response.resume();
        resolve(response.statusCode);
      });
    });
    this.#request.write(this.#file.subarray(0, this.#sentBytes));
  }

  goOn(): void {
    this.#request.end(this.#file.subarray(this.#sentBytes));
  }
}

async function takesAll(server: TestServer): Promise<void> {
  const url = `${server.api()}/push`;
  const auth = await server.auth();
  const paths = [large(), large(), large()];
  const stalled = paths.map((path) => new StalledPush(url, path, auth));
  const atWork = async () => {
    const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
    return Number(/^narwhal_verifications\{state="running"\} (\d+)$/m.exec(metrics)?.[1]) >= 1;
  };
  await until('a stalled one has a decoder', atWork);
  const replies = await Promise.all([large(), large(), large()].map((path) => push(url, path, auth)));
  for (const { nar, narinfo } of replies) assert.deepEqual([nar.status, narinfo.status], [200, 200], nar.text);
  for (const one of stalled) one.goOn();
  assert.deepEqual(await Promise.all(stalled.map((one) => one.answer)), [200, 200, 200]);
  for (const path of paths) {
    const read = await fetch(`${server.api()}/${path.url}`);
    assert.ok(Buffer.from(await read.arrayBuffer()).equals(path.file));
  }
}

describe('decoders without memory for all', () => {
  it('take every push that goes to a folder', async () => {
    const server = await TestServer.start({ args: ARGS });
    try {
      await takesAll(server);
    } finally {
      await server.remove();
    }
  });
});

describeWith('versitygw', 'decoders without memory for all, with S3', () => {
  it('take every push that goes to a bucket', async () => {
    const s3 = await S3Server.start();
    try {
      await s3.createBucket(BUCKET);
      const manifest = s3Manifest(s3, [s3Storage('cloud', BUCKET, s3.endpoint)]);
      const server = await TestServer.start({ manifest, args: ARGS });
      try {
        await takesAll(server);
      } finally {
        await server.remove();
      }
    } finally {
      await s3.remove();
    }
  });
});
