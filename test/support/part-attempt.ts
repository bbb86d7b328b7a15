/** One attempt at a part of a Cachix upload, whose bytes a test sends when it likes. */
import http from 'node:http';

export interface AttemptAnswer {
  readonly status: number;
  readonly text: string;
}

export class PartAttempt {
  /** Undefined: the connection ended without one. */
  readonly answer: Promise<AttemptAnswer | undefined>;
  readonly #request: http.ClientRequest;

  /** @param url of the part, as the server gave it out */
  constructor(url: string, size: number, headers: http.OutgoingHttpHeaders = {}) {
    const { promise, resolve } = Promise.withResolvers<AttemptAnswer | undefined>();
    this.answer = promise;
    this.#request = http.request(url, {
      method: 'PUT',
      headers: { 'content-length': size, ...headers },
      agent: false,
    });
    this.#request.on('error', () => resolve(undefined));
    this.#request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      response.on('error', () => {});
      response.on('close', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    this.#request.flushHeaders();
  }

  /** Resolves when the bytes have left; also where nobody takes them any more. */
  send(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (this.#request.destroyed) resolve();
      else this.#request.write(bytes, () => resolve());
      this.#request.once('close', resolve);
    });
  }

  /** No more bytes: all were sent. */
  end(): void {
    this.#request.end();
  }

  break(): void {
    this.#request.destroy();
  }
}
