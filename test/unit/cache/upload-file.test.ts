import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { CacheError } from '../../../server/cache/index.ts';
import { type Part, UploadFile } from '../../../server/cache/upload-file.ts';
import { md5OfRange } from '../../../server/cache/verify/md5.ts';
import { LocalStorage } from '../../../server/storage/index.ts';

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
    });
    await fc.assert(
      fc.asyncProperty(sizes, fc.array(attempt, { maxLength: 20 }), async (list, attempts) => {
        const parts = list.map((size) => randomBytes(size));
        const file = open();
        const read = new Reader(file);
        const running = attempts.map(async ({ part, more, isRight, sends, settles }) => {
          const number = (part % parts.length) + 1;
          const right = parts[number - 1] ?? Buffer.alloc(0);
          const size = Math.max(1, right.length + more);
          const announced = more === 0 ? right : randomBytes(size);
          const sent = isRight && more === 0 ? right : randomBytes(size);
          const claim = { number, size, md5: md5(announced) };
          // Other bytes never come whole: they would be received.
          const body = broken(sent.subarray(0, isRight && more === 0 ? sends : Math.min(sends, size - 1)));
          await file.write(claim, body, md5OfRange).catch(assertAnswer);
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

  /** Ends early where it has fewer bytes than were announced. */
  async function* broken(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
    for await (const piece of body(bytes)) {
      await turn();
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
});
