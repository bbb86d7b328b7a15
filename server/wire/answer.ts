/** Answers on bare `http` objects. */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';

export interface Answer {
  readonly status: number;
  /** One line of plain ASCII, shown by nix and cachix as it is. */
  readonly text: string;
  readonly retryAfterSeconds?: number;
}

/** One with a body of some other type, which every asker gets alike. */
export interface WholeAnswer {
  readonly status: 200;
  readonly type: string;
  readonly body: Buffer;
}

/** nix shows bodies below 1 KiB; a text may quote what a client sent. */
const MAX_TEXT = 900;

/** One line of plain text. nix shows bodies under 1 KiB to its user, cachix dumps them as they are. */
export function sendText(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const text = answer.text.replace(/[^ -~]/g, '?').slice(0, MAX_TEXT);
  const body = Buffer.from(`${text}\n`);
  outlive(request, response);
  const headers: Record<string, string | number> = {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': body.length,
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  };
  if (answer.status === 401) headers['WWW-Authenticate'] = 'Basic realm="narwhal", charset="UTF-8"';
  if (answer.retryAfterSeconds !== undefined) headers['Retry-After'] = answer.retryAfterSeconds;
  // With its words, or those of a head stay that could not be written.
  response.writeHead(answer.status, STATUS_CODES[answer.status] ?? '', headers);
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** A whole answer of any type: what the admin ports say. */
export function sendWhole(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text) }).end(text);
}

/** What every miss looks like, to the byte as `sendText` would have it; made once, since misses outnumber hits. */
const NOT_FOUND = Buffer.from('not found\n');
const NOT_FOUND_HEADERS = [
  'Content-Type',
  'text/plain; charset=utf-8',
  'Content-Length',
  String(NOT_FOUND.length),
  'Cache-Control',
  'no-store',
  'X-Content-Type-Options',
  'nosniff',
];

export function sendMiss(request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(404, NOT_FOUND_HEADERS);
  response.end(request.method === 'HEAD' ? undefined : NOT_FOUND);
}

/**
 * A body in a transfer coding that nobody here undoes: whoever reads it next may read it otherwise. No 501, since nix before
 * 2.33.2 hangs on a 5xx to a PUT.
 */
export const foreignCoding: Answer = { status: 415, text: 'Transfer-Encoding: only chunked is possible here' };

export function isForeignlyCoded({ headers }: IncomingMessage): boolean {
  const coding = headers['transfer-encoding'];
  return coding !== undefined && coding.trim().toLowerCase() !== 'chunked';
}

export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * Before an answer that may come before the body has: a client that asked for the end of the connection gets it when it
 * has sent all. Node would close at once, with unread data, and the client would see a reset instead of our answer.
 */
export function outlive(request: IncomingMessage, response: ServerResponse): void {
  if (response.shouldKeepAlive || request.complete || !hasBody(request)) return;
  response.shouldKeepAlive = true;
  const { socket } = request;
  const close = () => {
    if (request.complete && response.writableFinished) socket.destroySoon();
  };
  request.once('end', close);
  response.once('finish', close);
}

const LINGER_BYTES = 64 * 1024 * 1024;
const LINGER_MS = 30_000;

/**
 * After an early refusal: reads on for a while and throws the bytes away. A socket that is closed with unread data
 * is reset, and the client would see that instead of our answer.
 */
export function linger(request: IncomingMessage, response: ServerResponse): void {
  if (request.complete || request.destroyed) return;
  const timer = setTimeout(() => request.destroy(), LINGER_MS);
  timer.unref();
  let bytes = 0;
  request.on('data', (piece: Buffer) => {
    bytes += piece.length;
    if (bytes > LINGER_BYTES) request.destroy();
  });
  request.on('close', () => clearTimeout(timer));
  request.on('error', () => {});
  response.on('error', () => {});
  request.resume();
}
