/**
 * Request bodies: bounded, decoded, and with an idle limit of their own (there is none on a whole request: a slow link
 * may take hours). `100 Continue` goes out with the first read, so that everything which needs no body is checked before
 * the client sends one.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffers } from '../buffers/index.ts';
import { type Body, CacheError, decodeBody } from '../cache/index.ts';
import { type Budget, sends } from '../shares/index.ts';
import { foreignCoding, isForeignlyCoded, movingTo } from '../wire/index.ts';
import type { Services } from './context.ts';
import { Gathered } from './gathered.ts';
import { JsonBounds } from './json-bounds.ts';
import { Pace, type PaceLimits } from './pace.ts';
import { shareOf } from './share.ts';

/** Requests that wait for `100 Continue`; the server notes them here before any handler runs. */
const waiting = new WeakSet<IncomingMessage>();

export function awaitsContinue(request: IncomingMessage): void {
  waiting.add(request);
}

/**
 * So many bytes of a small body give it one second more: a listing of 10 MB, beside 25 other pushes over a slow link, takes
 * longer than any time that a byte now and then should have.
 */
const BYTES_A_SECOND = 16 * 1024;

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
  /** Time for a small body, and more as it comes: a byte now and then must not keep a connection for ever. */
  readonly totalMs?: number | undefined;
  /** The same for a body of any size that is encoded: it holds a decoder, perhaps a program. */
  readonly encodedMs: number;
  /** Whether a Content-Encoding is refused: no Cachix client sends one. */
  readonly isPlain?: boolean;
}

export interface Limits {
  /** Of NARs, parts and logs, however long they take. They wait for a place, which nobody without a token may take. */
  readonly push: BodyLimits;
  /** Of narinfos, listings and JSON. */
  readonly small: BodyLimits;
}

/** The limits of all bodies. */
export function bodyLimits({ metrics, timeouts, pace, bodyMemory, pushBodies }: Services): Limits {
  const every: BodyLimits = {
    idleMs: timeouts.idleBodyMs,
    encodedMs: timeouts.smallBodyMs,
    pace,
    memory: bodyMemory,
    received(bytes) {
      metrics.bytesReceived += bytes;
    },
  };
  return { push: { ...every, places: pushBodies }, small: { ...every, totalMs: timeouts.smallBodyMs } };
}

/** The same for routes of the Cachix API. */
export function plainLimits(services: Services): Limits {
  const { push, small } = bodyLimits(services);
  return { push: { ...push, isPlain: true }, small: { ...small, isPlain: true } };
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
  let endsAt = performance.now() + (limits.totalMs ?? Number.POSITIVE_INFINITY);
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
    // A body that was given up while it waited for bytes must not hold up the end of the process.
    timer.unref();
  };
  try {
    restart();
    // Without destroyOnReturn a handler that stops early could not answer any more.
    for await (const piece of request.iterator({ destroyOnReturn: false })) {
      clearTimeout(timer);
      limits.received(piece.length);
      endsAt += (piece.length * 1000) / BYTES_A_SECOND;
      // Looked at here alone: one who sends nothing at all meets the other limit.
      if (performance.now() > endsAt) throw tooSlow(limits.totalMs);
      pace.came(piece.length);
      buffers.adopt(piece);
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
    pace.ends(movingTo(response));
    place?.release();
  }
}

function tooSlow(totalMs = 0): CacheError {
  return new CacheError('TimedOut', `a body of this kind has ${Math.round(totalMs / 1000)} seconds to arrive`);
}

/** The body with its Content-Encoding undone. @throws CacheError Unsupported, Invalid */
export function bodyOf(
  request: IncomingMessage,
  response: ServerResponse,
  limits: BodyLimits & { readonly maxBytes?: number },
): Body {
  if (isForeignlyCoded(request)) throw new CacheError('Unsupported', foreignCoding.text);
  const encoding = contentEncoding(request);
  if (encoding !== undefined && limits.isPlain)
    throw new CacheError(
      'Unsupported',
      `Content-Encoding ${encoding} is not possible here: neither client nor proxy may encode this body`,
    );
  const totalMs = encoding === undefined ? limits.totalMs : limits.encodedMs;
  const raw = rawBody(request, response, { ...limits, totalMs });
  const body = encoding === undefined ? raw : decodeBody(encoding, raw, { ...limits, signal: goneSignal(request) });
  begun.set(request, body[Symbol.asyncIterator]());
  return body;
}

/** Aborted when the client has gone. */
function goneSignal(request: IncomingMessage): AbortSignal {
  const gone = new AbortController();
  const leave = () => gone.abort(new CacheError('Incomplete', 'the client has gone'));
  if (request.destroyed) leave();
  else request.once('close', leave);
  return gone.signal;
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

export interface WholeLimits extends BodyLimits {
  readonly maxBytes: number;
  /** Sees each piece as it arrives, and throws where nothing that follows could mend it. */
  readonly look?: (piece: Uint8Array) => void;
}

/** A whole small body. @throws CacheError TooLarge, and what `look` throws */
export async function readWhole(
  request: IncomingMessage,
  response: ServerResponse,
  limits: WholeLimits,
): Promise<Buffer> {
  const { maxBytes, look } = limits;
  if ((declaredBytes(request) ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const most = declaredBytes(request) ?? maxBytes;
  const memory = await shareOf(limits.memory, response, most);
  const gathered = new Gathered(most);
  for await (const piece of bodyOf(request, response, limits)) {
    if (!gathered.add(piece)) throw tooLarge(maxBytes);
    look?.(piece);
    buffers.giveBack(piece);
  }
  const { bytes } = gathered;
  memory.shrink(bytes.length);
  // Said of each alike: what was sent is not what is missing.
  if (bytes.length === 0)
    throw new CacheError('Invalid', 'the body is empty: if something was sent, a proxy has dropped it');
  return bytes;
}

/** Bytes that will come; undefined where they come in chunks and only their end tells. */
export function arrivingBytes({ headers }: IncomingMessage): number | undefined {
  return headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? 0) : undefined;
}

/** A JSON object, whatever Content-Type says. @throws CacheError Invalid, TooLarge */
export async function readJson(
  request: IncomingMessage,
  response: ServerResponse,
  limits: BodyLimits & { maxBytes: number },
): Promise<unknown> {
  const bounds = new JsonBounds();
  const body = await readWhole(request, response, { ...limits, look: (piece) => bounds.write(piece) });
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    throw new CacheError(
      'Invalid',
      `the ${body.length} bytes of the body are not JSON: if there were more, a proxy has cut them off`,
    );
  }
}

/**
 * Reads and forgets what is left of a body, so that the client hears our answer instead of a reset. @throws CacheError TooLarge
 * where more comes than could have been meant
 */
export async function drain(body: Body, maxBytes: number): Promise<void> {
  let size = 0;
  for await (const piece of body) {
    size += piece.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    buffers.giveBack(piece);
  }
}

function tooLarge(maxBytes: number): CacheError {
  return new CacheError('TooLarge', `larger than the limit of ${maxBytes} bytes`);
}
