/** Requests to one API server, over connections that they share. */
import { Agent, type Dispatcher, ProxyAgent, request } from 'undici';
import type { Access, Credentials } from './access.ts';
import { ApiError, messageOf } from './errors.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** Shorter than what load balancers (60 s) and the API server (90 s) leave an idle connection. */
const KEEP_ALIVE_MS = 30_000;

export interface Outgoing {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly signal: AbortSignal;
}

export class Connection {
  readonly #load: () => Promise<Access>;
  /** Undefined: it must be loaded. */
  #access: Access | undefined;
  #agent: { readonly dispatcher: Dispatcher; readonly identity: string } | undefined;

  /** @param load called by the first request, and again after a failure that may come of what it found earlier */
  constructor(load: () => Promise<Access>) {
    this.#load = load;
  }

  /** Fails with an {@link ApiError} when no answer comes, and with the signal's reason when that is aborted. */
  async send(outgoing: Outgoing): Promise<Dispatcher.ResponseData> {
    const isFresh = this.#access === undefined;
    const response = await this.#send(outgoing);
    if (response.statusCode !== 401 || isFresh) return response;
    // A kubeconfig's token is read once a minute. One that ended meanwhile is refused before anything happens.
    this.#access = undefined;
    await response.body.dump();
    return this.#send(outgoing);
  }

  /** Cuts what is under way. */
  async close(): Promise<void> {
    await this.#agent?.dispatcher.destroy();
  }

  async #send({ method, path, headers, body, signal }: Outgoing): Promise<Dispatcher.ResponseData> {
    const credentials = await this.#credentials();
    signal.throwIfAborted();
    try {
      return await request(credentials.server + path, {
        method,
        headers: { ...headers, ...credentials.headers },
        body: body ?? null,
        signal,
        dispatcher: this.#dispatcher(credentials),
      });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      this.#access = undefined;
      throw networkError(`${method} ${path.split('?')[0]}`, error);
    }
  }

  async #credentials(): Promise<Credentials> {
    try {
      this.#access ??= await this.#load();
      return await this.#access();
    } catch (error) {
      this.#access = undefined;
      throw new ApiError(0, 'Credentials', `no credentials: ${messageOf(error)}`, { cause: error });
    }
  }

  /** The agent that all requests share, made anew when the certificates are others. */
  #dispatcher({ tls: { ca, cert, key, servername, rejectUnauthorized }, proxy }: Credentials): Dispatcher {
    const tls = defined({ ca, cert, key, servername, rejectUnauthorized });
    const identity = JSON.stringify([...Object.entries(tls).flat(), proxy].map(String));
    if (this.#agent?.identity === identity) return this.#agent.dispatcher;
    const settings = {
      // A watch that hangs in a connection of its own takes nothing with it. undici 8 would share one by HTTP/2.
      allowH2: false,
      keepAliveTimeout: KEEP_ALIVE_MS,
      // Each request has its own deadline, and a watch is silent for minutes.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
    const connect = { timeout: CONNECT_TIMEOUT_MS, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS };
    const dispatcher =
      proxy === undefined
        ? new Agent({ ...settings, connect: { ...tls, ...connect } })
        : new ProxyAgent({ ...settings, uri: proxy, requestTls: { ...tls, ...connect } });
    // What is under way ends as it began; watches end by themselves.
    this.#agent?.dispatcher.close().catch(() => {});
    this.#agent = { dispatcher, identity };
    return dispatcher;
  }
}

/** An error of the connection, made one that callers can judge. */
export function networkError(what: string, error: unknown): ApiError {
  // undici and TLS put what happened into the cause, and a code beside it.
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return new ApiError(0, 'Network', `${what}: ${messageOf(cause)}`, { cause });
}

function defined<T extends object>(object: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const entries = Object.entries(object).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(entries) as { [K in keyof T]?: NonNullable<T[K]> };
}
