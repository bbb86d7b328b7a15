/**
 * Request bodies: bounded, decoded, and with an idle limit of their own (there is none on a whole request: a slow link
 * may take hours). `100 Continue` goes out with the first read, so that everything which needs no body is checked before
 * the client sends one.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Body, CacheError, decodeBody } from '../cache/index.ts';
import type { Turns } from '../wire/index.ts';
import type { Doors } from './context.ts';

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
  /** Where the body has to wait until there is room for it in memory; its client sends nothing meanwhile. */
  readonly turns?: Turns | undefined;
}

/** The limits of every body. Those of pushes wait for their turn too, which nobody without a token may take. */
export function bodyLimits({ metrics, timeouts }: Doors): BodyLimits {
  return {
    idleMs: timeouts.idleBodyMs,
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
  const endTurn = await limits.turns?.take();
  // A reader that is left in the middle ends with its request.
  if (endTurn !== undefined) request.once('close', endTurn);
  if (waiting.delete(request)) response.writeContinue();
  let timer: NodeJS.Timeout | undefined;
  let late = false;
  const restart = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      late = true;
      // A client that sends nothing is not there to hear an answer either: the iterator below rejects.
      request.destroy();
    }, limits.idleMs);
    // A body that was given up while it waited for bytes must not hold up the end of the process.
    timer.unref();
  };
  try {
    restart();
    // Without destroyOnReturn a handler that stops early could not answer any more.
    for await (const piece of request.iterator({ destroyOnReturn: false })) {
      clearTimeout(timer);
      limits.received(piece.length);
      yield piece;
      restart();
    }
  } catch (error) {
    if (late) throw new CacheError('TimedOut', `no data for ${Math.round(limits.idleMs / 1000)} seconds`);
    throw new CacheError('Incomplete', 'the connection was lost before the whole body had arrived', { cause: error });
  } finally {
    clearTimeout(timer);
    endTurn?.();
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
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of bodyOf(request, response, limits)) {
    size += piece.length;
    if (size > maxBytes) throw tooLarge();
    pieces.push(piece);
  }
  return Buffer.concat(pieces, size);
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
