/**
 * Request bodies: bounded, decoded, and with an idle limit of their own (there is none on a whole request: a slow link
 * may take hours). `100 Continue` goes out with the first read, so that everything which needs no body is checked before
 * the client sends one.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Body, CacheError, decodeBody } from '../cache/index.ts';
import { type Budget, sends } from '../shares/index.ts';
import type { Doors } from './context.ts';
import { Gathered } from './gathered.ts';
import { Pace, type PaceLimits } from './pace.ts';
import { shareOf } from './share.ts';

/** Requests that wait for `100 Continue`; the server notes them here before any handler runs. */
const waiting = new WeakSet<IncomingMessage>();

export function awaitsContinue(request: IncomingMessage): void {
  waiting.add(request);
}

export interface BodyLimits {
  /** Time without a byte after which the request is given up. */
  readonly idleMs: number;
  /** Hears of the bytes as they come. */
  readonly received: (bytes: number) => void;
  readonly pace: PaceLimits;
  /** Memory for bodies that are read as a whole. */
  readonly memory: Budget;
  /** Places for bodies that stream; its client sends nothing until it has one. */
  readonly places?: Budget | undefined;
}

/** The limits of every body. Those of pushes wait for a place too, which nobody without a token may take. */
export function bodyLimits({ metrics, timeouts, pace, bodyMemory }: Doors): BodyLimits {
  return {
    idleMs: timeouts.idleBodyMs,
    pace,
    memory: bodyMemory,
    received(bytes) {
      metrics.bytesReceived += bytes;
    },
  };
}

/** The bytes as they come over the wire. @throws CacheError TimedOut, Incomplete */
async function* rawBody(
  request: IncomingMessage,
  response: ServerResponse,
  limits: BodyLimits,
): AsyncGenerator<Buffer> {
  // A reader that is left in the middle gives its place back when its answer is out.
  const place = limits.places && (await shareOf(limits.places, response));
  if (waiting.delete(request)) response.writeContinue();
  let timer: NodeJS.Timeout | undefined;
  let late = false;
  let isRevoked = false;
  const pace = new Pace(limits.pace, () => {
    isRevoked = true;
    request.destroy();
  });
  sends(pace);
  const restart = () => {
    pace.waits();
    clearTimeout(timer);
    timer = setTimeout(() => {
      late = true;
      // A client that sends nothing is not there to hear an answer either: the iterator below rejects.
      request.destroy();
    }, limits.idleMs);
  };
  try {
    restart();
    // Without destroyOnReturn a handler that stops early could not answer any more.
    for await (const piece of request.iterator({ destroyOnReturn: false })) {
      clearTimeout(timer);
      limits.received(piece.length);
      pace.came(piece.length);
      yield piece;
      restart();
    }
  } catch (error) {
    if (error instanceof CacheError) throw error;
    if (isRevoked) throw new CacheError('TimedOut', 'the body stood still while others waited');
    if (late) throw new CacheError('TimedOut', `no data for ${Math.round(limits.idleMs / 1000)} seconds`);
    throw new CacheError('Incomplete', 'the connection was lost before the whole body had arrived', { cause: error });
  } finally {
    clearTimeout(timer);
    place?.release();
  }
}

/** The body with its Content-Encoding undone. @throws CacheError Unsupported, Invalid */
export function bodyOf(request: IncomingMessage, response: ServerResponse, limits: BodyLimits): Body {
  const encoding = contentEncoding(request);
  const raw = rawBody(request, response, limits);
  const body = encoding === undefined ? raw : decodeBody(encoding, raw);
  begun.set(request, body[Symbol.asyncIterator]());
  return body;
}

const begun = new WeakMap<IncomingMessage, AsyncIterator<Uint8Array>>();

/**
 * Lets go of a body that its handler did not read to the end, as one that is too large. A decoder would keep its
 * program running, and the request its reader, so that nobody could read on and throw away.
 */
export function closeBody(request: IncomingMessage): void {
  begun
    .get(request)
    ?.return?.()
    .catch(() => {});
}

/** The one encoding of a body; undefined for none. */
export function contentEncoding(request: IncomingMessage): string | undefined {
  const header = request.headers['content-encoding']?.trim().toLowerCase();
  return header === undefined || header === '' || header === 'identity' ? undefined : header;
}

/** Bytes that the stored form will have, where the header tells: not for an encoded body. */
export function declaredBytes(request: IncomingMessage): number | undefined {
  const header = request.headers['content-length'];
  return header === undefined || contentEncoding(request) !== undefined ? undefined : Number(header);
}

/** A whole small body. @throws CacheError TooLarge */
export async function readWhole(
  request: IncomingMessage,
  response: ServerResponse,
  limits: BodyLimits & { maxBytes: number },
): Promise<Buffer> {
  const { maxBytes } = limits;
  const tooLarge = () => new CacheError('TooLarge', `larger than the limit of ${maxBytes} bytes`);
  if ((declaredBytes(request) ?? 0) > maxBytes) throw tooLarge();
  const most = declaredBytes(request) ?? maxBytes;
  const memory = await shareOf(limits.memory, response, most);
  const gathered = new Gathered(most);
  for await (const piece of bodyOf(request, response, limits)) if (!gathered.add(piece)) throw tooLarge();
  memory.shrink(gathered.bytes.length);
  return gathered.bytes;
}

/** JSON, whatever Content-Type says. @throws CacheError Invalid */
export async function readJson(
  request: IncomingMessage,
  response: ServerResponse,
  limits: BodyLimits & { maxBytes: number },
): Promise<unknown> {
  const text = (await readWhole(request, response, limits)).toString('utf8');
  try {
    return JSON.parse(text);
  } catch {
    throw new CacheError('Invalid', 'the body is not JSON');
  }
}

/** Reads and forgets what is left of a body, so that the client hears our answer instead of a reset. */
export async function drain(body: Body): Promise<void> {
  for await (const _ of body);
}
