import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import { buffers } from '../../buffers/index.ts';
import { type Compression, SNIFF_BYTES } from '../../nix/index.ts';
import { type DecoderMemory, type MemoryShare, PATIENCE_MS } from './codecs/memory.ts';
import { decoderOf } from './decoder.ts';
import { VerifierFailure, VerifyError } from './errors.ts';
import type { Facts } from './facts.ts';
import type { Claim, VerifyRequest } from './messages.ts';
import { NarSink, SizeLimit } from './nar-sink.ts';
import { Pieces } from './pieces.ts';
import { compressionOf, noNar, SMALL_FILE_BYTES, verifySmall } from './small.ts';
import { checkYield } from './yield.ts';

/** Below the size from which on memory comes from the kernel each time, as that of decoders. */
const READ_BYTES = 192 * 1024;
// Real NARs stay below: a file of zeros gives 32 000 to 1 with zstd, a source tree 4 to 1.
const AHEAD_RATIO = 64;
const AHEAD_BYTES = 64 * 1024 * 1024;

/** One verification inside a worker: reads the file as far as it has grown, or what is sent; decodes, hashes and checks. */
export class Job {
  readonly #request: VerifyRequest;
  #availableBytes: number;
  #claim: Claim | undefined;
  #ended: VerifierFailure | undefined;
  #readBytes = 0;
  #wake: (() => void) | undefined;
  readonly #fileHash = crypto.createHash('sha256');
  readonly #sink: NarSink;
  readonly #pieces: Pieces;
  readonly #memory: MemoryShare;

  constructor(
    memory: DecoderMemory,
    request: VerifyRequest,
    availableBytes: number,
    claim: Claim | undefined,
    onTaken: (bytes: number) => void = () => {},
  ) {
    const mayGiveWay = request.file !== undefined || request.isRepeatable === true;
    this.#memory = memory.open({
      isUrgent: claim !== undefined || !mayGiveWay,
      patienceMs: PATIENCE_MS,
      onGiveWay: () => this.#end(new VerifierFailure('put-off', 'its decoder made room for complete files')),
    });
    this.#pieces = new Pieces(onTaken);
    this.#request = request;
    this.#availableBytes = availableBytes;
    this.#claim = claim;
    this.#sink = new NarSink(new SizeLimit(request.maxNarSize, claim?.narSize));
  }

  grow(availableBytes: number): void {
    this.#availableBytes = Math.max(this.#availableBytes, availableBytes);
    this.#changed();
  }

  piece(bytes: Uint8Array): void {
    this.#pieces.push(bytes);
  }

  finish(claim: Claim): void {
    this.#claim = claim;
    this.#pieces.end();
    this.#availableBytes = claim.fileSize;
    this.#sink.limit = new SizeLimit(this.#request.maxNarSize, claim.narSize);
    this.#memory.urge();
    this.#changed();
  }

  cancel(): void {
    this.#end(new VerifierFailure('cancelled', 'the verification was cancelled'));
  }

  #end(failure: VerifierFailure): void {
    this.#ended ??= failure;
    this.#pieces.end(failure);
    this.#memory.cancel(failure);
    this.#changed();
  }

  #changed(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** Waits for the next `grow`, `finish` or `cancel`. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = chain(this.#wake, resolve);
    });
  }

  /** Throws `VerifyError` or `FormatError` when the file is bad, `VerifierFailure` when it cannot be read. */
  async run(): Promise<Facts> {
    const claim = this.#claim;
    const { file } = this.#request;
    if (file === undefined) return this.#runPieces();
    if (claim !== undefined && claim.fileSize < SMALL_FILE_BYTES) {
      const whole = readWhole(file, claim.fileSize);
      const facts = await verifySmall(whole, this.#request, this.#sink.limit, this.#memory);
      if (facts !== undefined) return facts;
    }
    const handle = await fs.promises.open(file, 'r');
    try {
      const compression = compressionOf(await this.#firstBytes(handle), this.#request);
      return await this.#decode(this.#chunks(handle), compression);
    } finally {
      await handle.close();
    }
  }

  async #runPieces(): Promise<Facts> {
    const head = await this.#pieces.head(SMALL_FILE_BYTES);
    if (head.length < SMALL_FILE_BYTES) {
      const facts = await verifySmall(head, this.#request, this.#sink.limit, this.#memory);
      if (facts !== undefined) return facts;
    }
    return this.#decode(this.#pieces.all(), compressionOf(head, this.#request));
  }

  async #decode(file: AsyncIterable<Buffer>, compression: Compression): Promise<Facts> {
    try {
      for await (const chunk of decoderOf(compression)(this.#hashed(file, compression), this.#memory)) {
        this.#sink.write(chunk);
        buffers.giveBack(chunk);
        await this.#paced();
      }
      const narHash = this.#sink.end();
      return {
        // An uncompressed NAR is its own file: one hash serves as both.
        fileHash: compression === 'none' ? narHash : this.#fileHash.digest('hex'),
        fileSize: this.#readBytes,
        compression,
        narHash,
        narSize: this.#sink.size,
      };
    } catch (error) {
      // A guess that leads to no NAR was none.
      const wasGuessed = compression === 'lzma' && this.#request.compression === undefined;
      if (wasGuessed && !this.#sink.isNar && !(error instanceof VerifierFailure)) throw noNar();
      throw error;
    }
  }

  /** Holds output back while nobody knows how much of it there may be. */
  async #paced(): Promise<void> {
    if (this.#request.aheadOfClaim !== true) return;
    while (this.#claim === undefined && this.#sink.size > AHEAD_RATIO * this.#readBytes + AHEAD_BYTES) {
      this.#throwIfEnded();
      await this.#change();
    }
  }

  #throwIfEnded(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  async #firstBytes(handle: fs.promises.FileHandle): Promise<Buffer> {
    await this.#available(SNIFF_BYTES);
    const bytes = Buffer.alloc(Math.min(SNIFF_BYTES, this.#availableBytes));
    await handle.read(bytes, 0, bytes.length, 0);
    return bytes;
  }

  /** Waits until the file has `bytes` bytes or is complete. */
  async #available(bytes: number): Promise<void> {
    this.#throwIfEnded();
    while (this.#availableBytes < bytes && this.#claim === undefined) {
      await this.#change();
      this.#throwIfEnded();
    }
  }

  /** Counts and hashes the file's bytes on their way. */
  async *#hashed(file: AsyncIterable<Buffer>, compression: Compression): AsyncGenerator<Buffer> {
    for await (const chunk of file) {
      this.#readBytes += chunk.length;
      checkYield(this.#readBytes, this.#sink.size);
      this.#memory.touch();
      if (compression !== 'none') this.#fileHash.update(chunk);
      yield chunk;
    }
  }

  /** The file's bytes as they come in; one chunk is read ahead. */
  async *#chunks(handle: fs.promises.FileHandle): AsyncGenerator<Buffer> {
    let end = 0;
    let next = this.#readAhead(handle, end);
    try {
      for (;;) {
        const chunk = await next;
        if (chunk.length === 0) return;
        end += chunk.length;
        next = this.#readAhead(handle, end);
        yield chunk;
      }
    } finally {
      // The file must not be closed under a read.
      await next.catch(() => {});
    }
  }

  /** Begins a read whose failure may come before anybody waits for it: unhandled, it would end the thread. */
  #readAhead(handle: fs.promises.FileHandle, position: number): Promise<Buffer> {
    const reading = this.#read(handle, position);
    reading.catch(() => {});
    return reading;
  }

  /** The next bytes at `position`; none at the end of the complete file. */
  async #read(handle: fs.promises.FileHandle, position: number): Promise<Buffer> {
    await this.#available(position + 1);
    const count = Math.min(READ_BYTES, this.#availableBytes - position);
    if (count <= 0) return Buffer.alloc(0);
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafeSlow(count), 0, count, position);
    if (bytesRead === 0) throw cutOff();
    return buffer.subarray(0, bytesRead);
  }
}

function chain(first: (() => void) | undefined, second: () => void): () => void {
  if (first === undefined) return second;
  return () => {
    first();
    second();
  };
}

/** The same again would fail again, so no client may be told to wait. */
function cutOff(): VerifyError {
  return new VerifyError('corrupt', 'what the server had stored of this is cut off; push it again');
}

function readWhole(file: string, size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  const descriptor = fs.openSync(file, 'r');
  try {
    for (let at = 0; at < size; ) {
      const count = fs.readSync(descriptor, bytes, at, size - at, at);
      if (count === 0) throw cutOff();
      at += count;
    }
  } finally {
    fs.closeSync(descriptor);
  }
  return bytes;
}
