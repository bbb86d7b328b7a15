import * as assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  checkNar,
  formatHash,
  NarParser,
  type NarTree,
  narChunks,
  narString,
  sha256,
  writeNar,
} from '../../../server/nix/index.ts';
import { vectors } from './vectors.ts';

const contents = fc.uint8Array({ maxLength: 40 });
const { tree } = fc.letrec<{ tree: NarTree }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.record({ type: fc.constant('regular' as const), executable: fc.boolean(), contents }),
    fc.record({ type: fc.constant('symlink' as const), target: fc.stringMatching(/^[a-z/.]{1,30}$/) }),
    fc.record({
      type: fc.constant('directory' as const),
      entries: fc.dictionary(fc.stringMatching(/^[a-zA-Z0-9]{1,12}$/), tie('tree'), {
        maxKeys: 5,
        noNullPrototype: true,
      }),
    }),
  ),
}));

function verdict(chunks: Iterable<Uint8Array>): string {
  const parser = new NarParser();
  try {
    for (const chunk of chunks) parser.write(chunk);
    parser.end();
    return 'a NAR';
  } catch (error) {
    return String(error);
  }
}

/** Cuts at the given sizes, over and over. */
function* cut(bytes: Buffer, sizes: number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

const open = (...more: (string | Buffer)[]) => Buffer.concat(['nix-archive-1', '(', 'type', ...more].map(piece));
const piece = (part: string | Buffer) => (typeof part === 'string' ? narString(part) : part);
const entry = (name: string | Buffer) =>
  Buffer.concat(
    ['entry', '(', 'name', name, 'node', '(', 'type', 'regular', 'contents', '', ')', ')'].map((part) =>
      narString(part),
    ),
  );

describe('the NAR parser', () => {
  it('takes every NAR that Nix dumped', () => {
    for (const { nar, narHash } of vectors.nars) {
      const bytes = Buffer.from(nar, 'base64');
      checkNar(bytes);
      assert.equal(formatHash(sha256(bytes)), narHash);
    }
  });

  it('takes every NAR that the writer makes', () => {
    fc.assert(fc.property(tree, (node) => checkNar(writeNar(node))));
  });

  it('judges alike whatever the chunks, for good and for damaged NARs', () => {
    const damage = fc.option(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })));
    const sizes = fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(tree, damage, fc.option(fc.nat()), sizes, (node, change, end, cuts) => {
        let nar = writeNar(node);
        if (change !== null) {
          const at = change[0] % nar.length;
          nar[at] = (nar[at] ?? 0) ^ change[1];
        }
        if (end !== null) nar = nar.subarray(0, end % nar.length);
        assert.equal(verdict(cut(nar, cuts)), verdict([nar]));
      }),
      { numRuns: 1000 },
    );
  });

  it('finds every truncation and every byte too many', () => {
    const nar = writeNar({ type: 'directory', entries: { a: { type: 'regular', contents: 'abc' } } });
    for (let length = 0; length < nar.length; length++) {
      assert.equal(verdict([nar.subarray(0, length)]), `FormatError: the NAR is truncated after ${length} bytes`);
    }
    assert.equal(verdict([nar, Buffer.alloc(1)]), 'FormatError: bytes after the end of the NAR');
  });

  const refused: [string, Buffer, RegExp][] = [
    ['another magic', narString('nix-archive-2'), /expected 'nix-archive-1'/],
    ['an unknown kind', open('fifo'), /expected 'regular' or 'symlink' or 'directory'/],
    ['a long keyword', open('x'.repeat(33)), /keyword before byte \d+ has 33 bytes, more than 32/],
    ['a file without contents', open('regular', ')'), /expected 'executable' or 'contents'/],
    ['an executable with a value', open('regular', 'executable', 'x'), /expected ''/],
    ['entries out of order', open('directory', entry('b'), entry('a')), /'a' before byte \d+ is out of order/],
    ['an entry twice', open('directory', entry('a'), entry('a')), /out of order/],
    [
      'signed order of bytes',
      open('directory', entry(Buffer.from([0xc3])), entry(Buffer.from([0x61]))),
      /out of order/,
    ],
    ['the name .', open('directory', entry('.')), /'.' before byte \d+ is not allowed/],
    ['the name ..', open('directory', entry('..')), /not allowed/],
    ['an empty name', open('directory', entry('')), /not allowed/],
    ['a name with a slash', open('directory', entry('a/b')), /not allowed/],
    ['a name with a NUL', open('directory', entry('a\0')), /not allowed/],
    ['a name of 256 bytes', open('directory', entry('n'.repeat(256))), /name before byte \d+ has 256 bytes/],
    ['an empty target', open('symlink', 'target', ''), /bad target/],
    ['a target with a NUL', open('symlink', 'target', 'a\0b'), /bad target/],
    ['a target of 4096 bytes', open('symlink', 'target', 't'.repeat(4096)), /more than 4095/],
    ['an impossible file size', open('regular', 'contents', Buffer.alloc(8, 255)), /no possible size/],
  ];
  for (const [name, nar, message] of refused) {
    it(`refuses ${name}`, () => assert.match(verdict([nar]), message));
  }

  it('refuses padding that is not zero, of strings and of contents', () => {
    const nar = writeNar({ type: 'regular', contents: 'abc' });
    for (const text of ['nix-archive-1', 'abc']) {
      const broken = Buffer.from(nar);
      broken[nar.indexOf(text) + text.length] = 1;
      assert.match(verdict([broken]), /the padding before byte \d+ is not zero/);
    }
  });

  it('takes names of 255 bytes, targets of 4095, and 63 folders deep', () => {
    checkNar(writeNar({ type: 'symlink', target: 't'.repeat(4095) }));
    let node: NarTree = { type: 'directory', entries: { ['n'.repeat(255)]: { type: 'regular', contents: '' } } };
    for (let depth = 0; depth < 62; depth++) node = { type: 'directory', entries: { d: node } };
    checkNar(writeNar(node));
    assert.throws(() => checkNar(writeNar({ type: 'directory', entries: { d: node } })), /nested deeper than 63/);
  });
});

describe('the NAR writer', () => {
  it('writes a tree as Nix does', () => {
    const dumped = vectors.nars.find(({ name }) => name === 'program')?.nar ?? '';
    const program = writeNar({ type: 'regular', executable: true, contents: '#!/bin/sh\necho hello\n' });
    assert.equal(program.toString('base64'), dumped);
    const names: Record<string, NarTree> = {};
    for (const name of ['a', 'b', 'B', 'a.b', 'a-b', 'ab', 'x y', '\u00e9', '\u{1f433}', '~', '...', 'n'.repeat(255)]) {
      names[name] = { type: 'regular', contents: name.slice(0, 20) };
    }
    const folder = writeNar({ type: 'directory', entries: names });
    assert.equal(folder.toString('base64'), vectors.nars.find(({ name }) => name === 'names')?.nar);
  });

  it('streams a file of any size', () => {
    const chunk = Buffer.alloc(1000, 'x');
    const big: NarTree = { type: 'regular', sizeBytes: 3000, chunks: () => [chunk, chunk, chunk] };
    const small: NarTree = { type: 'regular', contents: 'x'.repeat(3000) };
    assert.deepEqual(Buffer.concat([...narChunks(big)]), writeNar(small));
  });
});
