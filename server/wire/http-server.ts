/** Servers of `node:http` with the bounds that every door of ours has. */
import { type IncomingMessage, type Server, type ServerOptions, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

export interface Timeouts {
  /** Until the headers of a request are there. */
  readonly headersMs: number;
  /** Without a byte of a request's body. */
  readonly idleBodyMs: number;
  /** For all of a small body: a narinfo, a listing, a JSON text. */
  readonly smallBodyMs: number;
  /** Without a byte of an answer taken: a reader that stands still holds a file open. nix stalls for up to 300 s. */
  readonly idleResponseMs: number;
  /** Between two requests on a connection. cachix pools connections for 30 s, nix compresses for longer. */
  readonly keepAliveMs: number;
}

export const defaultTimeouts: Timeouts = {
  headersMs: 60_000,
  idleBodyMs: 60_000,
  smallBodyMs: 300_000,
  idleResponseMs: 600_000,
  keepAliveMs: 75_000,
};

export function serverOptions({
  headersMs,
  keepAliveMs,
}: Pick<Timeouts, 'headersMs' | 'keepAliveMs'>): ServerOptions<typeof IncomingMessage, typeof ServerResponse> {
  return {
    headersTimeout: headersMs,
    // No total limit: a slow upload of a big NAR may take hours. Bodies have an idle limit of their own.
    requestTimeout: 0,
    keepAliveTimeout: keepAliveMs,
    connectionsCheckingInterval: Math.min(5000, headersMs),
    noDelay: true,
  };
}

/** Stops accepting, lets requests finish for `graceMs`, then cuts what is left. */
export async function closeServer(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), graceMs);
  // A keep-alive connection that falls idle later would hold the server open.
  const sweep = setInterval(() => server.closeIdleConnections(), 100);
  await closed;
  clearTimeout(timer);
  clearInterval(sweep);
}

const REFUSALS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

/** The answer that a connection has yet to carry: a property of a server's sockets that their types do not know. */
export function pendingAnswer(socket: Duplex): ServerResponse | undefined {
  const pending: unknown = Reflect.get(socket, '_httpMessage');
  return pending instanceof ServerResponse ? pending : undefined;
}

/** A client that was refused and does not close its end is cut off after so long. */
const REFUSED_MS = 30_000;

/** What Node's parser does not take: smuggled or broken requests, headers that never end. */
export function refuse(error: Error & { code?: string }, socket: Duplex): void {
  // In the middle of an answer a refusal would be taken for its bytes.
  if (!socket.writable || error.code === 'ECONNRESET' || pendingAnswer(socket)?.headersSent) {
    socket.destroy();
    return;
  }
  const status = REFUSALS[error.code ?? ''] ?? '400 Bad Request';
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  const timer = setTimeout(() => socket.destroy(), REFUSED_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}
