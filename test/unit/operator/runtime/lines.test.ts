import assert from 'node:assert/strict';
import fc from 'fast-check';
import { lines } from '../../../../operator/runtime/lines.ts';

async function* chunksOf(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let start = 0;
  for (const size of sizes) {
    yield bytes.subarray(start, start + size);
    start += size;
  }
  yield bytes.subarray(start);
}

async function linesOf(text: string, sizes: readonly number[] = []): Promise<string[]> {
  const found: string[] = [];
  for await (const line of lines(chunksOf(Buffer.from(text), sizes))) found.push(line);
  return found;
}

describe('the lines of a stream', () => {
  it('end with a line feed', async () => {
    assert.deepEqual(await linesOf('a\nb\n'), ['a', 'b']);
    assert.deepEqual(await linesOf(''), []);
    assert.deepEqual(await linesOf('\n\n'), ['', '']);
  });

  it('are dropped where they are torn', async () => {
    assert.deepEqual(await linesOf('a\n{"type":"ADD'), ['a']);
  });

  it('are the same however the stream is cut, within characters too', async () => {
    const line = fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => text.replaceAll('\n', ''));
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 6 }), fc.array(fc.nat({ max: 7 })), async (texts, sizes) => {
        assert.deepEqual(await linesOf(texts.map((text) => `${text}\n`).join(''), sizes), texts);
      }),
    );
  });

  it('come before the stream fails', async () => {
    const seen: string[] = [];
    const broken = async function* () {
      yield Buffer.from('a\nb');
      throw new Error('cut');
    };
    await assert.rejects(async () => {
      for await (const line of lines(broken())) seen.push(line);
    }, /cut/);
    assert.deepEqual(seen, ['a']);
  });
});
