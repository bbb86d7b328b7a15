import assert from 'node:assert/strict';
import { Buffers, PIECE_BYTES } from '../../../server/buffers/index.ts';

const KIB = 1024;

describe('a buffer that is taken', () => {
  it('is one that was given back, where there is one of its size', () => {
    const buffers = new Buffers(PIECE_BYTES);
    const first = buffers.take(100 * KIB);
    assert.equal(first.length, 100 * KIB);
    buffers.giveBack(first);
    assert.equal(buffers.keptBytes, 128 * KIB);
    const other = buffers.take(PIECE_BYTES);
    assert.notEqual(other.buffer, first.buffer);
    const again = buffers.take(120 * KIB);
    assert.equal(again.buffer, first.buffer);
    assert.equal(again.length, 120 * KIB);
    assert.equal(buffers.keptBytes, 0);
  });

  it('belongs to one alone, however often it was given back', () => {
    const buffers = new Buffers(4 * PIECE_BYTES);
    const piece = buffers.take(PIECE_BYTES);
    buffers.giveBack(piece.subarray(0, 10));
    buffers.giveBack(piece);
    const next = [buffers.take(PIECE_BYTES), buffers.take(PIECE_BYTES)];
    assert.notEqual(next[0]?.buffer, next[1]?.buffer);
  });

  it('is kept as long as there is room for it, and left to the collector else', () => {
    const buffers = new Buffers(2 * PIECE_BYTES);
    const taken = Array.from({ length: 5 }, () => buffers.take(PIECE_BYTES));
    for (const piece of taken) buffers.giveBack(piece);
    assert.equal(buffers.keptBytes, 2 * PIECE_BYTES);
    assert.equal(taken.at(-1)?.length, PIECE_BYTES);
  });

  it('is none of ours where it is small', () => {
    const buffers = new Buffers(PIECE_BYTES);
    const small = buffers.take(300);
    buffers.giveBack(small);
    assert.equal(buffers.keptBytes, 0);
  });
});

describe('memory that is adopted', () => {
  it('is freed when its last byte is given back, and not before', () => {
    const buffers = new Buffers(PIECE_BYTES);
    const whole = Buffer.alloc(64 * KIB, 'x');
    const [first, second] = [whole.subarray(0, 40 * KIB), whole.subarray(40 * KIB)];
    buffers.adopt(first);
    buffers.adopt(second);
    buffers.giveBack(first);
    assert.equal(second.length, 24 * KIB);
    buffers.giveBack(second);
    assert.equal(whole.buffer.byteLength, 0);
    assert.equal(buffers.keptBytes, 0);
  });

  it('stays where it may be a part of what Node shares among many', () => {
    const buffers = new Buffers(PIECE_BYTES);
    const shared = Buffer.from('a few bytes');
    buffers.adopt(shared);
    buffers.giveBack(Buffer.from(shared.buffer));
    assert.equal(String(shared), 'a few bytes');
  });

  it('stays where nobody adopted it', () => {
    const foreign = Buffer.alloc(64 * KIB, 'x');
    new Buffers(PIECE_BYTES).giveBack(foreign);
    assert.equal(foreign.length, 64 * KIB);
  });
});
