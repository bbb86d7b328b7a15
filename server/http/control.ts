/**
 * The socket in the data folder, by which commands on the same machine ask a running server for what changes something.
 * Whoever may open it, by the rights of the file (0600), could change the files as well; the admin port, which scrapers
 * reach, changes nothing. An answer is lines of JSON, so that progress is seen while the work is under way.
 */
import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';
import type { Logger } from 'pino';
import { type BinaryCache, type Caches, check } from '../cache/index.ts';
import type { CheckAnswer, CheckRequest } from './control-client.ts';
import { answerDoors } from './control-doors.ts';

export interface ControlInit {
  readonly caches: Caches;
  /** The data folder. */
  readonly folder: string;
  readonly logger: Logger;
}

/** `sun_path` of the systems that we know has at least so many bytes, its end included. */
const MOST_PATH_BYTES = 103;
const PROGRESS_MS = 200;
/** A request has a URL of a few names, and a small body if any. */
const HEADERS_MS = 5_000;

/** Where the socket of a data folder is. */
export function controlSocket(folder: string): string {
  return path.resolve(folder, 'control.sock');
}

export class ControlServer {
  readonly #init: ControlInit;
  readonly #file: string;
  readonly #server: Server;
  readonly #stopping = new AbortController();

  constructor(init: ControlInit) {
    this.#init = init;
    this.#file = controlSocket(init.folder);
    this.#server = createServer({ headersTimeout: HEADERS_MS }, (request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        init.logger.warn({ err: error }, 'a request on the control socket failed');
        response.destroy();
      });
    });
  }

  /** Begins to listen. Where that cannot be, as on file systems without sockets, the server does without. */
  async listen(): Promise<void> {
    const { logger } = this.#init;
    try {
      if (Buffer.byteLength(this.#file) > MOST_PATH_BYTES) throw new Error('its path is too long for a socket');
      // Servers on PostgreSQL may share a folder: the first one keeps the socket. A dead one's is taken over.
      if (await answers(this.#file)) throw new Error('another server listens there');
      await rm(this.#file, { force: true });
      await this.#bind();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      logger.warn(
        { socket: this.#file, reason },
        '"narwhal-server check", "gc" and "pin" cannot ask this server while it runs',
      );
    }
  }

  async #bind(): Promise<void> {
    const bound = new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.once('listening', resolve);
    });
    // The file gets its rights when it is made, not a moment later.
    const umask = process.umask(0o177);
    try {
      this.#server.listen(this.#file);
    } finally {
      process.umask(umask);
    }
    await bound;
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (await answerDoors(this.#init.caches, request, response)) return;
    const url = new URL(request.url ?? '/', 'http://control');
    if (request.method !== 'POST' || url.pathname !== '/check') {
      response.writeHead(404).end('not found: POST /check, GET /caches, and the doors for people\n');
      return;
    }
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    response.writeHead(200, { 'Content-Type': 'application/x-ndjson' });
    const say = (answer: CheckAnswer) => {
      if (!response.destroyed) response.write(`${JSON.stringify(answer)}\n`);
    };
    // A command that was ended ends its work.
    const signal = AbortSignal.any([gone.signal, this.#stopping.signal]);
    const asked = requestOf(url.searchParams);
    const caches = this.#init.caches.list().filter(({ name }) => asked.cache === undefined || asked.cache === name);
    try {
      for (const cache of caches) await this.#check(cache, asked, signal, say);
      say({ done: caches.length });
    } catch (error) {
      if (!signal.aborted) this.#init.logger.warn({ err: error }, 'a check failed');
      say({ error: error instanceof Error ? error.message : String(error) });
    }
    response.end();
  }

  async #check(
    cache: BinaryCache,
    { contents, repair, bytesPerSecond }: CheckRequest,
    signal: AbortSignal,
    say: (answer: CheckAnswer) => void,
  ): Promise<void> {
    let saidAt = Number.NEGATIVE_INFINITY;
    const report = await check({
      cache,
      contents,
      repair,
      bytesPerSecond,
      isAlone: false,
      signal,
      onProgress: (done, total) => {
        if (performance.now() - saidAt < PROGRESS_MS && done < total) return;
        saidAt = performance.now();
        say({ cache: cache.name, progress: { done, total } });
      },
    });
    say({ cache: cache.name, report });
  }
}

function requestOf(query: URLSearchParams): CheckRequest {
  const rate = Number(query.get('rate') ?? 0);
  return {
    cache: query.get('cache') ?? undefined,
    contents: query.has('contents'),
    repair: query.has('repair'),
    bytesPerSecond: rate > 0 ? rate : undefined,
  };
}

/** Whether somebody listens on a socket. */
function answers(file: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(file);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
