/** Store paths to push in tests: a NAR of one file, its hashes, and the forms that the two protocols want. */
import { createHash, randomBytes } from 'node:crypto';
import zlib from 'node:zlib';
import { encodeNix32, formatHash, sha256, writeNar } from '../../server/nix/index.ts';

export interface TestPath {
  readonly hashPart: string;
  readonly name: string;
  readonly storePath: string;
  readonly nar: Buffer;
  /** The compressed bytes. */
  readonly file: Buffer;
  readonly compression: 'zstd' | 'none';
  /** `sha256:<nix32>` */
  readonly narHash: string;
  readonly fileHash: string;
  readonly fileHex: string;
  readonly references: readonly string[];
  /** `nar/<hash>.nar.zst` */
  readonly narUrl: string;
  /** The narinfo as `nix copy` would send it, unsigned. */
  readonly narinfo: string;
}

/** Makes a path with the given or random contents. */
export function makePath(
  options: {
    name?: string;
    contents?: Buffer;
    compression?: 'zstd' | 'none';
    references?: readonly string[];
    seed?: string;
    /** As another client compresses: zstd with a checksum, so that the same NAR is another file. */
    otherwise?: boolean;
  } = {},
): TestPath {
  const { name = 'test-1.0', contents = randomBytes(1000), compression = 'zstd', references = [] } = options;
  const nar = writeNar({ type: 'regular', contents });
  const params = { [zlib.constants.ZSTD_c_checksumFlag]: options.otherwise === true ? 1 : 0 };
  const file = compression === 'zstd' ? zlib.zstdCompressSync(nar, { params }) : nar;
  const hashPart = encodeNix32(
    createHash('sha256')
      .update(options.seed ?? randomBytes(16))
      .digest()
      .subarray(0, 20),
  );
  const [narHash, fileHash] = [formatHash(sha256(nar)), formatHash(sha256(file))];
  const storePath = `/nix/store/${hashPart}-${name}`;
  const narUrl = `nar/${fileHash.slice(7)}.nar${compression === 'zstd' ? '.zst' : ''}`;
  const lines = [
    `StorePath: ${storePath}`,
    `URL: ${narUrl}`,
    `Compression: ${compression}`,
    `FileHash: ${fileHash}`,
    `FileSize: ${file.length}`,
    `NarHash: ${narHash}`,
    `NarSize: ${nar.length}`,
    `References: ${references.join(' ')}`,
  ];
  const fileHex = createHash('sha256').update(file).digest('hex');
  return {
    hashPart,
    name,
    storePath,
    nar,
    file,
    compression,
    narHash,
    fileHash,
    fileHex,
    references,
    narUrl,
    narinfo: `${lines.join('\n')}\n`,
  };
}

/** `narInfoCreate` of the Cachix protocol. */
export function narInfoCreate(path: TestPath): Record<string, unknown> {
  return {
    cStoreHash: path.hashPart,
    cStoreSuffix: path.name,
    cNarHash: path.narHash,
    cNarSize: path.nar.length,
    cFileHash: path.fileHex,
    cFileSize: path.file.length,
    cReferences: path.references,
    cDeriver: 'unknown-deriver',
    cSig: null,
  };
}
