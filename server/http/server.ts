/** A listening HTTP server: hot reads first, koa for the rest. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createApp } from './app.ts';
import { awaitsContinue } from './body.ts';
import type { Doors } from './context.ts';
import { Front } from './front.ts';
import { type Listen, listenOn } from './listen.ts';
import { traceRead } from './request-log.ts';

export interface CacheListen extends Listen {
  /** Cache that this listener serves, whatever the `Host`. */
  readonly cache?: string | undefined;
}

const NARINFO = /^(?:\/push)?\/([^/%]+)\.narinfo$/;
const NAR = /^(?:\/push)?\/nar\/([^/%]+)$/;

export class HttpServer {
  readonly #server: Server;
  readonly #listen: CacheListen;

  constructor(doors: Doors, listen: CacheListen) {
    const front = new Front({ caches: doors.caches, urls: doors.urls, bound: listen.cache });
    const app = createApp(doors, front).callback();
    const onRequest = (request: IncomingMessage, response: ServerResponse) => {
      if (!hotRead(doors, front, request, response)) void app(request, response);
    };
    const { headersMs, keepAliveMs } = doors.timeouts;
    this.#listen = listen;
    this.#server = createServer(
      {
        headersTimeout: headersMs,
        // No total limit: a slow upload of a big NAR may take hours. Bodies have an idle limit of their own.
        requestTimeout: 0,
        keepAliveTimeout: keepAliveMs,
        connectionsCheckingInterval: Math.min(5000, headersMs),
        noDelay: true,
      },
      onRequest,
    );
    this.#server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      awaitsContinue(request);
      onRequest(request, response);
    });
    this.#server.on('clientError', refuse);
  }

  listen(): Promise<AddressInfo> {
    return listenOn(this.#server, this.#listen);
  }

  /** Stops accepting, lets requests finish for `graceMs`, then cuts what is left. */
  async close(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), graceMs);
    // A keep-alive connection that falls idle later would hold the server open.
    const sweep = setInterval(() => this.#server.closeIdleConnections(), 100);
    await closed;
    clearTimeout(timer);
    clearInterval(sweep);
  }
}

/** Answers narinfo and NAR reads with plain paths; false for everything else. */
function hotRead(doors: Doors, front: Front, request: IncomingMessage, response: ServerResponse): boolean {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false;
  const traced = doors.logger.isLevelEnabled('debug');
  const url = request.url ?? '';
  const { host } = request.headers;
  // The usual form of all, 41 characters, without a regular expression.
  if (
    url.length === 41 &&
    url.endsWith('.narinfo') &&
    url.charCodeAt(0) === 47 &&
    url.indexOf('/', 1) < 0 &&
    !url.includes('%')
  ) {
    const cache = front.byHost(host);
    if (cache === undefined) return false;
    if (traced) traceRead(doors, 'narinfo', request, response);
    doors.reader.narinfo(cache, url.slice(1, 33), request, response);
    return true;
  }
  const query = url.indexOf('?');
  const target = front.resolve(host, query < 0 ? url : url.slice(0, query));
  if (target.cache === undefined) return false;
  const hashPart = NARINFO.exec(target.path)?.[1];
  if (hashPart !== undefined) {
    if (traced) traceRead(doors, 'narinfo', request, response);
    doors.reader.narinfo(target.cache, hashPart, request, response);
    return true;
  }
  const file = NAR.exec(target.path)?.[1];
  if (file === undefined) return false;
  if (traced) traceRead(doors, 'nar', request, response);
  doors.reader.object(target.cache, `nar/${file}`, 'nar', 'application/x-nix-nar', request, response);
  return true;
}

const REFUSALS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

/** What Node's parser does not take: smuggled or broken requests, headers that never end. */
function refuse(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const status = REFUSALS[error.code ?? ''] ?? '400 Bad Request';
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
