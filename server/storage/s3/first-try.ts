/**
 * The first try of a request for one object, without the layers of the SDK, which take two thirds of what such a request
 * costs. It is signed by the SDK's signer with the SDK's credentials and clock, and goes out by its sockets; whatever is
 * no plain success is for the SDK to do again, which knows all about retries, clocks, regions and errors.
 */
import { Readable } from 'node:stream';
import type { S3Client } from '@aws-sdk/client-s3';

export interface ObjectRequest {
  readonly operation: 'GetObject' | 'PutObject' | 'DeleteObject';
  readonly key: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

export interface ObjectAnswer {
  readonly size: number;
  readonly body: Readable;
}

/** Hears of each request that went out; status 0: no answer. */
export type OnRequest = (request: { operation: string; status: number; milliseconds: number }) => void;

/** As the SDK found it: of the bucket. */
interface Endpoint {
  readonly url: URL;
  readonly properties?: Record<string, unknown>;
}

const METHODS = { GetObject: 'GET', PutObject: 'PUT', DeleteObject: 'DELETE' } as const;

export class FirstTry {
  readonly #client: S3Client;
  readonly #onRequest: OnRequest;
  #endpoint: URL | undefined;
  #signer: ReturnType<S3Client['config']['signer']> | undefined;

  /** @param client whose signer, credentials, clock and sockets are used */
  constructor(client: S3Client, onRequest: OnRequest = () => {}) {
    this.#client = client;
    this.#onRequest = onRequest;
  }

  /** Whether it is known where a request goes. */
  get isPossible(): boolean {
    return this.#endpoint !== undefined;
  }

  /** Learns from a request of the SDK where the bucket is, unless that has a way of its own to sign. */
  learn({ url, properties }: Endpoint): void {
    if (this.#endpoint !== undefined || !isPlain(properties)) return;
    this.#endpoint = url;
  }

  /** Undefined: it went wrong in some way. Only a GET has a body, which is to be read. */
  async send(request: ObjectRequest, signal: AbortSignal | undefined): Promise<ObjectAnswer | undefined> {
    const signed = await this.#sign(request).catch(() => undefined);
    if (signed === undefined) return undefined;
    const { operation } = request;
    const { requestHandler } = this.#client.config;
    const start = performance.now();
    let status = 0;
    try {
      const options = signal === undefined ? {} : { abortSignal: signal };
      const { response } = await requestHandler.handle(signed, options);
      status = response.statusCode;
      const body: unknown = response.body;
      if (!(body instanceof Readable)) return undefined;
      const isFine = status >= 200 && status < 300;
      // What an error says is read from the answer that the SDK gets.
      if (!isFine || operation !== 'GetObject') body.on('error', () => {}).resume();
      return isFine ? { body, size: Number(response.headers['content-length'] ?? 0) } : undefined;
    } catch {
      return undefined;
    } finally {
      this.#onRequest({ operation, status, milliseconds: performance.now() - start });
    }
  }

  async #sign({ operation, key, headers = {}, body }: ObjectRequest) {
    const url = this.#endpoint;
    if (url === undefined) throw new Error('no request of the SDK went out yet');
    const { config } = this.#client;
    this.#signer ??= config.signer();
    const signer = await this.#signer.catch((error: unknown) => {
      this.#signer = undefined;
      throw error;
    });
    return signer.sign(
      {
        protocol: url.protocol,
        hostname: url.hostname,
        ...(url.port !== '' && { port: Number(url.port) }),
        method: METHODS[operation],
        path: `${url.pathname.replace(/\/$/, '')}/${key.split('/').map(encode).join('/')}`,
        query: { 'x-id': operation },
        headers: { host: url.host, ...headers },
        ...(body !== undefined && { body }),
      },
      { signingDate: new Date(Date.now() + config.systemClockOffset) },
    );
  }
}

/** Signed as every bucket is that is no directory, access point or the like. */
function isPlain({ authSchemes }: Record<string, unknown> = {}): boolean {
  const [first]: unknown[] = Array.isArray(authSchemes) ? authSchemes : [];
  if (typeof first !== 'object' || first === null) return false;
  return Reflect.get(first, 'name') === 'sigv4' && Reflect.get(first, 'signingName') === 's3';
}

/** RFC 3986, which `encodeURIComponent` is older than. */
function encode(segment: string): string {
  return encodeURIComponent(segment).replace(/[!'()*]/g, (it) => `%${it.charCodeAt(0).toString(16).toUpperCase()}`);
}
