/** The command `gateway`: its flags and their environment variables. Imports nothing of a server: a gateway is small. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { TableSource } from '../gateway/index.ts';
import { createLogger } from '../log.ts';
import { OptionError, parseListen } from '../options.ts';
import { version } from '../version.ts';
import type { Listen } from '../wire/index.ts';
import { kubernetesTable } from './gateway-table.ts';
import {
  headersTimeoutOption,
  keepAliveTimeoutOption,
  logFormatOption,
  logLevelOption,
  responseTimeoutOption,
  stallTimeOption,
} from './listener-flags.ts';
import { createProgram, runProgram } from './program.ts';
import { untilSignal } from './until-signal.ts';
import { list, seconds, wholeNumber } from './values.ts';

interface GatewayFlags {
  routes: Place;
  kubeconfig?: string;
  listen: string[];
  adminListen: string;
  trustedProxies: string[];
  tlsCert?: string;
  tlsKey?: string;
  connectTimeout: number;
  connectWait: number;
  maxRequests: number;
  requestWait: number;
  stallTime: number;
  headersTimeout: number;
  keepAliveTimeout: number;
  responseTimeout: number;
  shutdownDelay: number;
  shutdownGrace: number;
  reloadInterval: number;
  logLevel: string;
  logFormat?: 'json' | 'pretty';
}

/** Where the routing table is. */
type Place = { readonly file: string } | { readonly namespace: string; readonly name: string };

export function gatewayCommand(): Command {
  return new Command('gateway')
    .description('one address for many caches: pass requests on to their servers, by a routing table')
    .addOption(
      new Option('--routes <place>', 'routing table: file:PATH, or configmap:NAMESPACE/NAME with the key routes.json')
        .env('NARWHAL_ROUTES')
        .argParser(parsePlace)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--kubeconfig <file>', 'how to reach the API server of a ConfigMap. Default: as kubectl, or as a pod')
        .env('NARWHAL_KUBECONFIG')
        .argParser((text) => text),
    )
    .addOption(
      new Option('--listen <address...>', 'host:port; repeatable. :port is every address')
        .env('NARWHAL_LISTEN')
        .argParser(list)
        .default(['127.0.0.1:8080']),
    )
    .addOption(
      new Option('--admin-listen <address>', 'host:port of /livez, /readyz, /metrics and /status')
        .env('NARWHAL_ADMIN_LISTEN')
        .default('127.0.0.1:9090'),
    )
    .addOption(
      new Option(
        '--trusted-proxies <address...>',
        'IP addresses or networks whose X-Forwarded-For, -Proto and -Host are passed on; repeatable',
      )
        .env('NARWHAL_TRUSTED_PROXIES')
        .argParser(list)
        .default([]),
    )
    .addOption(
      new Option('--tls-cert <file>', 'certificates, as PEM; read again when it changes').env('NARWHAL_TLS_CERT'),
    )
    .addOption(new Option('--tls-key <file>', 'their key, as PEM').env('NARWHAL_TLS_KEY'))
    .addOption(seconds('--connect-timeout <seconds>', 'for one connection to a server', 'NARWHAL_CONNECT_TIMEOUT', 5))
    .addOption(
      seconds(
        '--connect-wait <seconds>',
        'for servers to come back when a push arrives, before its body is read',
        'NARWHAL_CONNECT_WAIT',
        30,
      ),
    )
    .addOption(
      new Option('--max-requests <count>', 'to one cache at one time; further reads wait, then hear 503')
        .env('NARWHAL_MAX_REQUESTS')
        .argParser(wholeNumber)
        .default(4000),
    )
    .addOption(seconds('--request-wait <seconds>', 'for which a read waits for its turn', 'NARWHAL_REQUEST_WAIT', 40))
    .addOption(stallTimeOption())
    .addOption(headersTimeoutOption())
    .addOption(responseTimeoutOption())
    .addOption(keepAliveTimeoutOption())
    .addOption(
      new Option('--shutdown-delay <seconds>', 'for which connections are still taken once /readyz has turned false')
        .env('NARWHAL_SHUTDOWN_DELAY')
        .argParser(secondsOrNone)
        .default(3),
    )
    .addOption(seconds('--shutdown-grace <seconds>', 'for requests to finish after that', 'NARWHAL_SHUTDOWN_GRACE', 30))
    .addOption(seconds('--reload-interval <seconds>', 'between two looks at files', 'NARWHAL_RELOAD_INTERVAL', 1))
    .addOption(logLevelOption())
    .addOption(logFormatOption())
    .action((flags: GatewayFlags) => runGatewayOf(flags));
}

/** The program as a gateway alone. */
export async function run(argv: readonly string[]): Promise<void> {
  await runProgram(createProgram().addCommand(gatewayCommand()), argv);
}

async function runGatewayOf(flags: GatewayFlags): Promise<void> {
  const pretty = flags.logFormat === undefined ? process.stderr.isTTY === true : flags.logFormat === 'pretty';
  const logger = createLogger(flags.logLevel, pretty);
  const { fileTable, runGateway } = await import('../gateway/index.ts');
  const { tlsCert: cert, tlsKey: key, routes } = flags;
  if ((cert === undefined) !== (key === undefined)) throw new OptionError('--tls-cert and --tls-key go together');
  const reloadMs = flags.reloadInterval * 1000;
  const source: TableSource =
    'file' in routes
      ? fileTable(routes.file, reloadMs)
      : kubernetesTable({ ...routes, kubeconfig: flags.kubeconfig, logger });
  const shutdownDelayMs = flags.shutdownDelay * 1000;
  const shutdownGraceMs = flags.shutdownGrace * 1000;
  await untilSignal({
    start: () =>
      runGateway(
        {
          source,
          listen: flags.listen.map(listenOf),
          adminListen: listenOf(flags.adminListen),
          trustedProxies: flags.trustedProxies,
          tls: cert === undefined || key === undefined ? undefined : { cert, key },
          timeouts: {
            headersMs: flags.headersTimeout * 1000,
            keepAliveMs: flags.keepAliveTimeout * 1000,
            idleResponseMs: flags.responseTimeout * 1000,
          },
          connectTimeoutMs: flags.connectTimeout * 1000,
          connectWaitMs: flags.connectWait * 1000,
          maxRequests: flags.maxRequests,
          requestWaitMs: flags.requestWait * 1000,
          stallMs: flags.stallTime * 1000,
          reloadMs,
          shutdownDelayMs,
          shutdownGraceMs,
          version,
        },
        logger,
      ),
    onReady: ({ addresses, adminAddress }) => logger.info({ listen: addresses, admin: adminAddress }, 'ready'),
    graceMs: shutdownDelayMs + shutdownGraceMs,
    logger,
  });
}

function listenOf(text: string): Listen {
  const listen = parseListen(text);
  if (listen.cache !== undefined) throw new OptionError(`${text}: a gateway's listener is for all caches`);
  return listen;
}

function parsePlace(text: string): Place {
  const [, kind, where = ''] = /^(file|configmap):(.+)$/.exec(text) ?? [];
  if (kind === 'file') return { file: where };
  const [, namespace, name] = /^([^/]+)\/([^/]+)$/.exec(where) ?? [];
  if (kind === undefined || namespace === undefined || name === undefined)
    throw new InvalidArgumentError('expected file:PATH or configmap:NAMESPACE/NAME');
  return { namespace, name };
}

function secondsOrNone(text: string): number {
  const number = Number(text);
  if (!(text.trim() !== '' && number >= 0)) throw new InvalidArgumentError('expected a number of seconds');
  return number;
}
