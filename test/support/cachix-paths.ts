/** Paths as a Cachix client has them: a compressed NAR, of an exact size where a recording wants one, and its claims. */
import { createHash, randomBytes } from 'node:crypto';
import zlib from 'node:zlib';
import { encodeNix32, formatHash, sha256, writeNar } from '../../server/nix/index.ts';
import type { CachixClaim, CachixPath } from './cachix-client.ts';
import { xz } from './xz.ts';

export interface Pushable extends CachixPath {
  readonly file: Buffer;
  readonly nar: Buffer;
  readonly hashPart: string;
  readonly storePath: string;
}

export interface PushableInit {
  readonly name?: string;
  readonly contents?: Buffer;
  readonly compression?: 'zst' | 'xz';
  readonly references?: readonly string[];
  readonly deriver?: string;
  readonly hashPart?: string;
}

/** A path with the given or random contents. */
export async function pushable(init: PushableInit = {}): Promise<Pushable> {
  const { contents = randomBytes(1000), compression = 'zst' } = init;
  const nar = writeNar({ type: 'regular', contents });
  return describe(init, nar, await compress(nar, compression), compression);
}

/** A path whose compressed NAR has exactly `bytes` bytes. */
export async function pushableOf(bytes: number, init: Omit<PushableInit, 'contents'> = {}): Promise<Pushable> {
  const { compression = 'zst' } = init;
  for (let size = Math.max(0, bytes - 4096), tries = 0; tries < 20_000; tries++) {
    const nar = writeNar({ type: 'regular', contents: randomBytes(size) });
    const checksum = tries % 2 === 1;
    const file = await compress(nar, compression, checksum);
    if (file.length === bytes) return describe(init, nar, file, compression);
    // Random bytes do not shrink: what is missing can be added. Small files are tried one size after the other, often.
    if (bytes < 4096) size = Math.floor(tries / (compression === 'xz' ? 1 : 40)) % 250;
    else size += bytes - file.length;
  }
  throw new Error(`no NAR compresses to ${bytes} bytes`);
}

/** The claim with other fields, and a path that carries it. */
export function claiming(path: Pushable, fields: Partial<CachixClaim>): Pushable {
  return { ...path, claim: { ...path.claim, ...fields } };
}

export function randomHashPart(): string {
  return encodeNix32(randomBytes(20));
}

function describe(init: PushableInit, nar: Buffer, file: Buffer, compression: 'zst' | 'xz'): Pushable {
  const { name = 'test-1.0', references = [], deriver = 'unknown-deriver', hashPart = randomHashPart() } = init;
  return {
    file,
    nar,
    compression,
    hashPart,
    storePath: `/nix/store/${hashPart}-${name}`,
    claim: {
      cStoreHash: hashPart,
      cStoreSuffix: name,
      cNarHash: formatHash(sha256(nar)),
      cNarSize: nar.length,
      cFileHash: createHash('sha256').update(file).digest('hex'),
      cFileSize: file.length,
      cReferences: references,
      cDeriver: deriver,
    },
  };
}

async function compress(nar: Buffer, compression: 'zst' | 'xz', checksum = false): Promise<Buffer> {
  if (compression === 'xz') return xz(nar);
  return zlib.zstdCompressSync(nar, { params: { [zlib.constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0 } });
}
