/** Store paths for the nix protocol in every form that a client may send: each compression, content addresses, keys. */
import { createHash, randomBytes } from 'node:crypto';
import zlib from 'node:zlib';
import {
  type Compression,
  compressionSuffix,
  encodeNix32,
  fingerprint,
  formatHash,
  type Hash,
  type NarTree,
  type SecretKey,
  sha256,
  writeNar,
} from '../../server/nix/index.ts';
import { compress } from '../unit/cache/verify/support.ts';
import { put, type Reply } from './raw-http.ts';

export interface NixPathInit {
  readonly name?: string;
  readonly tree?: NarTree;
  readonly compression?: Compression;
  readonly references?: readonly string[];
  /** Compressed bytes of the same NAR, made in another way. */
  readonly file?: (nar: Buffer) => Buffer;
  /** A whole store path, for content-addressed ones; it replaces `name`. */
  readonly storePath?: string;
  /** More lines behind References. */
  readonly lines?: readonly string[];
}

export interface NixPath {
  readonly hashPart: string;
  readonly storePath: string;
  readonly basename: string;
  readonly nar: Buffer;
  readonly narHash: Hash;
  readonly file: Buffer;
  readonly fileHash: string;
  readonly url: string;
  readonly references: readonly string[];
  readonly narinfo: string;
}

/** A listing, as small as one can be. */
export const LISTING = '{"version":1,"root":{"type":"regular","size":1}}';

/** A path with random contents unless a tree is given. */
export function nixPath(init: NixPathInit = {}): NixPath {
  const { name = 'test-1.0', compression = 'zstd', references = [], lines = [] } = init;
  const tree = init.tree ?? { type: 'regular', contents: randomBytes(1000).toString('hex') };
  const nar = writeNar(tree);
  const narHash = sha256(nar);
  const file = init.file?.(nar) ?? compress(compression, nar);
  const fileHash = formatHash(sha256(file));
  const random = encodeNix32(createHash('sha256').update(randomBytes(16)).digest().subarray(0, 20));
  const storePath = init.storePath ?? `/nix/store/${random}-${name}`;
  const basename = storePath.slice('/nix/store/'.length);
  const url = `nar/${fileHash.slice('sha256:'.length)}.nar${compressionSuffix(compression)}`;
  const narinfo = [
    `StorePath: ${storePath}`,
    `URL: ${url}`,
    `Compression: ${compression}`,
    `FileHash: ${fileHash}`,
    `FileSize: ${file.length}`,
    `NarHash: ${formatHash(narHash)}`,
    `NarSize: ${nar.length}`,
    `References: ${references.join(' ')}`,
    ...lines,
    '',
  ].join('\n');
  return {
    hashPart: basename.slice(0, 32),
    storePath,
    basename,
    nar,
    narHash,
    file,
    fileHash,
    url,
    references,
    narinfo,
  };
}

/** The `Sig` line's value of a path. */
export function signatureOf(key: SecretKey, path: NixPath): string {
  return key.sign(
    fingerprint({
      storePath: path.storePath,
      narHash: path.narHash,
      narSize: path.nar.length,
      references: path.references,
    }),
  );
}

/** Several zstd frames one after the other, as nix 2.35 writes them. */
export function zstdFrames(nar: Buffer, frames: number): Buffer {
  const size = Math.ceil(nar.length / frames);
  return Buffer.concat(
    Array.from({ length: frames }, (_, index) => zlib.zstdCompressSync(nar.subarray(index * size, (index + 1) * size))),
  );
}

export interface Push {
  readonly nar: Reply;
  readonly narinfo: Reply;
}

/** PUTs the NAR and then the narinfo, as nix does. @param base the push URL */
export async function push(base: string, path: NixPath, headers: Record<string, string>): Promise<Push> {
  const nar = await put(base, `/${path.url}`, path.file, headers);
  const narinfo = await put(base, `/${path.hashPart}.narinfo`, path.narinfo, headers);
  return { nar, narinfo };
}
