import { VerifyError } from '../errors.ts';

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const MAGIC_BYTES = 4;
const BLOCK_HEADER_BYTES = 3;
const CHECKSUM_BYTES = 4;
const RESERVED_BLOCK = 3;
const RLE_BLOCK = 1;
// Each frame costs a decoder: a file of tiny ones would keep a thread busy for hours. 2^18 frames of the 16 MiB that
// Nix writes are 4 TiB.
const MAX_FRAMES = 2 ** 18;
/** 128 MiB, the window of `zstd --ultra -22` and of `--long`: what Nix' own decoder takes. */
export const WINDOW_LOG_MAX = 27;
const MAX_WINDOW_BYTES = 2 ** WINDOW_LOG_MAX;

/** A part of a frame, as it came; skippable frames leave none. */
export interface FramePiece {
  readonly bytes: Buffer;
  readonly endsFrame: boolean;
}

type Part = 'magic' | 'skip-length' | 'skip' | 'descriptor' | 'header' | 'block' | 'body' | 'checksum';

/**
 * Cuts a stream of zstd frames at their ends, which only the headers tell (RFC 8878 section 3.1): Node's decoder takes
 * one frame, and accepts the rest unseen. Throws {@link VerifyError} for anything that is no frame.
 */
export class ZstdFrames {
  #part: Part = 'magic';
  #need = MAGIC_BYTES;
  #isLastBlock = false;
  #hasChecksum = false;
  #frames = 0;
  #descriptor = 0;
  #windowBytes: number | undefined;
  readonly #field = Buffer.alloc(16);
  #fieldBytes = 0;

  /** The pieces of a chunk; they share its memory but for a magic number that two chunks share. */
  *split(chunk: Buffer): Generator<FramePiece> {
    let start = 0;
    let at = 0;
    while (at < chunk.length) {
      const count = Math.min(this.#need, chunk.length - at);
      const before = this.#part;
      const isWhole = this.#fieldBytes === 0;
      if (before !== 'skip' && before !== 'body') {
        chunk.copy(this.#field, this.#fieldBytes, at, at + count);
        this.#fieldBytes += count;
      }
      at += count;
      this.#need -= count;
      if (this.#need > 0) break;
      this.#fieldBytes = 0;
      this.#next();
      if (before === 'magic' && this.#part === 'descriptor') {
        // A frame begins with its magic, of which the chunk may hold the end only.
        if (isWhole) start = at - count;
        else {
          yield { bytes: Buffer.from(this.#field.subarray(0, 4)), endsFrame: false };
          start = at;
        }
      }
      if (this.#part === 'magic') {
        if (before !== 'skip' && before !== 'skip-length') yield { bytes: chunk.subarray(start, at), endsFrame: true };
        start = at;
      }
    }
    if (this.#isInFrame() && at > start) yield { bytes: chunk.subarray(start, at), endsFrame: false };
  }

  /** The window of the frame that pieces came from last: what decoding it takes. Undefined until its header is read. */
  get windowBytes(): number | undefined {
    return this.#windowBytes;
  }

  /** Throws when the stream stops within a frame, or before its first. */
  end(): void {
    if (this.#part !== 'magic' || this.#fieldBytes > 0 || this.#frames === 0) {
      throw new VerifyError('corrupt', 'the zstd data is truncated');
    }
  }

  #isInFrame(): boolean {
    return this.#part !== 'magic' && this.#part !== 'skip' && this.#part !== 'skip-length';
  }

  /** Reads the part that is complete, in `#field`, and turns to what comes behind it. */
  #next(): void {
    do {
      const [part, bytes] = this.#following();
      this.#part = part;
      this.#need = bytes;
      // A part without bytes is over at once.
    } while (this.#need === 0);
  }

  #following(): [Part, number] {
    switch (this.#part) {
      case 'magic':
        return this.#afterMagic(this.#field.readUInt32LE(0));
      case 'skip-length':
        return ['skip', this.#field.readUInt32LE(0)];
      case 'descriptor':
        return this.#afterDescriptor(this.#field.readUInt8(0));
      case 'header':
        this.#windowBytes = this.#window();
        return ['block', BLOCK_HEADER_BYTES];
      case 'block':
        return this.#afterBlockHeader(this.#field.readUIntLE(0, BLOCK_HEADER_BYTES));
      case 'body':
        if (!this.#isLastBlock) return ['block', BLOCK_HEADER_BYTES];
        return this.#hasChecksum ? ['checksum', CHECKSUM_BYTES] : ['magic', MAGIC_BYTES];
      case 'skip':
      case 'checksum':
        return ['magic', MAGIC_BYTES];
    }
  }

  #afterMagic(magic: number): [Part, number] {
    this.#frames++;
    this.#windowBytes = undefined;
    if (this.#frames > MAX_FRAMES) {
      throw new VerifyError('corrupt', `the zstd data has more than ${MAX_FRAMES} frames`);
    }
    if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) return ['skip-length', 4];
    if (magic === FRAME_MAGIC) return ['descriptor', 1];
    const trouble = this.#frames === 1 ? 'this is no zstd data' : 'bytes after the end of the zstd data';
    throw new VerifyError('corrupt', trouble);
  }

  #afterDescriptor(descriptor: number): [Part, number] {
    const { isSingleSegment, dictionaryIdBytes, contentSizeBytes } = formOf(descriptor);
    this.#descriptor = descriptor;
    this.#hasChecksum = (descriptor & 4) !== 0;
    return ['header', (isSingleSegment ? 0 : 1) + dictionaryIdBytes + contentSizeBytes];
  }

  /** The window out of the header that is complete (sections 3.1.1.1.2 and 3.1.1.1.4). */
  #window(): number {
    const { isSingleSegment, dictionaryIdBytes, contentSizeBytes } = formOf(this.#descriptor);
    const first = this.#field.readUInt8(0);
    const base = 2 ** (10 + (first >> 3));
    const bytes = isSingleSegment
      ? littleEndian(this.#field.subarray(dictionaryIdBytes, dictionaryIdBytes + contentSizeBytes)) +
        (contentSizeBytes === 2 ? 256 : 0)
      : base + (base / 8) * (first & 7);
    if (bytes > MAX_WINDOW_BYTES) {
      const window = `a window of ${Math.ceil(bytes / 2 ** 20)} MiB`;
      throw new VerifyError(
        'unsupported',
        `the zstd data has ${window}: compress with one of 128 MiB or less (--long=27)`,
      );
    }
    return bytes;
  }

  #afterBlockHeader(header: number): [Part, number] {
    const type = (header >> 1) & 3;
    if (type === RESERVED_BLOCK) throw new VerifyError('corrupt', 'the zstd data is damaged');
    this.#isLastBlock = (header & 1) === 1;
    return ['body', type === RLE_BLOCK ? 1 : header >> 3];
  }
}

/** What a frame's descriptor says of the header behind it. */
function formOf(descriptor: number) {
  const isSingleSegment = (descriptor & 0x20) !== 0;
  return {
    isSingleSegment,
    dictionaryIdBytes: [0, 1, 2, 4][descriptor & 3] ?? 0,
    contentSizeBytes: [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0,
  };
}

function littleEndian(bytes: Buffer): number {
  return bytes.reduceRight((sum, byte) => sum * 256 + byte, 0);
}
