/** What comes in at a listener: routed, bounded, counted, and handed to an exchange. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import {
  clientNetwork,
  foreignCoding,
  hasBody,
  isForeignlyCoded,
  linger,
  placeFor,
  requestIdOf,
  type StrangerAnswer,
  sendToStranger,
  type TrustedProxies,
} from '../wire/index.ts';
import { busy, starting, twoHosts } from './answers.ts';
import { Exchange } from './exchange.ts';
import { countOf } from './headers.ts';
import type { GatewayMetrics } from './metrics.ts';
import type { Routes } from './routes.ts';
import type { Tunnels } from './tunnels.ts';
import type { Upstream } from './upstream.ts';
import type { Upstreams } from './upstreams.ts';

export interface ForwarderInit {
  /** Undefined until the first table is there. */
  readonly routes: () => Routes | undefined;
  readonly upstreams: Upstreams;
  readonly tunnels: Tunnels;
  readonly proxies: TrustedProxies;
  readonly metrics: GatewayMetrics;
  readonly logger: Logger;
  readonly connectWaitMs: number;
  readonly idleMs: number;
  /** How long a read waits for a place among the requests to its cache. */
  readonly requestWaitMs: number;
  /** Whether connections are to end with the answer that they get. */
  readonly isStopping: () => boolean;
}

interface Target {
  readonly cache: string;
  readonly upstream: Upstream;
  readonly host: string;
}

export class Forwarder {
  readonly #init: ForwarderInit;

  constructor(init: ForwarderInit) {
    this.#init = init;
  }

  async request(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = await this.#begin(request, response);
    if (exchange === undefined) return;
    if (isRead(request)) exchange.read();
    else await exchange.write();
  }

  /** @param response for answers that are no WebSocket: the last one of the connection */
  async upgrade(request: IncomingMessage, response: ServerResponse, head: Buffer): Promise<void> {
    const exchange = await this.#begin(request, response);
    const opened = await exchange?.upgrade();
    // The response goes unused and ends with its connection.
    if (opened === undefined) return;
    response.statusCode = opened.answer.statusCode ?? 101;
    this.#init.tunnels.open(request.socket, head, opened);
  }

  /** Undefined: it is answered already. */
  async #begin(request: IncomingMessage, response: ServerResponse): Promise<Exchange | undefined> {
    const { proxies, connectWaitMs, idleMs, metrics, logger, isStopping } = this.#init;
    const requestId = requestIdOf(request);
    const target = this.#target(request);
    const cache = 'cache' in target ? target.cache : '';
    this.#watch(request, response, cache, requestId);
    if (!('cache' in target)) {
      response.setHeader('X-Request-Id', requestId);
      // Once a small body is here, as where a server answers: how the connection goes on must not tell the two apart.
      setImmediate(() => {
        sendToStranger(request, response, target);
        linger(request, response);
      });
      return undefined;
    }
    const traffic = metrics.traffic(cache);
    const { upstream, host } = target;
    const caller = { cache, client: clientNetwork(proxies.remoteOf(request)) };
    // Clients repeat a read by themselves; a push they may not be able to, which is why it never waits here.
    const place = isRead(request)
      ? await placeFor(upstream.requests, caller, response, this.#init.requestWaitMs)
      : upstream.requests.force({ caller });
    const exchange = new Exchange({
      ...{ request, response, cache, upstream, place, requestId, host, proxies, connectWaitMs, idleMs, isStopping },
      received: (bytes) => {
        traffic.received += bytes;
      },
      sent: (bytes) => {
        traffic.sent += bytes;
      },
      onFailure: (error) => logger.warn({ err: error, cache, requestId, path: pathOf(request) }, 'no answer'),
    });
    if (place !== undefined) return exchange;
    exchange.refuse(busy(cache));
    return undefined;
  }

  #target(request: IncomingMessage): Target | StrangerAnswer {
    const routes = this.#init.routes();
    if (routes === undefined) return starting;
    const { method = '', url = '/', headers, rawHeaders } = request;
    if (countOf(rawHeaders, 'host') > 1) return twoHosts;
    if (isForeignlyCoded(request)) return foreignCoding;
    const cache = routes.resolve({ method, url, host: headers.host, authorization: headers.authorization });
    if (typeof cache !== 'string') return cache;
    const upstream = this.#init.upstreams.get(cache);
    return upstream === undefined ? starting : { cache, upstream, host: routes.host };
  }

  #watch(request: IncomingMessage, response: ServerResponse, cache: string, requestId: string): void {
    const { metrics, logger, proxies } = this.#init;
    const started = performance.now();
    response.once('close', () => {
      const status = response.headersSent || response.statusCode === 101 ? response.statusCode : 0;
      metrics.answered(cache, status);
      if (!logger.isLevelEnabled('debug')) return;
      const ms = Math.round(performance.now() - started);
      const remote = proxies.remoteOf(request);
      logger.debug({ requestId, remote, method: request.method, path: pathOf(request), cache, status, ms }, 'request');
    });
  }
}

function isRead(request: IncomingMessage): boolean {
  return (request.method === 'GET' || request.method === 'HEAD') && !hasBody(request);
}

/** Without its query, where people put what no log should hold. */
function pathOf(request: IncomingMessage): string | undefined {
  return request.url?.split('?', 1)[0];
}
