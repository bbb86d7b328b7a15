import assert from 'node:assert/strict';
import fc from 'fast-check';
import { CacheError } from '../../../server/cache/index.ts';
import { JsonBounds } from '../../../server/http/json-bounds.ts';

const look = (text: string) => new JsonBounds().write(Buffer.from(text));

describe('the bounds of a JSON text', () => {
  it('let every object pass that is no deeper than 8, cut anywhere', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 6 })), fc.nat(), (value, cut) => {
        const body = Buffer.from(JSON.stringify(value));
        const bounds = new JsonBounds();
        bounds.write(body.subarray(0, cut % (body.length + 1)));
        bounds.write(body.subarray(cut % (body.length + 1)));
      }),
    );
  });

  it('stop what is nested deeper, whatever its texts hold', () => {
    look(`{"a":${'['.repeat(7)}`);
    look(`{"a":"${'['.repeat(1000)}\\"[[[[[[[[["`);
    assert.throws(() => look(`{"a":${'['.repeat(8)}`), /nested deeper than 8/);
    assert.throws(() => look('{"a":'.repeat(9)), /nested deeper than 8/);
  });

  it('stop what has too many values', () => {
    look(`{"a":[${'0,'.repeat(100_000)}`);
    assert.throws(() => look(`{"a":[${'0,'.repeat(100_001)}`), /more than 100000 values/);
  });

  it('stop what is no object at its first byte', () => {
    for (const text of ['[', '"', '0', 'x', '\ufeff{']) assert.throws(() => look(` \n${text}`), CacheError);
  });
});
