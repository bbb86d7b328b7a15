import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { type Part, UploadFile } from '../../../server/cache/upload-file.ts';
import { md5OfRange } from '../../../server/cache/verify/md5.ts';
import { LocalStorage } from '../../../server/storage/index.ts';

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
    if (whole.length > 0) assert.ok((await readFile(file.base.file)).equals(whole));
    await file.discard();
    assert.deepEqual(await readdir(path.join(root, '.staging')), [], 'nothing is left behind');
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
