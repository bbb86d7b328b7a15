import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  LZMA_BUF_ERROR,
  LZMA_MEM_ERROR,
  LZMA_MEMLIMIT_ERROR,
  LZMA_OK,
  LZMA_OPTIONS_ERROR,
  LZMA_PROG_ERROR,
  LZMA_RUN,
  LZMA_STREAM_END,
  type LZMAModule,
  WasmLzmaStream,
} from 'node-liblzma/wasm';
import { VerifierFailure, VerifyError } from '../errors.ts';
import { MAX_DECODER_BYTES, type MemoryShare } from './memory.ts';

const INPUT_BYTES = 64 * 1024;
const OUTPUT_BYTES = 256 * 1024;
/** What a decoder takes beside that for which the data asks: buffers, and the library's own heap. */
const OVERHEAD_BYTES = 1024 * 1024;
/** Each stream costs a decoder: a file of tiny ones would keep a thread busy for hours. xz itself makes one. */
const MAX_STREAMS = 2 ** 18;

/** `xz`, or `.lzma`: the form of old, without a magic number, a checksum or more than one stream. */
export type XzFormat = 'xz' | 'lzma';

/** What is used of it: the types of Node leave it to those of browsers. */
declare const WebAssembly: {
  readonly compile: (bytes: Buffer) => Promise<object>;
  readonly Instance: new (compiled: object, imports: object) => object;
};

let loading: Promise<() => Promise<LZMAModule>> | undefined;

/**
 * liblzma, compiled to WebAssembly: the same on every platform, with nothing to install. Each decoder gets one of its own,
 * made of the same compiled code in 0.2 ms: heaps never shrink, and what others leave in a shared one stands in the way
 * of a large dictionary.
 */
function load(): Promise<() => Promise<LZMAModule>> {
  loading ??= (async () => {
    const { default: create } = await import('node-liblzma/wasm/liblzma.js');
    const file = fileURLToPath(import.meta.resolve('node-liblzma/wasm/liblzma.wasm'));
    const compiled = await WebAssembly.compile(fs.readFileSync(file));
    return () =>
      create({
        instantiateWasm(imports: object, done: (instance: object) => void) {
          // It takes what is returned for the exports, unless they come later.
          queueMicrotask(() => done(new WebAssembly.Instance(compiled, imports)));
          return {};
        },
      });
  })();
  return loading;
}

/** Heaps that small streams left; larger ones go with their decoder. */
const idle: LZMAModule[] = [];
const MAX_IDLE = 2;
const MAX_IDLE_BYTES = 16 * 1024 * 1024;

/** Opens a decoder. @throws VerifierFailure no-memory */
export async function openXz(format: XzFormat, memory: MemoryShare): Promise<XzLibraryDecoder> {
  const create = await load();
  try {
    return new XzLibraryDecoder(idle.pop() ?? (await create()), format, memory);
  } catch (error) {
    throw new VerifierFailure('no-memory', `a decoder of xz data could not be made: ${String(error)}`);
  }
}

/**
 * Decodes xz step by step: streams one after the other, with their padding (section 2.2 of the file format). Memory for a
 * dictionary is waited for; more than a decoder may have is refused with `VerifyError`, as is damage. `free` must follow,
 * whatever happens.
 */
export class XzLibraryDecoder {
  readonly #library: LZMAModule;
  readonly #format: XzFormat;
  readonly #memory: MemoryShare;
  readonly #stream: WasmLzmaStream;
  readonly #input: number;
  readonly #output: number;
  #isInStream = false;
  #streams = 0;
  #paddingBytes = 0;

  constructor(library: LZMAModule, format: XzFormat, memory: MemoryShare) {
    this.#library = library;
    this.#format = format;
    this.#memory = memory;
    this.#stream = new WasmLzmaStream(library);
    this.#input = library._malloc(INPUT_BYTES);
    this.#output = library._malloc(OUTPUT_BYTES);
    if (this.#input === 0 || this.#output === 0) throw new Error('no room for its buffers');
  }

  /** The output that some more input gives. @throws VerifyError, VerifierFailure */
  async *write(chunk: Buffer): AsyncGenerator<Buffer> {
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
    if (this.#isInStream || this.#streams === 0) throw this.#corrupt('is truncated');
    this.#checkPadding();
  }

  free(): void {
    const library = this.#library;
    library._lzma_end(this.#stream.ptr);
    this.#stream.free();
    library._free(this.#input);
    library._free(this.#output);
    if (idle.length < MAX_IDLE && library.HEAPU8.length <= MAX_IDLE_BYTES) idle.push(library);
    this.#memory.release();
  }

  #corrupt(trouble: string): VerifyError {
    return new VerifyError('corrupt', `the ${this.#format} data ${trouble}`);
  }

  #bytesBehind(): VerifyError {
    return new VerifyError('corrupt', `bytes after the end of the ${this.#format} data`);
  }

  #skipPadding(chunk: Buffer, from: number): number {
    let at = from;
    if (this.#format === 'lzma') return at;
    while (this.#streams > 0 && at < chunk.length && chunk[at] === 0) at++;
    this.#paddingBytes += at - from;
    return at;
  }

  #checkPadding(): void {
    if (this.#paddingBytes % 4 !== 0) throw this.#bytesBehind();
    this.#paddingBytes = 0;
  }

  #begin(): void {
    this.#checkPadding();
    if (this.#format === 'lzma' && this.#streams > 0) throw this.#bytesBehind();
    if (this.#streams >= MAX_STREAMS) throw this.#corrupt(`has more than ${MAX_STREAMS} streams`);
    this.#library._lzma_end(this.#stream.ptr);
    // It stops at the first dictionary, however small, and tells how much that takes.
    const start = this.#format === 'xz' ? this.#library._lzma_stream_decoder : this.#library._lzma_auto_decoder;
    this.#mustBeOk(Reflect.apply(start, undefined, [this.#stream.ptr, ...halves(1), 0]));
    this.#isInStream = true;
    this.#streams++;
  }

  async *#decode(): AsyncGenerator<Buffer> {
    for (;;) {
      this.#stream.setOutput(this.#output, OUTPUT_BYTES);
      const status = this.#library._lzma_code(this.#stream.ptr, LZMA_RUN);
      const count = OUTPUT_BYTES - this.#stream.availOut;
      // The heap moves when it grows: look at it anew, and copy.
      if (count > 0) yield Buffer.from(this.#library.HEAPU8.subarray(this.#output, this.#output + count));
      if (status === LZMA_MEMLIMIT_ERROR) {
        await this.#takeMemory();
        continue;
      }
      if (status === LZMA_STREAM_END) {
        this.#isInStream = false;
        return;
      }
      // "No progress" only says that it wants more input.
      if (status !== LZMA_BUF_ERROR) this.#mustBeOk(status);
      if (count < OUTPUT_BYTES && this.#stream.availIn === 0) return;
      if (status === LZMA_BUF_ERROR) return;
    }
  }

  /** Waits until there is as much memory as the data at hand asks for. */
  async #takeMemory(): Promise<void> {
    const ask: unknown = Reflect.apply(this.#library._lzma_memusage, undefined, [this.#stream.ptr]);
    const bytes = Number(ask) >>> 0;
    const tooMuch = new VerifyError(
      'unsupported',
      `the ${this.#format} data needs too much memory: compress with a dictionary of 64 MiB or less (xz -9)`,
    );
    if (bytes + OVERHEAD_BYTES > MAX_DECODER_BYTES) throw tooMuch;
    await this.#memory.hold(bytes + OVERHEAD_BYTES);
    // Only the lower half of what it asks for comes through: it refuses less than it needs.
    const status: unknown = Reflect.apply(this.#library._lzma_memlimit_set, undefined, [
      this.#stream.ptr,
      ...halves(bytes),
    ]);
    if (status === LZMA_MEMLIMIT_ERROR) throw tooMuch;
    this.#mustBeOk(status);
  }

  #mustBeOk(status: unknown): void {
    switch (status) {
      case LZMA_OK:
        return;
      case LZMA_MEM_ERROR:
        throw new VerifierFailure('no-memory', `no memory for a decoder of ${this.#format} data`);
      case LZMA_PROG_ERROR:
        throw new Error('liblzma was called wrongly');
      case LZMA_OPTIONS_ERROR:
        throw new VerifyError('unsupported', `the ${this.#format} data uses a filter that is not known here`);
      default:
        throw this.#streams > 1 ? this.#bytesBehind() : this.#corrupt('is damaged');
    }
  }
}

/** The library passes 64 bits as a BigInt, which its WebAssembly was not compiled for: it takes two halves. */
function halves(bytes: number): [number, number] {
  return [bytes, 0];
}
