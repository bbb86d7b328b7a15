/** What a bench pushes and pulls: sizes like those of a real closure, contents that compress about as well as programs do. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { encodeNix32, formatHash, narChunks, parseSecretKey, renderNarInfo, sha256, writeNar, fingerprint, parseStorePath, generateSecretKey } from '../../server/nix/index.ts';

/** A path as both a pusher and a static file server need it. */
export interface BenchPath {
  readonly hashPart: string;
  readonly name: string;
  readonly narUrl: string;
  readonly file: Buffer;
  readonly fileHex: string;
  readonly narHash: string;
  readonly narSize: number;
  readonly narinfo: string;
}

/** Random words with a skewed distribution: about half of the bytes go away in zstd, as in compiled programs. */
export function* contents(size: number, seed: number): Generator<Buffer> {
  const dictionary = Array.from({ length: 4096 }, (_, index) => createHash('sha512').update(`${index}`).digest().subarray(0, 4 + (index % 24)));
  let state = seed >>> 0 || 1;
  let left = size;
  while (left > 0) {
    const block: Buffer[] = [];
    let length = 0;
    while (length < 256 * 1024 && length < left) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      const word = dictionary[((state >>> 0) % 4096) * (state & 1 ? 1 : 0.25) | 0] ?? Buffer.alloc(1);
      block.push(word);
      length += word.length;
    }
    const piece = Buffer.concat(block).subarray(0, left);
    left -= piece.length;
    yield piece;
  }
}

const key = parseSecretKey(generateSecretKey('bench-1'));

/** A path whose one file has `size` bytes. */
export function makeBenchPath(index: number, size: number, seed = 1): BenchPath {
  const nar = writeNar({ type: 'regular', contents: Buffer.concat([...contents(size, seed * 7919 + index + 1)]) });
  const file = zlib.zstdCompressSync(nar);
  const hashPart = encodeNix32(createHash('sha256').update(`${seed} ${index}`).digest().subarray(0, 20));
  const name = `pkg-${index}-1.0`;
  const { path: storePath } = parseStorePath(`/nix/store/${hashPart}-${name}`);
  const [narHash, fileHash] = [sha256(nar), sha256(file)];
  const narUrl = `nar/${formatHash(fileHash).slice(7)}.nar.zst`;
  const info = { storePath, url: narUrl, compression: 'zstd' as const, fileHash, fileSize: file.length, narHash, narSize: nar.length, references: [], signatures: [] };
  const narinfo = renderNarInfo({ ...info, signatures: [key.sign(fingerprint(info))] });
  return { hashPart, name, narUrl, file, fileHex: fileHash.digest.toString('hex'), narHash: formatHash(narHash), narSize: nar.length, narinfo };
}

/** Sizes of `count` small paths, log-normal around 30 kB as in nixpkgs closures. */
export function smallSizes(count: number): number[] {
  return Array.from({ length: count }, (_, index) => {
    const uniform = ((index * 2654435761) >>> 0) / 2 ** 32;
    const normal = Math.sqrt(-2 * Math.log(uniform + 1e-9)) * Math.cos(2 * Math.PI * ((index * 40503) % 1000) / 1000);
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

/** Writes one big zstd NAR to a file, streaming. What it is. */
export async function writeBigNar(target: string, sizeBytes: number): Promise<Omit<BenchPath, 'file' | 'narinfo'> & { fileSize: number }> {
  const { createWriteStream } = await import('node:fs');
  const { pipeline } = await import('node:stream/promises');
  const { Readable, Transform } = await import('node:stream');
  const narHash = createHash('sha256');
  const fileHash = createHash('sha256');
  let [narSize, fileSize] = [0, 0];
  const count = (hash: typeof narHash, add: (bytes: number) => void) =>
    new Transform({
      transform(chunk: Buffer, _encoding, done) {
        hash.update(chunk);
        add(chunk.length);
        done(null, chunk);
      },
    });
  await pipeline(
    Readable.from(narChunks({ type: 'regular', sizeBytes, chunks: () => contents(sizeBytes, 42) })),
    count(narHash, (bytes) => (narSize += bytes)),
    zlib.createZstdCompress({ chunkSize: 1 << 20 }),
    count(fileHash, (bytes) => (fileSize += bytes)),
    createWriteStream(target),
  );
  const hex = fileHash.digest();
  const hashPart = encodeNix32(createHash('sha256').update(target).digest().subarray(0, 20));
  return {
    hashPart,
    name: 'big-1.0',
    narUrl: `nar/${encodeNix32(hex)}.nar.zst`,
    fileHex: hex.toString('hex'),
    narHash: `sha256:${encodeNix32(narHash.digest())}`,
    narSize,
    fileSize,
  };
}
