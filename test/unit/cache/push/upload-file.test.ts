import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { CacheError } from '../../../../server/cache/index.ts';
import { type Part, UploadFile } from '../../../../server/cache/push/upload-file.ts';
import { md5OfRange } from '../../../../server/cache/verify/md5.ts';
import { LocalStorage } from '../../../../server/storage/index.ts';
import { Feed, FeedError } from '../../../support/feed.ts';

const LONG = process.env.NARWHAL_LONG === '1';
const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

async function* body(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  // In pieces, so that parts that arrive at one time really interleave.
  for (let at = 0; at < bytes.length; at += 100) yield bytes.subarray(at, at + 100);
}

describe('the file of a multipart upload', () => {
  let root: string;
  let storage: LocalStorage;
  let files = 0;
  before(async () => {
    root = await mkdtemp(path.join(os.tmpdir(), 'narwhal-upload-'));
    storage = new LocalStorage({ name: 'disk', root, cacheId: 'c', reserveBytes: 0 });
    assert.equal((await storage.open(false)).state, 'Ready');
  });
  after(async () => {
    await storage.close();
    await rm(root, { recursive: true, force: true });
  });

  function open(parts: readonly Part[] = []): UploadFile {
    return new UploadFile(storage, `upload${files++}`, parts);
  }

  function write(file: UploadFile, number: number, bytes: Uint8Array): Promise<Part> {
    return file.write({ number, size: bytes.length, md5: md5(bytes) }, body(bytes), md5OfRange);
  }

  const sizes = fc.array(fc.nat({ max: 1000 }), { minLength: 1, maxLength: 8 });

  it('has the same bytes whatever the order of its parts', async () => {
    await fc.assert(
      fc.asyncProperty(
        sizes.chain((list) =>
          fc.tuple(fc.constant(list), fc.shuffledSubarray([...list.keys()], { minLength: list.length })),
        ),
        async ([list, order]) => {
          const parts = list.map((size) => randomBytes(size));
          const file = open();
          for (const index of order) {
            await write(file, index + 1, parts[index] ?? Buffer.alloc(0));
            await file.settle();
          }
          await assertHolds(file, parts);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('has the same bytes when all parts arrive at one time', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async (list) => {
        const parts = list.map((size) => randomBytes(size));
        const file = open();
        await Promise.all(
          parts.map(async (part, index) => {
            await write(file, index + 1, part);
            await file.settle();
          }),
        );
        await file.settle();
        await assertHolds(file, parts);
      }),
      { numRuns: 30 },
    );
  });

  async function assertHolds(file: UploadFile, parts: readonly Buffer[]): Promise<void> {
    const whole = Buffer.concat(parts);
    assert.equal(file.prefix, whole.length);
    assert.deepEqual(
      file.received().map((part) => part.number),
      parts.map((_, index) => index + 1),
    );
    // What an attempt left behind them is cut off at the end.
    if (whole.length > 0) assert.ok((await readFile(file.base.file)).subarray(0, whole.length).equals(whole));
    await file.discard();
    assert.deepEqual(await readdir(path.join(root, '.staging')), [], 'nothing is left behind');
  }

  it('has the same bytes whatever was announced, begun and broken off before, and never rewrites what it keeps', async () => {
    const attempt = fc.record({
      part: fc.nat({ max: 7 }),
      // Beside the size of the part; 0: the part itself, or other bytes under its MD5.
      more: fc.constantFrom(0, 0, 0, -100, 100, 1000),
      isRight: fc.boolean(),
      sends: fc.nat({ max: 1500 }),
      settles: fc.boolean(),
      // Trips to the disk before each piece.
      slow: fc.constantFrom(0, 0, 3),
    });
    await fc.assert(
      fc.asyncProperty(sizes, fc.array(attempt, { maxLength: 20 }), async (list, attempts) => {
        const parts = list.map((size) => randomBytes(size));
        const file = open();
        const read = new Reader(file);
        const running = attempts.map(async ({ part, more, isRight, sends, settles, slow }) => {
          const number = (part % parts.length) + 1;
          const right = parts[number - 1] ?? Buffer.alloc(0);
          const size = Math.max(1, right.length + more);
          const announced = more === 0 ? right : randomBytes(size);
          const sent = isRight && more === 0 ? right : randomBytes(size);
          const claim = { number, size, md5: md5(announced) };
          // Other bytes never come whole: they would be received.
          const bytes = sent.subarray(0, isRight && more === 0 ? sends : Math.min(sends, size - 1));
          await file.write(claim, paced(bytes, slow), md5OfRange).catch(assertAnswer);
          if (settles) await file.settle();
          await read.on();
        });
        await Promise.all(running);
        for (const [index, part] of parts.entries()) {
          await write(file, index + 1, part);
          if (index % 2 === 0) await file.settle();
          await read.on();
        }
        await file.seal(new CacheError('Conflict', 'sealed'));
        await file.settle();
        await read.on();
        assert.ok(read.bytes.equals(Buffer.concat(parts)), 'what was read on the way is what lies there');
        await assertHolds(file, parts);
      }),
      { numRuns: LONG ? 5000 : 150, endOnFailure: true },
    );
  });

  /** Reads the beginning that the file keeps, as the verifier does: never again what it has read. */
  class Reader {
    bytes = Buffer.alloc(0);
    readonly #file: UploadFile;
    #reading: Promise<void> = Promise.resolve();

    constructor(file: UploadFile) {
      this.#file = file;
    }

    on(): Promise<void> {
      this.#reading = this.#reading.then(async () => {
        const end = this.#file.keep();
        if (end > this.bytes.length)
          this.bytes = Buffer.concat([
            this.bytes,
            (await readFile(this.#file.base.file)).subarray(this.bytes.length, end),
          ]);
      });
      return this.#reading;
    }
  }

  async function* paced(bytes: Uint8Array, slow: number): AsyncGenerator<Uint8Array> {
    for await (const piece of body(bytes)) {
      await turn();
      for (let n = 0; n < slow; n++) await stat(root);
      yield piece;
    }
  }

  function assertAnswer(error: unknown): void {
    assert.ok(error instanceof CacheError, String(error));
  }

  it('goes on after a restart with the parts that the rows know', async () => {
    const [first, third] = [randomBytes(300), randomBytes(200)];
    const id = `upload${files}`;
    const before = open();
    await write(before, 1, first);
    await write(before, 3, third);
    const after = new UploadFile(storage, id, before.received());
    await write(after, 2, Buffer.from('between'));
    await after.settle();
    assert.ok((await readFile(after.base.file)).equals(Buffer.concat([first, Buffer.from('between'), third])));
    await before.discard();
    await after.discard();
  });

  it('refuses a part whose bytes are others than announced, and takes the right ones then', async () => {
    const file = open();
    const right = Buffer.from('right');
    const claim = { number: 1, size: 5, md5: md5(right) };
    await assert.rejects(file.write(claim, body(Buffer.from('wrong')), md5OfRange), { code: 'Invalid' });
    await assert.rejects(file.write(claim, body(Buffer.from('rig')), md5OfRange), { code: 'Incomplete' });
    assert.equal(file.prefix, 0);
    await file.write(claim, body(right), md5OfRange);
    assert.equal(file.prefix, 5);
    await file.discard();
  });

  it('refuses other bytes for a part that was received', async () => {
    const file = open();
    await write(file, 1, Buffer.from('12345'));
    await assert.rejects(write(file, 1, Buffer.from('123456')), { code: 'Conflict' });
    await file.discard();
  });

  /** An attempt at a part whose bytes come later. */
  function begin(file: UploadFile, number: number, bytes: Uint8Array): { feed: Feed; part: Promise<Part> } {
    const feed = new Feed();
    const part = file.write({ number, size: bytes.length, md5: md5(bytes) }, feed, md5OfRange);
    // The test may look at it later.
    part.catch(() => {});
    return { feed, part };
  }

  async function assertReads(file: UploadFile, ...parts: readonly Buffer[]): Promise<void> {
    const whole = Buffer.concat(parts);
    assert.equal(file.keep(), whole.length);
    assert.ok((await readFile(file.base.file)).subarray(0, whole.length).equals(whole));
  }

  it('cuts off an attempt when another begins, and both have the outcome of that one', async () => {
    const file = open();
    const part = randomBytes(1000);
    const stalled = begin(file, 1, part);
    stalled.feed.send(part.subarray(0, 500));
    assert.deepEqual(await write(file, 1, part), await stalled.part);
    stalled.feed.send(randomBytes(500));
    await assertReads(file, part);
    await file.discard();
  });

  it('tells an attempt that was cut off when the other broke, and takes a third', async () => {
    const file = open();
    const part = randomBytes(1000);
    const [first, second] = [begin(file, 1, part), begin(file, 1, part)];
    second.feed.break();
    await assert.rejects(second.part, FeedError);
    await assert.rejects(first.part, { code: 'Unavailable' });
    await write(file, 1, part);
    await assertReads(file, part);
    await file.discard();
  });

  it('lets a part that was refused have another length, and moves what rested on it', async () => {
    for (const announced of [100, 300]) {
      const file = open();
      const [first, second, third] = [randomBytes(200), randomBytes(250), randomBytes(50)];
      const wrong = begin(file, 1, randomBytes(announced));
      assert.equal((await write(file, 2, second)).start, announced);
      wrong.feed.break();
      await assert.rejects(wrong.part, FeedError);
      await write(file, 1, first);
      await file.settle();
      await write(file, 3, third);
      await assertReads(file, first, second, third);
      await file.discard();
    }
  });

  it('keeps a part out of a place to which an attempt still writes', async () => {
    const file = open();
    const [first, second] = [randomBytes(200), randomBytes(300)];
    begin(file, 1, randomBytes(100));
    const behind = begin(file, 2, second);
    behind.feed.send(second.subarray(0, 100));
    await turn();
    await write(file, 1, first);
    await file.settle();
    assert.equal(file.keep(), 0);
    behind.feed.send(second.subarray(100));
    behind.feed.end();
    await behind.part;
    await file.settle();
    await assertReads(file, first, second);
    await file.discard();
  });

  it('gives nobody a place to which a part is being moved', async () => {
    const file = open();
    const [first, second, third] = [randomBytes(100), randomBytes(300), randomBytes(100)];
    await write(file, 1, first);
    begin(file, 2, randomBytes(50));
    assert.equal((await write(file, 3, third)).start, 150);
    const other = begin(file, 2, randomBytes(80));
    let noted = 0;
    await file.settle(async () => {
      // Part 3 has left its place and is on its way to the next one, when part 2 turns out to be longer.
      if (noted++ === 0) await write(file, 2, second);
    });
    await other.part.catch(() => {});
    await file.settle();
    await assertReads(file, first, second, third);
    await file.discard();
  });

  it('leaves bytes where its records say at any moment', async () => {
    const file = open();
    const [first, second] = [randomBytes(200), randomBytes(300)];
    const wrong = begin(file, 1, randomBytes(100));
    await write(file, 2, second);
    wrong.feed.break();
    await assert.rejects(wrong.part, FeedError);
    const rows = new Map<number, Part>();
    /** A process that ends now leaves bytes where the rows say. */
    const assertTrue = async () => {
      for (const { number, size, start } of rows.values()) {
        const from = start === undefined ? `${file.base.file}.${number}` : file.base.file;
        const bytes = (await readFile(from)).subarray(start ?? 0, (start ?? 0) + size);
        assert.ok(bytes.equals(number === 1 ? first : second), `part ${number}`);
      }
    };
    const record = async (parts: readonly Part[]) => {
      await assertTrue();
      for (const part of parts) rows.set(part.number, { ...part });
      await assertTrue();
    };
    await file.settle(record);
    assert.equal(rows.get(2)?.start, 100);
    await write(file, 1, first);
    await file.settle(record);
    assert.deepEqual(
      [1, 2].map((number) => rows.get(number)?.start),
      [0, 200],
    );
    await assertTrue();
    await assertReads(file, first, second);
    await file.discard();
  });

  it('takes in nothing once it is sealed, and nothing of before is on its way any more', async () => {
    const file = open();
    const [first, second] = [randomBytes(500), randomBytes(500)];
    await write(file, 1, first);
    const late = begin(file, 2, second);
    late.feed.send(second.subarray(0, 100));
    const sealed = new CacheError('Conflict', 'sealed');
    await file.seal(sealed);
    await assert.rejects(late.part, sealed);
    await assert.rejects(write(file, 2, second), sealed);
    assert.deepEqual((await write(file, 1, first)).size, 500, 'the same part again is acknowledged');
    await assertReads(file, first);
    await file.discard();
  });

  it('is written once where parts come at the same time, each announced in its turn', async function () {
    if (process.platform !== 'linux') this.skip();
    const file = open();
    const parts = Array.from({ length: 4 }, () => randomBytes(2_000_000));
    const before = await writtenBytes();
    const attempts = parts.map((part, index) => begin(file, index + 1, part));
    for (const half of [0, 1]) {
      for (const [index, { feed }] of attempts.toReversed().entries()) {
        const part = parts[3 - index] ?? Buffer.alloc(0);
        feed.send(part.subarray(half * 1_000_000, (half + 1) * 1_000_000));
        if (half === 1) feed.end();
      }
    }
    for (const { part } of attempts) {
      await part;
      await file.settle();
    }
    const written = (await writtenBytes()) - before;
    assert.ok(written >= 8_000_000 && written < 8_100_000, `${written} bytes for 8 MB`);
    await assertReads(file, ...parts);
    await file.discard();
  });

  /** Bytes that this process has written to files. */
  async function writtenBytes(): Promise<number> {
    return Number(/^wchar: (\d+)$/m.exec(await readFile('/proc/self/io', 'utf8'))?.[1]);
  }
});
