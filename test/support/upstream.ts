/** A plain HTTP server that does what a test says, to stand behind a proxy: real servers never misbehave on demand. */
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export class Upstream {
  handle: Handler = (_, response) => response.end('hello\n');
  upgrade: UpgradeHandler = (_, socket) => socket.destroy();
  /** Whether a request with `Expect: 100-continue` is asked for its body; otherwise the handler does that. */
  continues = false;
  /** Heads of all requests, in order of arrival. */
  readonly seen: IncomingMessage[] = [];
  /** How many connections there have been. */
  accepted = 0;
  readonly sockets = new Set<Socket>();
  readonly #server: http.Server;

  private constructor(options: http.ServerOptions) {
    this.#server = http.createServer(options, (request, response) => this.#take(request, response));
    this.#server.on('checkContinue', (request, response) => {
      if (this.continues) response.writeContinue();
      this.#take(request, response);
    });
    this.#server.on('upgrade', (request, socket, head) => {
      this.seen.push(request);
      socket.on('error', () => {});
      this.upgrade(request, socket, head);
    });
    this.#server.on('connection', (socket) => {
      this.accepted++;
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
    });
  }

  static async start(handle?: Handler, options: http.ServerOptions = {}): Promise<Upstream> {
    const upstream = new Upstream(options);
    if (handle !== undefined) upstream.handle = handle;
    await new Promise<void>((resolve) => upstream.#server.listen(0, '127.0.0.1', resolve));
    return upstream;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get last(): IncomingMessage {
    const last = this.seen.at(-1);
    if (last === undefined) throw new Error('no request has come yet');
    return last;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    this.seen.push(request);
    request.on('error', () => {});
    response.on('error', () => {});
    this.handle(request, response);
  }
}

/** The whole body of a request. */
export async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}
