/**
 * HTTP as the Cachix client does it: keep-alive connections, headers in its order, gzip, redirects that keep method and
 * body, and its policy of repeating a call.
 */
import http from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import zlib from 'node:zlib';

/** Bytes to send; big ones are opened anew for each attempt. */
export type Content = Buffer | { readonly size: number; readonly open: () => Readable };

export interface CachixRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  /** Absolute. */
  readonly url: string;
  /** Name and value by turns, in order, without `Host`, `Accept-Encoding` and `Content-Length`, which come first. */
  readonly headers: readonly string[];
  /** Undefined for no body and no length; an empty buffer for a length of 0. */
  readonly body?: Content | undefined;
  /** Sent in chunks, without a length. */
  readonly chunked?: boolean;
}

export interface CachixReply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** An answer that the client takes for a failure. */
export class CachixFailure extends Error {
  override readonly name = 'CachixFailure';
  readonly status: number;
  /** The body of the answer. */
  readonly text: string;
  constructor(what: string, status: number, text: string) {
    super(`${what}: ${status} ${text.trim()}`);
    this.status = status;
    this.text = text;
  }
}

export interface CachixHttpInit {
  /** Pauses; tests give one that only takes notes. */
  readonly delay?: ((ms: number) => Promise<void>) | undefined;
  /** As `http_proxy` names it. */
  readonly proxy?: string | undefined;
}

const FIRST_DELAY_MS = 1000;
const MAX_DELAY_MS = 15_000;
const MAX_HINTED_DELAY_MS = 120_000;
/** Delays of one call together. */
const PATIENCE_MS = 90_000;
const MAX_REDIRECTS = 10;
/** Limits of the client's HTTP library. */
const MAX_HEADERS = 100;
const MAX_HEADER_BYTES = 4096;

export class CachixHttp {
  readonly delay: (ms: number) => Promise<void>;
  readonly #agent: http.Agent;
  readonly #secureAgent = new https.Agent({ keepAlive: true, maxFreeSockets: 64 });

  constructor(init: CachixHttpInit = {}) {
    const proxyEnv = init.proxy === undefined ? {} : { proxyEnv: { HTTP_PROXY: init.proxy } };
    this.#agent = new http.Agent({ keepAlive: true, maxFreeSockets: 64, ...proxyEnv });
    this.delay = init.delay ?? ((ms) => wait(ms));
  }

  /** Sends a request, again and again on transport errors, 429 and 5xx. The last answer, whatever its status. */
  async send(request: CachixRequest): Promise<CachixReply> {
    let waitedMs = 0;
    for (let attempt = 0; ; attempt++) {
      let failure: unknown;
      let reply: CachixReply | undefined;
      try {
        reply = await this.#follow(request);
        if (reply.status !== 429 && reply.status < 500) return reply;
      } catch (error) {
        failure = error;
      }
      const jitterMs = Math.random() * Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
      const delayMs = (reply && hintedDelayMs(reply)) ?? jitterMs;
      if (waitedMs + delayMs > PATIENCE_MS) {
        if (reply !== undefined) return reply;
        throw failure;
      }
      waitedMs += delayMs;
      await this.delay(delayMs);
    }
  }

  /** Closes idle connections. */
  close(): void {
    this.#agent.destroy();
    this.#secureAgent.destroy();
  }

  async #follow(first: CachixRequest): Promise<CachixReply> {
    let request = first;
    for (let redirects = 0; ; redirects++) {
      const reply = await this.#once(request);
      const { location } = reply.headers;
      if (reply.status < 300 || reply.status > 399 || location === undefined) return reply;
      if (redirects === MAX_REDIRECTS) throw new Error('too many redirects');
      const url = new URL(location, request.url).href;
      request =
        reply.status === 302 || reply.status === 303
          ? { method: 'GET', url, headers: request.headers }
          : { ...request, url };
    }
  }

  #once(request: CachixRequest, again = true): Promise<CachixReply> {
    const { method, body, chunked = false } = request;
    const url = new URL(request.url);
    const size = body === undefined ? undefined : Buffer.isBuffer(body) ? body.length : body.size;
    const headers = ['Host', url.host, 'Accept-Encoding', 'gzip'];
    if (chunked) headers.push('Transfer-Encoding', 'chunked');
    else if (size !== undefined) headers.push('Content-Length', String(size));
    return new Promise((resolve, reject) => {
      const [open, agent] =
        url.protocol === 'https:' ? [https.request, this.#secureAgent] : [http.request, this.#agent];
      const outgoing = open({
        agent,
        host: url.hostname,
        port: url.port,
        path: `${url.pathname}${url.search}`,
        method,
        headers: [...headers, ...request.headers],
      });
      outgoing.on('response', (response) => {
        collect(response).then((reply) => resolve(reply), reject);
      });
      outgoing.on('error', (error) => {
        // A pooled connection that the server had closed: the library sends the request again, whatever its method.
        if (again && outgoing.reusedSocket) resolve(this.#once(request, false));
        else reject(error);
      });
      if (body === undefined || Buffer.isBuffer(body)) outgoing.end(body);
      else {
        const source = body.open();
        source.on('error', (error) => outgoing.destroy(error));
        outgoing.on('close', () => source.destroy());
        source.pipe(outgoing);
      }
    });
  }
}

async function collect(response: http.IncomingMessage): Promise<CachixReply> {
  const { rawHeaders } = response;
  if (rawHeaders.length / 2 > MAX_HEADERS) throw new Error('too many headers in an answer');
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (`${rawHeaders[i]}: ${rawHeaders[i + 1]}`.length > MAX_HEADER_BYTES) throw new Error('a header is too long');
  }
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  const encoding = response.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'gzip') throw new Error(`unexpected Content-Encoding ${encoding}`);
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: encoding === 'gzip' && bytes.length > 0 ? zlib.gunzipSync(bytes) : bytes,
  };
}

/** `Retry-After` (seconds or a date) or `retry_after` of a JSON body; positive values count. */
function hintedDelayMs(reply: CachixReply): number | undefined {
  const header = reply.headers['retry-after'];
  const hints = [
    header !== undefined && (/^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()),
  ];
  const type = mediaType(reply);
  if (type === 'application/json' || type === 'application/problem+json') hints.push(jsonHintMs(reply.body));
  const hint = hints.find((ms) => typeof ms === 'number' && ms > 0);
  return typeof hint === 'number' ? Math.min(hint, MAX_HINTED_DELAY_MS) : undefined;
}

function jsonHintMs(body: Buffer): number | false {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    const seconds = typeof value === 'object' && value !== null && 'retry_after' in value && value.retry_after;
    return typeof seconds === 'number' && Number.isInteger(seconds) && seconds * 1000;
  } catch {
    return false;
  }
}

export function mediaType(reply: CachixReply): string {
  return (reply.headers['content-type'] ?? 'application/octet-stream').split(';')[0]?.trim().toLowerCase() ?? '';
}
