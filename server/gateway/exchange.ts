/** One request on its way to a server, and the answer on its way back. Neither is ever held here as a whole. */
import http, { type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Lease } from '../shares/index.ts';
import { type Answer, linger, outlive, sendText, type TrustedProxies } from '../wire/index.ts';
import { broken, unreachable } from './answers.ts';
import { answerHeaders, requestHeaders } from './headers.ts';
import { pump } from './pump.ts';
import { shortcut } from './shortcut.ts';
import type { Upstream } from './upstream.ts';

const BAD_REQUEST: Answer = { status: 400, text: 'bad request' };

export interface ExchangeInit {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly cache: string;
  readonly upstream: Upstream;
  /** Its place among the requests to this cache; undefined where it is only refused. */
  readonly place: Lease | undefined;
  readonly requestId: string;
  /** Host of the API, for a request that names none. */
  readonly host: string;
  readonly proxies: TrustedProxies;
  /** How long a request that cannot be repeated waits for a connection. */
  readonly connectWaitMs: number;
  /** A client that takes no byte for this long is cut off. */
  readonly idleMs: number;
  /** Whether connections are to end with the answer that they get. */
  readonly isStopping: () => boolean;
  readonly received: (bytes: number) => void;
  readonly sent: (bytes: number) => void;
  /** Hears why there is no answer of a server, or no whole one. */
  readonly onFailure: (error: unknown) => void;
}

export class Exchange {
  readonly #init: ExchangeInit;
  #onward: ClientRequest | undefined;
  /** Aborted when the client leaves while it waits for a connection. */
  #waiting: AbortController | undefined;
  /** Whether an answer is on its way to the client. */
  #isAnswered = false;

  constructor(init: ExchangeInit) {
    this.#init = init;
    const { request, response, place } = init;
    // Its end is told by the response as well.
    request.on('error', () => {});
    response.once('close', () => {
      place?.release();
      if (response.writableFinished) return;
      this.#waiting?.abort(new Error('the client has gone'));
      this.#onward?.destroy();
    });
  }

  /** Whether the client gets nothing more from us. */
  get #isOver(): boolean {
    return this.#init.response.destroyed;
  }

  /** A request that changes nothing and has no body: it shares connections, and is tried again where that is safe. */
  read(): void {
    this.#guard(() => this.#read(1));
  }

  #read(tries: number): void {
    const { upstream, cache } = this.#init;
    const attempt = upstream.circuit.admit();
    if (attempt === undefined) {
      this.refuse(unreachable(cache));
      return;
    }
    const onward = this.#open({ agent: upstream.pool });
    onward.once('socket', (socket) => {
      if (socket.connecting) socket.once('connect', attempt.succeeded);
      else attempt.succeeded();
    });
    onward.once('error', (error) => {
      if (this.#isAnswered || this.#isOver) return attempt.dropped();
      const wasConnected = upstream.wasConnected(onward.socket);
      if (!wasConnected) attempt.failed();
      // Nothing was sent; or the other end had given up an idle connection before it saw the request.
      const again = tries > 0 && (wasConnected ? onward.reusedSocket : isQuick(error));
      if (again) this.#guard(() => this.#read(tries - 1));
      else this.#fail(error, wasConnected ? broken(cache) : unreachable(cache));
    });
    onward.end();
  }

  /** Any other request: it has a connection of its own, which is there before the first byte of its body is read. */
  async write(): Promise<void> {
    const socket = await this.#connect(this.#init.connectWaitMs);
    if (socket !== undefined) this.#guard(() => this.#write(socket));
  }

  #write(socket: Socket): void {
    const { request, response, cache } = this.#init;
    const onward = this.#open({ createConnection: () => socket });
    onward.once('continue', () => response.writeContinue());
    const stop = pump(request, onward, this.#init.received);
    onward.on('error', (error) => {
      stop();
      // The server has said what it had to say, and reads on no longer.
      if (this.#isAnswered) linger(request, response);
      else if (!this.#isOver) this.#fail(error, broken(cache));
    });
    response.once('finish', () => {
      if (request.complete) return;
      stop();
      onward.destroy();
      linger(request, response);
    });
    // An answer may come before the body does. Most bodies are here already, and go out together with the head.
    if (request.headers.expect !== undefined) onward.flushHeaders();
    else setImmediate(() => onward.flushHeaders());
  }

  /** A WebSocket: its answer is a connection. Undefined when the client was answered otherwise. */
  async upgrade(): Promise<{ answer: IncomingMessage; far: Socket; head: Buffer } | undefined> {
    const socket = await this.#connect(0);
    if (socket === undefined) return undefined;
    return new Promise((resolve) => {
      const onward = this.#guard(() => this.#open({ createConnection: () => socket }, true));
      if (onward === undefined) return resolve(undefined);
      onward.end();
      onward.once('upgrade', (answer, far, head) => resolve({ answer, far, head }));
      onward.once('response', () => resolve(undefined));
      onward.once('error', (error) => {
        if (!this.#isAnswered && !this.#isOver) this.#fail(error, broken(this.#init.cache));
        resolve(undefined);
      });
    });
  }

  /** Answers without a server. */
  refuse(answer: Answer): void {
    const { request, response, requestId } = this.#init;
    if (this.#isOver) return;
    this.#isAnswered = true;
    response.setHeader('X-Request-Id', requestId);
    sendText(request, response, answer);
    linger(request, response);
  }

  /** A head that came through one parser may still be none for the writer of another. */
  #guard<T>(work: () => T, answer: Answer = BAD_REQUEST): T | undefined {
    const { response } = this.#init;
    try {
      return work();
    } catch (error) {
      this.#onward?.destroy();
      try {
        if (response.headersSent) response.destroy();
        else this.#fail(error, answer);
      } catch {
        // It has what cannot be written from the first head.
        response.destroy();
      }
      return undefined;
    }
  }

  #fail(error: unknown, answer: Answer): void {
    this.#init.onFailure(error);
    this.refuse(answer);
  }

  async #connect(waitMs: number): Promise<Socket | undefined> {
    const { upstream, cache } = this.#init;
    try {
      this.#waiting = new AbortController();
      const socket = await upstream.connect(waitMs, this.#waiting.signal);
      if (!this.#isOver) return socket;
      socket.destroy();
    } catch (error) {
      if (!this.#isOver) this.#fail(error, unreachable(cache));
    }
    return undefined;
  }

  #open(how: { agent: http.Agent } | { createConnection: () => Socket }, isUpgrade = false): ClientRequest {
    const { request, upstream } = this.#init;
    const onward = http.request({
      ...how,
      host: upstream.host,
      port: upstream.port,
      method: request.method ?? 'GET',
      path: request.url ?? '/',
      headers: requestHeaders(request, { ...this.#init, isUpgrade }),
      setHost: false,
    });
    this.#onward = onward;
    // Whoever cares hears of the first; one that comes after it must not end the process.
    onward.on('error', () => {});
    const { cache } = this.#init;
    onward.once('response', (answer) => this.#guard(() => this.#relay(answer), broken(cache)));
    return onward;
  }

  #relay(answer: IncomingMessage): void {
    const { request, response, requestId, idleMs } = this.#init;
    answer.on('error', () => {});
    if (this.#isOver) return;
    this.#isAnswered = true;
    const isChunkable = request.httpVersion !== '1.0';
    const headers = answerHeaders(answer, requestId, isChunkable);
    if (this.#init.isStopping()) response.shouldKeepAlive = false;
    const isDelimited = isChunkable || answer.headers['content-length'] !== undefined;
    if (isDelimited) outlive(request, response);
    response.setTimeout(idleMs, () => response.destroy());
    response.writeHead(answer.statusCode ?? 502, reasonOf(answer), headers);
    const stop = pump(answer, response, this.#init.sent);
    const isWhole = shortcut(answer, response, { stop, onBytes: this.#init.sent });
    answer.once('close', () => {
      if (answer.complete || isWhole() || this.#isOver) return;
      this.#init.onFailure(new Error('the answer broke off'));
      // Never a clean end: where nothing says how long the body is, only a reset tells.
      if (isDelimited) response.destroy();
      else response.socket?.resetAndDestroy();
    });
    // Most bodies come at once, and go out together with the head.
    setImmediate(() => {
      if (!response.destroyed) response.flushHeaders();
    });
  }
}

/** The words behind a status. One parser takes bytes that a writer does not. */
function reasonOf({ statusMessage = '' }: IncomingMessage): string {
  return statusMessage.replace(/[^ -~]/g, '?');
}

/** Whether a connection was refused at once: another try does not make its client wait for a second time limit. */
function isQuick(error: Error): boolean {
  return 'code' in error && error.code !== undefined;
}
