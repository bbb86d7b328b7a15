/** What a bench pushes and pulls: sizes as in a real closure, contents that compress about as well as programs do. */
import { createHash } from 'node:crypto';
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import {
  encodeNix32,
  fingerprint,
  formatHash,
  generateSecretKey,
  narChunks,
  parseHash,
  parseSecretKey,
  parseStorePath,
  renderNarInfo,
  STORE_DIR,
  sha256FromHex,
  writeNar,
} from '../../server/nix/index.ts';
import type { CachixPath } from '../../test/support/cachix-client.ts';

/** A path as a pusher by either protocol and a static file server need it. */
export interface BenchPath<File extends Buffer | string = Buffer> {
  readonly hashPart: string;
  readonly name: string;
  /** `nar/<file hash>.nar[.zst]` */
  readonly narUrl: string;
  /** Its bytes, or the file that holds them. */
  readonly file: File;
  readonly fileHex: string;
  readonly fileSize: number;
  /** `sha256:<nix32>` */
  readonly narHash: string;
  readonly narSize: number;
  /** Signed by a key of the bench. */
  readonly narinfo: string;
}

export interface BigNar {
  /** As it is, in a file. */
  readonly plain: BenchPath<string>;
  /** In one zstd frame, as `nix copy` and Cachix send it. */
  readonly zstd: BenchPath<string>;
}

type Compression = 'none' | 'zstd';

const BLOCK_BYTES = 256 * 1024;
/** Together 16 MiB: a block comes again far beyond zstd's window of 2 MiB, so that it is no cheaper than the first time. */
const BLOCKS = 64;
const key = parseSecretKey(generateSecretKey('bench-1'));
const dictionary = Array.from({ length: 4096 }, (_, index) =>
  createHash('sha512')
    .update(`${index}`)
    .digest()
    .subarray(0, 4 + (index % 24)),
);

/** Words, some of them often, and by turns bytes that never come again: zstd makes a third of it, as of programs. */
function block(seed: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = (seed * 2654435761) >>> 0 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  for (let at = 0; at < size; ) {
    const share = next() & 1 ? 64 : dictionary.length;
    const word = dictionary[(next() >>> 8) % share];
    if (word !== undefined) at += word.copy(bytes, at);
    if (at + 4 <= size) at = bytes.writeUInt32LE(next(), at);
    else at = size;
  }
  return bytes;
}

/** The same as text, of which zstd makes about a third. */
export function textBlock(seed: string, size: number): string {
  const number = createHash('sha256').update(seed).digest().readUInt32LE();
  return block(number, Math.ceil(size / 2))
    .toString('hex')
    .slice(0, size);
}

function* bigContents(size: number): Generator<Buffer> {
  const blocks = Array.from({ length: BLOCKS }, (_, index) => block(index + 1, BLOCK_BYTES));
  for (let at = 0, left = size; left > 0; at++) {
    const piece = (blocks[at % BLOCKS] ?? Buffer.alloc(0)).subarray(0, left);
    left -= piece.length;
    yield piece;
  }
}

/** A path whose one file has `size` bytes. */
export function makeBenchPath(init: { index: number; size: number; compression?: Compression }): BenchPath {
  const { index, size, compression = 'zstd' } = init;
  const nar = writeNar({ type: 'regular', contents: block(index + 1000, size) });
  const file = compression === 'zstd' ? zlib.zstdCompressSync(nar) : nar;
  return describe(`pkg-${index}-1.0`, compression, file, {
    narHex: hex(nar),
    narSize: nar.length,
    fileHex: hex(file),
    fileSize: file.length,
  });
}

interface Facts {
  readonly narHex: string;
  readonly narSize: number;
  readonly fileHex: string;
  readonly fileSize: number;
}

function describe<File extends Buffer | string>(
  name: string,
  compression: Compression,
  file: File,
  { narHex, narSize, fileHex, fileSize }: Facts,
): BenchPath<File> {
  const hashPart = encodeNix32(createHash('sha256').update(`${name} ${fileHex}`).digest().subarray(0, 20));
  const { path: storePath } = parseStorePath(`${STORE_DIR}/${hashPart}-${name}`);
  const [narHash, fileHash] = [sha256FromHex(narHex), sha256FromHex(fileHex)];
  const suffix = compression === 'zstd' ? '.zst' : '';
  const url = `nar/${formatHash(fileHash).slice('sha256:'.length)}.nar${suffix}`;
  const signed = fingerprint({ storePath, narHash, narSize, references: [] });
  const info = { storePath, url, compression, fileHash, fileSize, narHash, narSize, references: [] };
  return {
    hashPart,
    name,
    narUrl: url,
    file,
    fileHex,
    fileSize,
    narHash: formatHash(narHash),
    narSize,
    narinfo: renderNarInfo({ ...info, deriver: undefined, ca: undefined, signatures: [key.sign(signed)] }),
  };
}

function hex(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Sizes of `count` small paths: log-normal around 20 kB, as most paths of a closure are. */
export function smallSizes(count: number): number[] {
  return Array.from({ length: count }, (_, index) => {
    const uniform = ((index * 2654435761) >>> 0) / 2 ** 32;
    const angle = (2 * Math.PI * ((index * 40503) % 1000)) / 1000;
    const normal = Math.sqrt(-2 * Math.log(uniform + 1e-9)) * Math.cos(angle);
    return Math.max(500, Math.min(300_000, Math.round(20_000 * Math.exp(normal * 0.8))));
  });
}

/** The same paths as plain files, for the baselines. */
export function writeStatic(folder: string, paths: readonly BenchPath[]): void {
  mkdirSync(path.join(folder, 'nar'), { recursive: true });
  for (const it of paths) {
    writeFileSync(path.join(folder, `${it.hashPart}.narinfo`), it.narinfo);
    writeFileSync(path.join(folder, it.narUrl), it.file);
  }
}

/** One big NAR in two files, written as a stream. */
export async function writeBigNars(folder: string, sizeBytes: number): Promise<BigNar> {
  const [plainFile, zstdFile] = [path.join(folder, 'big.nar'), path.join(folder, 'big.nar.zst')];
  const nar = () => Readable.from(narChunks({ type: 'regular', sizeBytes, chunks: () => bigContents(sizeBytes) }));
  const plain = meter();
  await pipeline(nar(), plain.through, createWriteStream(plainFile));
  const zstd = meter();
  const compressor = zlib.createZstdCompress({ chunkSize: 1 << 20 });
  await pipeline(nar(), compressor, zstd.through, createWriteStream(zstdFile));
  const [content, packed] = [plain.facts(), zstd.facts()];
  const facts = { narHex: content.hex, narSize: content.size };
  return {
    plain: describe('big-1.0', 'none', plainFile, { ...facts, fileHex: content.hex, fileSize: content.size }),
    zstd: describe('big-1.0', 'zstd', zstdFile, { ...facts, fileHex: packed.hex, fileSize: packed.size }),
  };
}

/** Hash and size of what flows through. */
function meter(): { through: Transform; facts: () => { hex: string; size: number } } {
  const hash = createHash('sha256');
  let size = 0;
  const through = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  return { through, facts: () => ({ hex: hash.digest('hex'), size }) };
}

/** The path as the Cachix client takes it. */
export function cachixPath(it: BenchPath<Buffer | string>): CachixPath {
  return {
    file: it.file,
    compression: 'zst',
    claim: {
      cStoreHash: it.hashPart,
      cStoreSuffix: it.name,
      cNarHash: formatHash(parseHash(it.narHash)),
      cNarSize: it.narSize,
      cFileHash: it.fileHex,
      cFileSize: it.fileSize,
      cReferences: [],
      cDeriver: 'unknown-deriver',
    },
  };
}
