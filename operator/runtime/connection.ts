/** Requests to one API server: its address, who we are, and the connections that requests share. */
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { Agent, type Dispatcher, ProxyAgent, request } from 'undici';
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

interface Credentials {
  readonly server: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly dispatcher: Dispatcher;
}

/** How to find the API server: `file`, else `KUBECONFIG`, the user's own configuration, or the pod's. */
export function kubeConfig(file?: string): () => KubeConfig {
  return () => {
    const config = new KubeConfig();
    if (file === undefined) config.loadFromDefault();
    else config.loadFromFile(file);
    return config;
  };
}

/**
 * Files of certificates and tokens may change at any time: certificates are read for each request, tokens at least once
 * a minute, and the whole configuration is loaded again after a failure that may come of an old one.
 */
export class Connection {
  readonly #load: () => KubeConfig;
  #config: KubeConfig;
  #isOld = false;
  #agent: { readonly dispatcher: Dispatcher; readonly identity: string } | undefined;

  /** @param load called now, and again whenever credentials may be old */
  constructor(load: () => KubeConfig) {
    this.#load = load;
    this.#config = load();
  }

  /** Fails with an {@link ApiError} when no answer comes, and with the signal's reason when that is aborted. */
  async send(outgoing: Outgoing): Promise<Dispatcher.ResponseData> {
    const wasOld = this.#isOld;
    const response = await this.#send(outgoing);
    if (response.statusCode !== 401 || wasOld) return response;
    // A token is read once a minute; one that was revoked meanwhile is refused before anything happens.
    this.#isOld = true;
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
        dispatcher: credentials.dispatcher,
      });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      this.#isOld = true;
      throw networkError(`${method} ${path.split('?')[0]}`, error);
    }
  }

  async #credentials(): Promise<Credentials> {
    try {
      if (this.#isOld) {
        this.#config = this.#load();
        this.#isOld = false;
      }
      const cluster = this.#config.getCurrentCluster();
      if (cluster === null) throw new Error('the kubeconfig names no current cluster');
      // The only public door to what the library knows of credentials that makes no connections of its own.
      const options: RequestOptions = {};
      await this.#config.applyToHTTPSOptions(options);
      const headers: Record<string, string> = {};
      if (typeof options.auth === 'string') headers.Authorization = `Basic ${btoa(options.auth)}`;
      for (const [name, value] of Object.entries(options.headers ?? {})) {
        // Files end in a line feed, which no header may.
        if (value !== undefined) headers[name] = String(value).trim();
      }
      return { server: cluster.server, headers, dispatcher: this.#dispatcher(options, cluster.proxyUrl) };
    } catch (error) {
      throw new ApiError(0, 'Credentials', `no credentials: ${messageOf(error)}`, { cause: error });
    }
  }

  /** The agent that all requests share, made anew when the certificates are others. */
  #dispatcher({ ca, cert, key, servername, rejectUnauthorized }: RequestOptions, proxy?: string): Dispatcher {
    const identity = JSON.stringify([ca, cert, key, servername, rejectUnauthorized, proxy].map(String));
    if (this.#agent?.identity === identity) return this.#agent.dispatcher;
    const tls = defined({ ca, cert, key, servername, rejectUnauthorized });
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
