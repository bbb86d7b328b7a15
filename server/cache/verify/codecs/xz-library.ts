import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  code,
  end,
  initModule,
  LZMA_BUF_ERROR,
  LZMA_MEMLIMIT_ERROR,
  LZMA_OK,
  LZMA_RUN,
  LZMA_STREAM_END,
  type LZMAModule,
  WasmLzmaStream,
} from 'node-liblzma/wasm';
import { VerifyError } from '../errors.ts';

const INPUT_BYTES = 64 * 1024;
const OUTPUT_BYTES = 256 * 1024;

let loading: Promise<LZMAModule> | undefined;

/** Loads liblzma, compiled to WebAssembly: the same on every platform, with nothing to install. */
export function loadXzLibrary(): Promise<LZMAModule> {
  // The library fetches its file by URL when nobody hands it over, which Node does not do for files.
  loading ??= initModule(async () => {
    const { default: create } = await import('node-liblzma/wasm/liblzma.js');
    return create({
      wasmBinary: fs.readFileSync(fileURLToPath(import.meta.resolve('node-liblzma/wasm/liblzma.wasm'))),
    });
  });
  return loading;
}

/**
 * Decodes xz step by step: streams one after the other, with their padding (section 2.2 of the file format). Memory
 * above the limit is refused with `VerifyError`, as is damage. `free` must follow, whatever happens.
 */
export class XzLibraryDecoder {
  readonly #library: LZMAModule;
  readonly #memoryLimitBytes: number;
  readonly #stream: WasmLzmaStream;
  readonly #input: number;
  readonly #output: number;
  #isInStream = false;
  #streams = 0;
  #paddingBytes = 0;

  constructor(library: LZMAModule, memoryLimitBytes: number) {
    this.#library = library;
    this.#memoryLimitBytes = memoryLimitBytes;
    this.#stream = new WasmLzmaStream(library);
    this.#input = library._malloc(INPUT_BYTES);
    this.#output = library._malloc(OUTPUT_BYTES);
  }

  /** The output that some more input gives. */
  *write(chunk: Buffer): Generator<Buffer> {
    let at = 0;
    while (at < chunk.length) {
      if (!this.#isInStream) {
        at = this.#skipPadding(chunk, at);
        if (at === chunk.length) return;
        this.#begin();
      }
      const part = chunk.subarray(at, at + INPUT_BYTES);
      this.#library.HEAPU8.set(part, this.#input);
      this.#stream.setInput(this.#input, part.length);
      yield* this.#decode();
      at += part.length - this.#stream.availIn;
    }
  }

  /** Throws when the data stops within a stream. */
  end(): void {
    if (this.#isInStream || this.#streams === 0) throw new VerifyError('corrupt', 'the xz data is truncated');
    this.#checkPadding();
  }

  free(): void {
    end(this.#stream);
    this.#stream.free();
    this.#library._free(this.#input);
    this.#library._free(this.#output);
  }

  #skipPadding(chunk: Buffer, from: number): number {
    let at = from;
    while (this.#streams > 0 && at < chunk.length && chunk[at] === 0) at++;
    this.#paddingBytes += at - from;
    return at;
  }

  #checkPadding(): void {
    if (this.#paddingBytes % 4 !== 0) throw new VerifyError('corrupt', 'bytes after the end of the xz data');
    this.#paddingBytes = 0;
  }

  #begin(): void {
    this.#checkPadding();
    end(this.#stream);
    // The library's own decoderInit passes a BigInt, which its WebAssembly was not compiled for: it takes two halves.
    const halves = [this.#memoryLimitBytes, 0];
    const status: number = Reflect.apply(this.#library._lzma_stream_decoder, undefined, [
      this.#stream.ptr,
      ...halves,
      0,
    ]);
    if (status !== LZMA_OK) throw new Error(`liblzma could not be started (${status})`);
    this.#isInStream = true;
    this.#streams++;
  }

  *#decode(): Generator<Buffer> {
    for (;;) {
      this.#stream.setOutput(this.#output, OUTPUT_BYTES);
      const status = code(this.#stream, LZMA_RUN);
      const count = OUTPUT_BYTES - this.#stream.availOut;
      // The heap moves when it grows: look at it anew, and copy.
      if (count > 0) yield Buffer.from(this.#library.HEAPU8.subarray(this.#output, this.#output + count));
      if (status === LZMA_STREAM_END) {
        this.#isInStream = false;
        return;
      }
      // "No progress" only says that it wants more input.
      if (status !== LZMA_OK && status !== LZMA_BUF_ERROR) throw this.#error(status);
      if (count < OUTPUT_BYTES && this.#stream.availIn === 0) return;
      if (status === LZMA_BUF_ERROR) return;
    }
  }

  #error(status: number): VerifyError {
    if (status === LZMA_MEMLIMIT_ERROR) return new VerifyError('unsupported', 'the xz data needs too much memory');
    return new VerifyError(
      'corrupt',
      this.#streams > 1 ? 'bytes after the end of the xz data' : 'the xz data is damaged',
    );
  }
}
