/** Which headers pass, in both directions. Pure; headers are flat lists of names and values, as Node has them raw. */
import type { IncomingMessage } from 'node:http';
import { plainAddress, type TrustedProxies } from '../wire/index.ts';

/**
 * They belong to one connection, not to a request or an answer: files that a proxy sends by itself are between it and the
 * server that it asks. Where the gateway has the address of such a proxy, its clients must not be taken for one.
 */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
  'x-accel-redirect',
  'x-sendfile-type',
]);
/** No `Connection` header takes these away: they say where a message ends and whom it is for. */
const ALWAYS: ReadonlySet<string> = new Set(['content-length', 'host']);
/** Said anew of every request. */
const OURS: ReadonlySet<string> = new Set(['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-request-id']);

export interface Onward {
  readonly proxies: TrustedProxies;
  readonly requestId: string;
  /** Where the client named none. */
  readonly host: string;
  /** Ask the server for a WebSocket. */
  readonly isUpgrade: boolean;
}

/** What a server is sent of a request. */
export function requestHeaders(request: IncomingMessage, { proxies, requestId, host, isUpgrade }: Onward): string[] {
  const { headers, rawHeaders, socket } = request;
  const onward = passing(rawHeaders, headers.connection, OURS);
  if (headers.host === undefined) onward.push('Host', host);
  if (headers['transfer-encoding'] !== undefined) onward.push('Transfer-Encoding', 'chunked');
  const peer = plainAddress(socket.remoteAddress ?? '');
  const isTrusted = proxies.trusts(peer);
  const said = (name: string) => (isTrusted ? String(headers[name] ?? '') : '');
  const before = said('x-forwarded-for');
  onward.push('X-Forwarded-For', before === '' ? peer : `${before}, ${peer}`);
  onward.push('X-Forwarded-Proto', said('x-forwarded-proto') || ('encrypted' in socket ? 'https' : 'http'));
  onward.push('X-Forwarded-Host', said('x-forwarded-host') || (headers.host ?? host));
  onward.push('X-Request-Id', requestId);
  if (isUpgrade) onward.push('Connection', 'Upgrade', 'Upgrade', 'websocket');
  return onward;
}

/**
 * What a client is sent of an answer. Every answer has the id of its request at its beginning, as the gateway's own have.
 * @param isChunkable not for HTTP/1.0, where the end of the connection ends a body
 */
export function answerHeaders(
  { headers, rawHeaders }: IncomingMessage,
  requestId: string,
  isChunkable: boolean,
): string[] {
  const back = ['X-Request-Id', requestId, ...passing(rawHeaders, headers.connection, ID)];
  if (headers['transfer-encoding'] !== undefined && isChunkable) back.push('Transfer-Encoding', 'chunked');
  return back;
}

const ID: ReadonlySet<string> = new Set(['x-request-id']);

/** How many headers of a name there are. */
export function countOf(raw: readonly string[], name: string): number {
  let count = 0;
  for (let at = 0; at < raw.length; at += 2) if (raw[at]?.toLowerCase() === name) count++;
  return count;
}

function passing(raw: readonly string[], connection: string | undefined, dropped: ReadonlySet<string>): string[] {
  const named = namesIn(connection);
  const passed: string[] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name = '', value = ''] = [raw[at], raw[at + 1]];
    const lower = name.toLowerCase();
    if (dropped.has(lower) || (!ALWAYS.has(lower) && (HOP_BY_HOP.has(lower) || named.has(lower)))) continue;
    passed.push(name, value);
  }
  return passed;
}

const NONE: ReadonlySet<string> = new Set();

function namesIn(connection: string | undefined): ReadonlySet<string> {
  // The usual forms name nothing that is not left out anyway.
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return NONE;
  return new Set(connection.split(',').map((name) => name.trim().toLowerCase()));
}
