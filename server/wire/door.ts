/**
 * The listener of every door. Whatever comes in costs its own request at most: a handler that throws, at once or later,
 * becomes an answer that says nothing of it and a line in the log. Nothing that anybody can send ends the process.
 */
import http, { type IncomingMessage, type Server, type ServerOptions, ServerResponse } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { type Answer, linger, sendText } from './answer.ts';
import { pendingAnswer, refuse } from './http-server.ts';

export type Handle = (request: IncomingMessage, response: ServerResponse) => unknown;

export interface DoorInit {
  readonly handle: Handle;
  readonly logger: Logger;
  readonly options?: ServerOptions<typeof IncomingMessage, typeof ServerResponse>;
  /** Undefined: plain HTTP. */
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer } | undefined;
  /** Takes a request that waits to be asked for its body. Default: it is asked at once. */
  readonly awaitsContinue?: Handle;
  /**
   * Takes a request for another protocol, and its connection; `response` writes an answer in HTTP, the last one on it.
   * Default: the request is answered as any other.
   */
  readonly upgrade?: (request: IncomingMessage, response: ServerResponse, head: Buffer) => unknown;
}

const FAULT: Answer = { status: 500, text: 'internal error' };
const NO_TUNNEL: Answer = { status: 405, text: 'CONNECT is not possible here: this is no proxy' };
const ODD_EXPECTATION: Answer = { status: 417, text: 'Expect: nothing but 100-continue is possible here' };

export function createDoor(init: DoorInit): Server | https.Server {
  const { handle, logger, options = {}, tls, awaitsContinue, upgrade } = init;
  const guarded = (work: Handle) => (request: IncomingMessage, response: ServerResponse) => {
    // An answer that its client no longer takes is nobody's fault; unheard, it would be everybody's.
    response.on('error', ignore);
    guard(logger, request, response, work);
  };
  const onRequest = guarded(handle);
  const server =
    tls === undefined ? http.createServer(options, onRequest) : https.createServer({ ...options, ...tls }, onRequest);
  if (awaitsContinue !== undefined) server.on('checkContinue', guarded(awaitsContinue));
  server.on(
    'checkExpectation',
    guarded((request, response) => answer(request, response, ODD_EXPECTATION)),
  );
  server.on('connect', (request: IncomingMessage) =>
    takeOver(request, logger, (response) => answer(request, response, NO_TUNNEL)),
  );
  if (upgrade !== undefined)
    server.on('upgrade', (request: IncomingMessage, _: unknown, head: Buffer) =>
      takeOver(request, logger, (response) => upgrade(request, response, head)),
    );
  server.on('clientError', refuse);
  // Such as descriptors that ran out: the next connection may be taken again.
  server.on('error', (error) => {
    if (server.listening) logger.error({ err: error }, 'a connection could not be taken');
  });
  return server;
}

/** Node lets go of the connection of such a request; whatever is answered is the last that it carries. */
function takeOver(request: IncomingMessage, logger: Logger, work: (response: ServerResponse) => unknown): void {
  const socket: Socket = request.socket;
  socket.on('error', ignore);
  // It was sent behind another request whose answer is not out yet: two would be written at once.
  if (pendingAnswer(socket) !== undefined) {
    socket.destroy();
    return;
  }
  const response = new ServerResponse(request);
  response.on('error', ignore);
  guard(logger, request, response, () => {
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.destroySoon());
    return work(response);
  });
}

function answer(request: IncomingMessage, response: ServerResponse, what: Answer): void {
  sendText(request, response, what);
  linger(request, response);
}

/** Runs a handler, which may be asynchronous. Plain reads come by the ten thousand a second: nothing is made for them here. */
function guard(logger: Logger, request: IncomingMessage, response: ServerResponse, work: Handle): void {
  try {
    const result = work(request, response);
    if (result instanceof Promise) result.catch((error: unknown) => onFault(error, logger, request, response));
  } catch (error) {
    onFault(error, logger, request, response);
  }
}

function onFault(error: unknown, logger: Logger, request: IncomingMessage, response: ServerResponse): void {
  // Without its query, where people put what no log should hold.
  const path = request.url?.split('?', 1)[0];
  logger.error({ err: error, method: request.method, path }, 'a request met a fault of this server');
  try {
    if (response.headersSent || response.destroyed) response.destroy();
    else answer(request, response, FAULT);
  } catch {
    request.socket.destroy();
  }
}

function ignore(): void {}
