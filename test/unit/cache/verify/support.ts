import { spawnSync } from 'node:child_process';
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import { findProgram } from '../../../../server/cache/verify/codecs/program.ts';
import type { Facts } from '../../../../server/cache/verify/index.ts';
import { type Compression, writeNar } from '../../../../server/nix/index.ts';

/** A folder that goes away with the process's tests. */
export class Folder {
  readonly path = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-verify-'));
  #files = 0;

  file(contents: Buffer): string {
    const file = path.join(this.path, `file-${this.#files++}`);
    fs.writeFileSync(file, contents);
    return file;
  }

  remove(): void {
    fs.rmSync(this.path, { recursive: true, force: true });
  }
}

/** A NAR of about `sizeBytes`: half of it random, half of it easy to compress. */
export function narOf(sizeBytes: number): Buffer {
  const random = crypto.randomBytes(Math.ceil(sizeBytes / 2));
  const easy = 'x'.repeat(Math.ceil(sizeBytes / 2));
  return writeNar({
    type: 'directory',
    entries: { easy: { type: 'regular', contents: easy }, random: { type: 'regular', contents: random } },
  });
}

const PROGRAMS: Partial<Record<Compression, string[]>> = {
  xz: ['xz', '-c', '-T2', '--block-size=300KiB', '-1'],
  lzma: ['xz', '--format=lzma', '-c', '-1'],
  bzip2: ['bzip2', '-c'],
  lz4: ['lz4', '-c', '-q'],
};

/** Compresses as Nix might: node:zlib where it can, the system's programs elsewhere. */
export function compress(compression: Compression, data: Buffer): Buffer {
  switch (compression) {
    case 'none':
      return data;
    case 'zstd':
      return zlib.zstdCompressSync(data);
    case 'gzip':
      return zlib.gzipSync(data);
    case 'br':
      return zlib.brotliCompressSync(data, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 2 } });
    default:
      return pipe(PROGRAMS[compression] ?? [], data);
  }
}

/** Runs data through a program. */
export function pipe([program = '', ...args]: string[], data: Buffer): Buffer {
  const { stdout, status, error } = spawnSync(program, args, { input: data, maxBuffer: 2 ** 30 });
  if (error !== undefined || status !== 0) throw error ?? new Error(`${program} failed`);
  return stdout;
}

export function hasProgram(name: string): boolean {
  return findProgram(name) !== undefined;
}

export function factsOf(file: Buffer, compression: Compression, nar: Buffer): Facts {
  return {
    fileHash: crypto.hash('sha256', file),
    fileSize: file.length,
    compression,
    narHash: crypto.hash('sha256', nar),
    narSize: nar.length,
  };
}
