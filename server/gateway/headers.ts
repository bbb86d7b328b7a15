/** Which headers pass, in both directions. Pure; headers are flat lists of names and values, as Node has them raw. */
import type { IncomingMessage } from 'node:http';
import { plainAddress, type TrustedProxies } from '../wire/index.ts';

/** They belong to one connection, not to a request or an answer. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
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
  const named = namesIn(headers.connection);
  const passed = pairsOf(rawHeaders).filter(
    ([name]) => !OURS.has(name) && (ALWAYS.has(name) || !(HOP_BY_HOP.has(name) || named.has(name))),
  );
  const peer = socket.remoteAddress ?? '';
  const isTrusted = proxies.trusts(peer);
  const said = (name: string) => (isTrusted ? String(headers[name] ?? '') : '');
  const before = said('x-forwarded-for');
  return [
    ...passed.flatMap(([, name, value]) => [name, value]),
    ...(headers.host === undefined ? ['Host', host] : []),
    ...(headers['transfer-encoding'] === undefined ? [] : ['Transfer-Encoding', 'chunked']),
    ...['X-Forwarded-For', before === '' ? plainAddress(peer) : `${before}, ${plainAddress(peer)}`],
    ...['X-Forwarded-Proto', said('x-forwarded-proto') || ('encrypted' in socket ? 'https' : 'http')],
    ...['X-Forwarded-Host', said('x-forwarded-host') || (headers.host ?? host)],
    ...['X-Request-Id', requestId],
    ...(isUpgrade ? ['Connection', 'Upgrade', 'Upgrade', 'websocket'] : []),
  ];
}

/** What a client is sent of an answer. @param isChunkable not for HTTP/1.0, where the end of the connection ends a body */
export function answerHeaders(answer: IncomingMessage, isChunkable: boolean): string[] {
  const named = namesIn(answer.headers.connection);
  const passed = pairsOf(answer.rawHeaders).filter(
    ([name]) => ALWAYS.has(name) || !(HOP_BY_HOP.has(name) || named.has(name)),
  );
  const isChunked = answer.headers['transfer-encoding'] !== undefined && isChunkable;
  return [
    ...passed.flatMap(([, name, value]) => [name, value]),
    ...(isChunked ? ['Transfer-Encoding', 'chunked'] : []),
  ];
}

/** Name in lower case, name as written, value. */
export function pairsOf(raw: readonly string[]): [lower: string, name: string, value: string][] {
  const pairs: [string, string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name = '', value = ''] = raw.slice(at, at + 2);
    pairs.push([name.toLowerCase(), name, value]);
  }
  return pairs;
}

function namesIn(connection: string | undefined): ReadonlySet<string> {
  return new Set((connection ?? '').split(',').map((name) => name.trim().toLowerCase()));
}
