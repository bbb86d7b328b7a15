import * as assert from 'node:assert/strict';
import * as zlib from 'node:zlib';
import {
  COMPRESSION_NAMES,
  compressionOfCachixQuery,
  compressionOfSuffix,
  compressionSuffix,
  parseCacheInfo,
  renderCacheInfo,
  SNIFF_BYTES,
  sniffCompression,
  writeNar,
} from '../../../server/nix/index.ts';

const nar = writeNar({ type: 'regular', contents: 'hello' });
/** The header that liblzma writes with `-6`, and the first bytes behind it. */
const LZMA = Buffer.from('5d00008000ffffffffffffffff000681a1c4', 'hex');

describe('compressions', () => {
  it('have the suffixes that Nix writes', () => {
    assert.deepEqual(
      COMPRESSION_NAMES.map((name) => `${name}${compressionSuffix(name)}`),
      ['none', 'xz.xz', 'bzip2.bz2', 'zstd.zst', 'lz4.lz4', 'br.br', 'gzip', 'lzma'],
    );
    assert.equal(compressionOfSuffix('.zst'), 'zstd');
    assert.equal(compressionOfSuffix(''), undefined);
  });

  it('are named by Cachix clients as xz, zst or zstd', () => {
    assert.equal(compressionOfCachixQuery('zst'), 'zstd');
    assert.equal(compressionOfCachixQuery('zstd'), 'zstd');
    assert.equal(compressionOfCachixQuery('XZ'), 'xz');
    assert.equal(compressionOfCachixQuery('br'), undefined);
  });

  const files: [string, Buffer, string, string | undefined][] = [
    ['a bare NAR', nar, '', 'none'],
    ['zstd', zlib.zstdCompressSync(nar), '.zst', 'zstd'],
    ['zstd under a wrong suffix', zlib.zstdCompressSync(nar), '.xz', 'zstd'],
    ['gzip', zlib.gzipSync(nar), '', 'gzip'],
    ['br by its suffix', zlib.brotliCompressSync(nar), '.br', 'br'],
    ['a skippable zstd frame', Buffer.from('502a4d180400000000', 'hex'), '.zst', 'zstd'],
    ['a skippable lz4 frame', Buffer.from('502a4d180400000000', 'hex'), '.lz4', 'lz4'],
    ['xz', Buffer.from('fd377a585a000004', 'hex'), '', 'xz'],
    ['bzip2', Buffer.from('BZh91AY'), '.bz2', 'bzip2'],
    ['lz4', Buffer.from('04224d186440', 'hex'), '', 'lz4'],
    ['lzma', LZMA, '', 'lzma'],
    ['lzma by nothing where a suffix promises something else', LZMA, '.xz', undefined],
    ['what is shorter than the header of lzma', LZMA.subarray(0, 13), '', undefined],
    ['no lzma in text', Buffer.from('a text of more than 24 bytes'), '', undefined],
    ['HTML', Buffer.from('<html>'), '.xz', undefined],
    ['nothing', Buffer.alloc(0), '', undefined],
  ];
  for (const [name, bytes, suffix, expected] of files) {
    it(`sniffs ${name}`, () => assert.equal(sniffCompression(bytes.subarray(0, SNIFF_BYTES), suffix), expected));
  }
});

describe('nix-cache-info', () => {
  it('is written for clients that insist on each line', () => {
    assert.equal(renderCacheInfo({ priority: 41 }), 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 41\n');
  });

  it('is read with CRLF, unknown lines and missing ones', () => {
    assert.deepEqual(parseCacheInfo('StoreDir: /foo\r\nPriority: 40\r\nX\r\n'), {
      storeDir: '/foo',
      wantMassQuery: false,
      priority: 40,
    });
    assert.throws(() => parseCacheInfo('Priority: abc\n'), /^FormatError: Priority: /);
  });
});
