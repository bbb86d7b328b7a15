/** Many who read large NARs at once, at any pace, get their own bytes: buffers are filled again while others still send. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import net from 'node:net';
import { buffer } from 'node:stream/consumers';
import { makePath, type TestPath } from '../support/nars.ts';
import { TestServer } from '../support/server.ts';

const READERS = 32;
const NAR_BYTES = 12 * 2 ** 20;
const SMALL_BYTES = 100 * 1024;
/** So much is taken in one go before a reader stands still for a turn. */
const STEP_BYTES = 200_000;

/** One connection, one request; its client takes nothing but what it is told to. */
class SlowReader {
  readonly #socket: net.Socket;
  readonly #hash = createHash('sha256');
  #head = '';
  #isHead = true;
  #wake: (() => void) | undefined;
  /** Of the body. */
  received = 0;
  isOver = false;

  constructor(port: number, target: string, headers = '', method = 'GET') {
    this.#socket = net.connect(port, '127.0.0.1');
    this.#socket.write(`${method} ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${headers}\r\n`);
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.isOver = true;
      this.#wake?.();
    });
    this.#socket.on('data', (bytes: Buffer) => {
      this.#take(bytes);
      this.#wake?.();
    });
    this.#socket.pause();
  }

  #take(bytes: Buffer): void {
    let body = bytes;
    if (this.#isHead) {
      const seen = this.#head.length;
      this.#head += bytes.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.#isHead = false;
      body = bytes.subarray(end + 4 - seen);
      this.#head = this.#head.slice(0, end);
    }
    this.#hash.update(body);
    this.received += body.length;
  }

  get status(): number {
    return Number(this.#head.slice(9, 12));
  }

  get hex(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Takes `bytes` more, or what there is. */
  async take(bytes: number): Promise<void> {
    const enough = this.received + bytes;
    this.#socket.resume();
    while (!this.isOver && this.received < enough)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    this.#socket.pause();
  }

  async takeAll(): Promise<void> {
    await this.take(Number.POSITIVE_INFINITY);
  }

  leave(): void {
    this.#socket.destroy();
  }
}

describe('readers side by side', () => {
  let server: TestServer;
  const large = [1, 2, 3, 4].map(() => makePath({ contents: randomBytes(NAR_BYTES), compression: 'none' }));
  const small = [1, 2, 3, 4].map(() => makePath({ contents: randomBytes(SMALL_BYTES), compression: 'none' }));

  before(async () => {
    server = await TestServer.start();
    const headers = await server.auth();
    for (const it of [...large, ...small]) {
      const put = (address: string, body: Buffer | string) =>
        fetch(`${server.url}/push/${address}`, { method: 'PUT', headers, body });
      assert.equal((await put(it.narUrl, it.file)).status, 200);
      assert.equal((await put(`${it.hashPart}.narinfo`, it.narinfo)).status, 200);
    }
  });
  after(() => server.remove());

  const read = (it: TestPath, headers = '', method = 'GET') =>
    new SlowReader(server.port, `/${it.narUrl}`, headers, method);
  const pick = (list: readonly TestPath[], index: number) => list[index % list.length] as TestPath;
  const hex = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

  it(`each gets every byte of its own: ${READERS} that take a little in turn`, async () => {
    const readers = Array.from({ length: READERS }, (_, index) => read(pick(large, index)));
    while (readers.some((it) => !it.isOver)) {
      // By turns in order and all at once, so that buffers pass from one to the other.
      for (const it of readers) if (!it.isOver) await it.take(STEP_BYTES);
      await Promise.all(readers.filter((it) => !it.isOver).map((it) => it.take(4 * STEP_BYTES)));
    }
    for (const [index, it] of readers.entries()) assert.equal(it.hex, pick(large, index).fileHex, `reader ${index}`);
  }).timeout(120_000);

  it('stay well when others break off in the middle, ask for ranges or for heads', async () => {
    const whole = Array.from({ length: 8 }, (_, index) => read(pick(large, index)));
    for (const it of whole) await it.take(STEP_BYTES);
    const [start, end] = [700_001, 5_000_000];
    for (let round = 0; round < 6; round++) {
      const leaving = Array.from({ length: 6 }, (_, index) => read(pick(large, index + round)));
      await Promise.all(leaving.map((it) => it.take(STEP_BYTES)));
      for (const it of leaving) it.leave();
      const ranges = Array.from({ length: 4 }, (_, index) =>
        read(pick(large, index), `Range: bytes=${start + round}-${end}\r\n`),
      );
      const little = Array.from({ length: 12 }, (_, index) => read(pick(small, index)));
      const heads = Array.from({ length: 4 }, (_, index) => read(pick(large, index), '', 'HEAD'));
      for (const it of whole) await it.take(STEP_BYTES);
      await Promise.all([...ranges, ...little, ...heads].map((it) => it.takeAll()));
      for (const [index, it] of ranges.entries()) {
        assert.equal(it.status, 206);
        assert.equal(it.hex, hex(pick(large, index).file.subarray(start + round, end + 1)));
      }
      for (const [index, it] of little.entries()) assert.equal(it.hex, pick(small, index).fileHex);
      for (const it of heads) assert.deepEqual([it.status, it.received], [200, 0]);
    }
    await Promise.all(whole.map((it) => it.takeAll()));
    for (const [index, it] of whole.entries()) assert.equal(it.hex, pick(large, index).fileHex, `reader ${index}`);
  }).timeout(120_000);

  it('send each its own bytes when one connection asks for several before it takes any', async () => {
    const asked = [...small, ...small, ...small];
    const socket = net.connect(server.port, '127.0.0.1');
    const requests = asked.map((it, index) => {
      const connection = index === asked.length - 1 ? 'close' : 'keep-alive';
      return `GET /${it.narUrl} HTTP/1.1\r\nHost: localhost\r\nConnection: ${connection}\r\n\r\n`;
    });
    socket.write(requests.join(''));
    const others = Array.from({ length: 16 }, (_, index) => read(pick(small, index)));
    await Promise.all(others.map((it) => it.takeAll()));
    let rest = await buffer(socket);
    for (const it of asked) {
      const body = rest.subarray(rest.indexOf('\r\n\r\n') + 4);
      assert.ok(body.subarray(0, it.file.length).equals(it.file));
      rest = body.subarray(it.file.length);
    }
  });
});
