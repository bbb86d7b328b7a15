/** One request after another to the API server: its deadline, its repetitions, its errors, its metrics. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Dispatcher } from 'undici';
import type { Access } from './access.ts';
import { Connection, networkError, type Outgoing } from './connection.ts';
import { Deadline } from './deadline.ts';
import { ApiError } from './errors.ts';
import { type Kind, type Place, pathOf } from './kinds.ts';
import type { Metrics } from './metrics.ts';
import { keyOf, type Obj } from './objects.ts';

export interface RequestsInit {
  /** How to find the API server, see `kubeConfig()`; called again whenever credentials may be old. */
  readonly load: () => Promise<Access>;
  /** The field manager of what we apply, and who we say we are. */
  readonly manager: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Of each attempt of a request; default 30 s. */
  readonly timeoutMs?: number;
  /** How often a request that the server puts off is repeated here; default 3. */
  readonly retries?: number;
  /** A longer Retry-After is the caller's to wait for; default 10 s. */
  readonly maxRetryAfterMs?: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  readonly retries?: number;
}

export interface Call {
  /** For metrics and messages. */
  readonly verb: string;
  readonly method: Outgoing['method'];
  readonly kind: Kind<Obj>;
  readonly place?: Place;
  /** In place of what kind and place say. */
  readonly path?: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly accept?: string;
  readonly contentType?: string;
  readonly body?: unknown;
  /** Whether doing it twice is doing it once. */
  readonly idempotent: boolean;
}

export class Requests {
  readonly #init: RequestsInit;
  readonly #connection: Connection;
  /** How long an answer may take to begin. */
  readonly timeoutMs: number;

  constructor(init: RequestsInit) {
    this.#init = init;
    this.timeoutMs = init.timeoutMs ?? 30_000;
    this.#connection = new Connection(init.load);
  }

  /** The body of a successful answer. Waits and repeats as the server wishes, within limits. */
  async json(call: Call, options: CallOptions = {}): Promise<unknown> {
    const { signal } = options;
    const retries = options.retries ?? this.#init.retries ?? 3;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#attempt(call, options);
      } catch (error) {
        const waitMs = attempt <= retries ? this.#waitAfter(error, call, attempt) : undefined;
        if (waitMs === undefined) throw error;
        this.#init.logger.debug({ err: error, waitMs, attempt }, 'the API server is asked again');
        await sleep(waitMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
      }
    }
  }

  /** An answer that is no error. Its body is still to come. */
  async answer(call: Call, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const headers: Record<string, string> = {
      Accept: call.accept ?? 'application/json',
      'User-Agent': this.#init.manager,
    };
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    if (body !== undefined) headers['Content-Type'] = call.contentType ?? 'application/json';
    const path = (call.path ?? pathOf(call.kind, call.place)) + queryOf(call.query);
    const start = performance.now();
    let code = 0;
    try {
      const response = await this.#connection.send({ method: call.method, path, headers, body, signal });
      code = response.statusCode;
      if (code < 400) return response;
      throw ApiError.of(describe(call), code, parsed(await response.body.text()), response.headers['retry-after']);
    } finally {
      this.#init.metrics.request(call.verb, code, (performance.now() - start) / 1000);
    }
  }

  /** Ends all requests and connections. */
  async close(): Promise<void> {
    await this.#connection.close();
  }

  async #attempt(call: Call, options: CallOptions): Promise<unknown> {
    const timeoutMs = options.timeoutMs ?? this.timeoutMs;
    const what = describe(call);
    const timeout = () => new ApiError(0, 'Timeout', `${what}: no answer within ${timeoutMs} ms`);
    const deadline = new Deadline(options.signal, timeoutMs, timeout);
    try {
      const { body } = await this.answer(call, deadline.signal);
      return await body.json();
    } catch (error) {
      throw failureOf(what, error, deadline.signal);
    } finally {
      deadline.clear();
    }
  }

  #waitAfter(error: unknown, call: Call, attempt: number): number | undefined {
    if (!(error instanceof ApiError)) return undefined;
    // The server, or something before it, closed a kept connection in the moment when we used it.
    if (call.idempotent && attempt === 1 && isReset(error.cause)) return 0;
    const isPutOff = error.code === 429 || (error.code === 503 && call.idempotent);
    if (!isPutOff || error.retryAfterMs === undefined) return undefined;
    if (error.retryAfterMs > (this.#init.maxRetryAfterMs ?? 10_000)) return undefined;
    // Those who were put off together must not come back together.
    return error.retryAfterMs * (1 + Math.random() / 4);
  }
}

/** Why a request really failed: its signal's reason, the server's answer, a mistake of the caller, or the network. */
export function failureOf(what: string, error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  return error instanceof ApiError || error instanceof TypeError ? error : networkError(what, error);
}

/** A call in words, without its body. */
export function describe({ verb, kind, place }: Call): string {
  const name = place?.name === undefined ? place?.namespace : keyOf({ ...place, name: place.name });
  const noun = place?.name === undefined ? kind.plural : kind.kind;
  return [verb, noun, name, place?.sub].filter((word) => word !== undefined).join(' ');
}

function queryOf(query: Call['query'] = {}): string {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) words.set(name, value);
  return words.size === 0 ? '' : `?${words}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isReset(cause: unknown): boolean {
  if (!(cause instanceof Error && 'code' in cause)) return false;
  return ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(String(cause.code));
}
