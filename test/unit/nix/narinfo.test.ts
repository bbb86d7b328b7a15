import * as assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  encodeNix32,
  FormatError,
  type NarInfo,
  narFileOfUrl,
  parseBasename,
  parseNarInfo,
  renderNarInfo,
  sha256,
  sortReferences,
} from '../../../server/nix/index.ts';
import { vectors } from './vectors.ts';

const basename = fc
  .tuple(fc.uint8Array({ minLength: 20, maxLength: 20 }), fc.stringMatching(/^[a-z0-9][0-9A-Za-z+\-._?=]{0,30}$/))
  .map(([hash, name]) => `${encodeNix32(hash)}-${name}`);
const hash = fc.string().map(sha256);
const size = fc.maxSafeNat().map((value) => value || 1);

const narInfo: fc.Arbitrary<NarInfo> = fc.record(
  {
    storePath: basename.map((name) => parseBasename(name).path),
    url: fc.constantFrom('nar/a.nar.xz', './nar/b.nar', 'https://other.example/nar/c.nar?x=1'),
    compression: fc.constantFrom('none', 'xz', 'zstd', 'bzip2', 'gzip', 'br', 'lz4'),
    fileHash: fc.option(hash, { nil: undefined }),
    fileSize: fc.option(fc.maxSafeNat(), { nil: undefined }),
    narHash: hash,
    narSize: size,
    references: fc.array(basename).map(sortReferences),
    deriver: fc.option(
      basename.map((name) => `${name}.drv`),
      { nil: undefined },
    ),
    signatures: fc.uniqueArray(
      fc.uint8Array({ minLength: 64, maxLength: 64 }).map((bytes) => `key-1:${Buffer.from(bytes).toString('base64')}`),
    ),
    ca: fc.option(fc.constant('fixed:r:sha256:abc'), { nil: undefined }),
  },
  { noNullPrototype: true },
);

describe('narinfo', () => {
  it('renders, byte for byte, what Nix wrote', () => {
    for (const text of vectors.narInfos) assert.equal(renderNarInfo(parseNarInfo(text)), text);
  });

  it('reads back what it rendered', () => {
    fc.assert(
      fc.property(narInfo, (info) => {
        assert.deepEqual(parseNarInfo(renderNarInfo(info)), info);
      }),
    );
  });

  it('fails only with a FormatError of one plain line, whatever the text', () => {
    const [sample = ''] = vectors.narInfos;
    const mutated = fc
      .tuple(fc.nat(sample.length), fc.nat(20), fc.string({ unit: 'binary', maxLength: 20 }))
      .map(([at, count, insert]) => sample.slice(0, at) + insert + sample.slice(at + count));
    fc.assert(
      fc.property(fc.oneof(mutated, fc.string({ unit: 'binary' })), (text) => {
        try {
          const info = parseNarInfo(text);
          assert.deepEqual(parseNarInfo(renderNarInfo(info)), { ...info, compression: info.compression ?? 'bzip2' });
        } catch (error) {
          assert.ok(error instanceof FormatError, String(error));
          assert.match(error.message, /^[ -~]{1,400}$/);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('knows the file behind a URL of the same cache only', () => {
    assert.equal(narFileOfUrl('nar/abc.nar.xz'), 'abc.nar.xz');
    assert.equal(narFileOfUrl('./nar/abc.nar'), 'abc.nar');
    for (const url of [
      '/nar/a',
      '../nar/a',
      'nar/../a',
      'nar/a?x=1',
      'nar/',
      'nar/a/b',
      'nar/.a',
      'nar/%2e',
      'https://h/nar/a',
      '',
    ]) {
      assert.throws(() => narFileOfUrl(url), /^FormatError: URL: expected nar\/<file>/);
    }
  });
});
