/**
 * Bodies that arrive encoded: nix 2.32 and later may send narinfos, listings and logs that way. They are decoded in the main
 * thread, so each step is a small one, and what a few bytes may make of it is bounded in every direction.
 */
import { setImmediate } from 'node:timers/promises';
import { type Compression, isCompression } from '../../nix/index.ts';
import { Budget, currentCaller } from '../../shares/index.ts';
import { CacheError } from '../errors.ts';
import type { Body } from '../objects/index.ts';
import { checkYield, decoderOf, VerifyError } from '../verify/index.ts';

/** HTTP's names, where they are not those of narinfo's Compression. */
const NAMES: Readonly<Record<string, string>> = { 'x-gzip': 'gzip', zst: 'zstd', bz2: 'bzip2', 'x-bzip2': 'bzip2' };

/** Decoded by programs of the system: each is a process, so they are few, and bodies wait unread for one. */
const BY_PROGRAM: ReadonlySet<Compression> = new Set<Compression>(['bzip2', 'lz4']);
/** Shared as all that clients share; who stands still for so long loses it. */
const programs = new Budget({ units: 4, stallMs: 30_000, leastRate: 1024 });

/** No text that somebody means is longer when it is encoded than by this part of it, and a head. */
const LONGER_BY = 1 / 8;
const HEAD_BYTES = 4096;
/** A text that shrinks by more was made to grow here: a listing shrinks to a tenth, a log of equal lines to a hundredth. */
const MOST_RATIO = 1000;
/** So much may come of any few bytes. */
const FREE_BYTES = 4 * 2 ** 20;
/** Input between two turns of the loop: without output a decoder says nothing of how long it has worked. */
const STEP_BYTES = 16 * 1024;
/** Time between two turns of the loop, where output comes in many small pieces. */
const STEP_MS = 5;

export interface DecodeLimits {
  /** Of what is decoded; its reader sees to it. Undefined for a NAR, which its NarSize bounds: disk images shrink to nothing. */
  readonly maxBytes?: number | undefined;
  /** Aborted when nobody waits for the body any more. */
  readonly signal?: AbortSignal | undefined;
}

/** Undoes one Content-Encoding; the reader bounds the output. @throws CacheError Unsupported, Invalid, TooLarge */
export function decodeBody(encoding: string, body: Body, limits: DecodeLimits = {}): Body {
  const name = NAMES[encoding] ?? encoding;
  if (!isCompression(name) || name === 'none')
    throw new CacheError('Unsupported', `Content-Encoding ${encoding} is not supported`);
  const decoded = decode(encoding, name, body, limits);
  return BY_PROGRAM.has(name) ? seated(decoded, limits.signal) : decoded;
}

async function* seated(decoded: Body, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  signal?.throwIfAborted();
  const seat = await programs.take({ caller: currentCaller() }, signal);
  try {
    yield* decoded;
  } finally {
    seat.release();
  }
}

async function* decode(
  encoding: string,
  name: Compression,
  body: Body,
  { maxBytes }: DecodeLimits,
): AsyncGenerator<Uint8Array> {
  const count = { raw: 0, decoded: 0 };
  const most = maxBytes === undefined ? Number.POSITIVE_INFINITY : maxBytes * (1 + LONGER_BY) + HEAD_BYTES;
  const counted = async function* () {
    for await (const step of stepsOf(body)) {
      count.raw += step.length;
      if (count.raw > most) throw new CacheError('TooLarge', `larger than the limit of ${maxBytes} bytes`);
      checkYield(count.raw, count.decoded);
      yield step;
    }
  };
  let turnedAt = performance.now();
  try {
    for await (const piece of decoderOf(name)(counted())) {
      count.decoded += piece.length;
      if (maxBytes !== undefined && count.decoded > MOST_RATIO * count.raw + FREE_BYTES)
        throw new CacheError(
          'TooLarge',
          `Content-Encoding ${encoding}: the body grows to more than ${MOST_RATIO} times its size`,
        );
      yield piece;
      if (performance.now() - turnedAt < STEP_MS) continue;
      await setImmediate();
      turnedAt = performance.now();
    }
  } catch (error) {
    // Whoever did not encode anything would look for damage where there is none.
    throw error instanceof VerifyError && error.code === 'corrupt'
      ? new CacheError('Invalid', `Content-Encoding says ${encoding}, and the body is not: ${error.message}`)
      : error;
  }
}

/** A body in small pieces, with a turn of the loop between those that came as one. */
async function* stepsOf(body: Body): AsyncGenerator<Buffer> {
  for await (const piece of body) {
    const whole = Buffer.isBuffer(piece) ? piece : Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    for (let at = 0; at < whole.length; at += STEP_BYTES) {
      if (at > 0) await setImmediate();
      yield whole.subarray(at, at + STEP_BYTES);
    }
  }
}
