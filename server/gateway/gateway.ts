/** `narwhal-server gateway`: listeners, the table, the admin port; started and stopped in order. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { GatewayStatus } from '../../crds/index.ts';
import {
  closeServer,
  createDoor,
  hostPort,
  type Listen,
  listenOn,
  serverOptions,
  type Timeouts,
  TrustedProxies,
} from '../wire/index.ts';
import { Admin } from './admin.ts';
import { Forwarder } from './forwarder.ts';
import { GatewayMetrics } from './metrics.ts';
import { Table, type TableSource } from './table.ts';
import { readPair, type TlsFiles, type TlsPair, watchPair } from './tls.ts';
import { Tunnels } from './tunnels.ts';
import { Upstreams } from './upstreams.ts';

export interface GatewayOptions {
  readonly source: TableSource;
  readonly listen: readonly Listen[];
  readonly adminListen: Listen;
  readonly trustedProxies: readonly string[];
  /** Undefined: plain HTTP, behind something that ends TLS. */
  readonly tls: TlsFiles | undefined;
  readonly timeouts: Pick<Timeouts, 'headersMs' | 'keepAliveMs' | 'idleResponseMs'>;
  readonly connectTimeoutMs: number;
  readonly connectWaitMs: number;
  /** To one cache at one time; further reads wait for a while, then are answered with 503. */
  readonly maxRequests: number;
  readonly requestWaitMs: number;
  /** With hardly a byte taken for this long a read loses its place, if others wait. */
  readonly stallMs: number;
  /** Between two looks at files. */
  readonly reloadMs: number;
  /** How long connections are still taken once `/readyz` has turned false. */
  readonly shutdownDelayMs: number;
  readonly shutdownGraceMs: number;
  readonly version: string;
}

/** Bytes a second: a reader that takes fewer stands still. */
const LEAST_RATE = 1024;

/** A running gateway. */
export interface RunningGateway {
  /** `host:port` that each listener has, in the order of the options. */
  readonly addresses: readonly string[];
  readonly adminAddress: string;
  /** Tells that it is not ready, goes on for a while, then finishes requests and closes everything. */
  stop(): Promise<void>;
}

/** @throws AddressError, and errors of the operating system */
export async function runGateway(options: GatewayOptions, logger: Logger): Promise<RunningGateway> {
  const { timeouts, shutdownDelayMs, shutdownGraceMs, version, reloadMs } = options;
  const proxies = new TrustedProxies(options.trustedProxies);
  const metrics = new GatewayMetrics();
  const upstreams = new Upstreams({
    connectTimeoutMs: options.connectTimeoutMs,
    requests: { units: options.maxRequests, stallMs: options.stallMs, leastRate: LEAST_RATE },
    onCircuit: (cache, state) =>
      state === 'open'
        ? logger.error({ cache }, 'the servers of the cache cannot be connected to')
        : logger.info({ cache }, 'the servers of the cache can be connected to again'),
  });
  const table = new Table(logger, (routes) => upstreams.use(routes.table));
  const tunnels = new Tunnels();
  let state: 'running' | 'leaving' | 'stopping' = 'running';
  const forwarder = new Forwarder({
    ...{ upstreams, tunnels, proxies, metrics, logger },
    routes: () => table.routes,
    connectWaitMs: options.connectWaitMs,
    idleMs: timeouts.idleResponseMs,
    requestWaitMs: options.requestWaitMs,
    isStopping: () => state === 'stopping',
  });
  const pair = options.tls && (await readPair(options.tls));
  const servers = options.listen.map(() => mainDoor(forwarder, timeouts, pair, logger));
  metrics.watch({ upstreams, tunnels, connections: () => countAll(servers) });
  const status = (): GatewayStatus => {
    const { routes, error } = table.status;
    return { version, ready: state === 'running' && routes !== null, routes, error };
  };
  const admin = new Admin({ metrics, status, logger });
  const following = new AbortController();
  const close = async (graceMs: number) => {
    tunnels.close();
    await Promise.all(servers.map((server) => closeServer(server, graceMs)));
    upstreams.close();
    await admin.close();
  };
  try {
    const adminAddress = hostPort(await admin.listen(options.adminListen));
    const addresses: string[] = [];
    for (const [index, server] of servers.entries()) {
      const on = options.listen[index];
      if (on !== undefined) addresses.push(hostPort(await listenOn(server, on)));
    }
    const followed = options.source(table, following.signal);
    const use = (next: TlsPair) => {
      for (const server of servers) if (server instanceof https.Server) server.setSecureContext(next);
    };
    const unwatch = options.tls && pair && watchPair(options.tls, pair, { intervalMs: reloadMs, use, logger });
    let stopped: Promise<void> | undefined;
    return {
      addresses,
      adminAddress,
      stop: () => {
        stopped ??= (async () => {
          state = 'leaving';
          await sleep(shutdownDelayMs);
          state = 'stopping';
          await close(shutdownGraceMs);
          unwatch?.();
          following.abort();
          await followed;
        })();
        return stopped;
      },
    };
  } catch (error) {
    await close(0);
    throw error;
  }
}

function mainDoor(
  forwarder: Forwarder,
  timeouts: GatewayOptions['timeouts'],
  tls: TlsPair | undefined,
  logger: Logger,
): Server | https.Server {
  const handle = (request: IncomingMessage, response: ServerResponse) => forwarder.request(request, response);
  return createDoor({
    ...{ handle, logger, tls },
    options: {
      ...serverOptions(timeouts),
      keepAlive: true,
      // Whatever else a client would like to speak on this connection, it gets an answer in HTTP/1.1.
      shouldUpgradeCallback: ({ headers }) => headers.upgrade?.trim().toLowerCase() === 'websocket',
    },
    // The server behind decides whether it wants the body.
    awaitsContinue: handle,
    upgrade: (request, response, head) => forwarder.upgrade(request, response, head),
  });
}

async function countAll(servers: readonly (Server | https.Server)[]): Promise<number> {
  const counts = await Promise.all(
    servers.map(
      (server) => new Promise<number>((resolve) => server.getConnections((error, count) => resolve(error ? 0 : count))),
    ),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}
