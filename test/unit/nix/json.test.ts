import * as assert from 'node:assert/strict';
import fc from 'fast-check';
import { type JsonHandler, JsonReader, parseJson } from '../../../server/nix/index.ts';

const LIMITS = { maxDepth: 64, maxStringBytes: 10_000 };

/** Builds the value out of what the reader finds. */
class Builder implements JsonHandler {
  value_: unknown;
  readonly #open: { container: unknown[] | Map<string, unknown>; key: string }[] = [];

  open(kind: 'object' | 'array'): void {
    const container = kind === 'object' ? new Map<string, unknown>() : [];
    this.#put(container);
    this.#open.push({ container, key: '' });
  }
  close(): void {
    this.#open.pop();
  }
  key(name: string): void {
    const top = this.#open.at(-1);
    if (top !== undefined) top.key = name;
  }
  value(value: unknown): void {
    this.#put(value);
  }
  #put(value: unknown): void {
    const top = this.#open.at(-1);
    if (top === undefined) this.value_ = value;
    else if (Array.isArray(top.container)) top.container.push(value);
    else top.container.set(top.key, value);
  }
}

function read(text: Buffer, pieceBytes: number): unknown {
  const builder = new Builder();
  const reader = new JsonReader('body', LIMITS, builder);
  for (let at = 0; at < text.length; at += pieceBytes) reader.write(text.subarray(at, at + pieceBytes));
  reader.end();
  return plain(builder.value_);
}

function plain(value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, inner]) => [key, plain(inner)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

describe('JSON that comes in pieces', () => {
  it('is read as JSON.parse reads it, wherever it is cut', () => {
    const json = fc.json({ maxDepth: 6 });
    const spaced = fc
      .tuple(json, fc.constantFrom(0, 1, 2))
      .map(([text, indent]) => JSON.stringify(JSON.parse(text), null, indent));
    fc.assert(
      fc.property(fc.oneof(json, spaced), fc.integer({ min: 1, max: 40 }), (text, size) => {
        assert.deepEqual(read(Buffer.from(text), size), JSON.parse(text));
      }),
    );
  });

  it('is refused wherever JSON.parse refuses it', () => {
    const signs = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '\\',
      'a',
      '"a"',
      '1',
      '-',
      '.',
      'e',
      'true',
      'null',
      ' ',
      '\n',
    );
    const noise = fc.array(signs, { maxLength: 12 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(noise, fc.integer({ min: 1, max: 5 }), (text, size) => {
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          assert.throws(() => read(Buffer.from(text), size), { name: 'FormatError', field: 'body' }, text);
          return;
        }
        assert.deepEqual(read(Buffer.from(text), size), expected, text);
      }),
      { numRuns: 3000 },
    );
  });

  it('has bounds for depth and for strings, and is UTF-8', () => {
    const deep = (levels: number) => Buffer.from('['.repeat(levels) + ']'.repeat(levels));
    read(deep(64), 10);
    assert.throws(() => read(deep(65), 10), { message: 'body: nested deeper than 64 levels' });
    assert.throws(() => read(Buffer.from(`"${'x'.repeat(10_000)}"`), 64), /more than 10000 bytes/);
    assert.throws(() => read(Buffer.from(`[${'1'.repeat(100)}]`), 64), /more than 64 bytes/);
    assert.throws(() => read(Buffer.from([0x22, 0xff, 0x22]), 1), /not well formed/);
    assert.throws(() => parseJson('body', Buffer.alloc(0), LIMITS), /stops in the middle/);
  });
});
