/** The command `serve`: its flags, their environment variables, and the signals that end it. */
import { Command, Option } from 'commander';
import { defaultSettings } from '../cache/index.ts';
import { createLogger } from '../log.ts';
import { parseListen, type ServeOptions } from '../options.ts';
import { serve } from '../serve.ts';
import { defaultTimeouts } from '../wire/index.ts';
import { banner } from './banner.ts';
import { databaseWaitOption, dataOption, fileOption, secretsOption, storagesOption, umaskOption } from './flags.ts';
import {
  headersTimeoutOption,
  keepAliveTimeoutOption,
  logFormatOption,
  logLevelOption,
  responseTimeoutOption,
  stallTimeOption,
} from './listener-flags.ts';
import { untilSignal } from './until-signal.ts';
import { group, list, seconds, wholeNumber } from './values.ts';

interface ServeFlags {
  file: string[];
  data: string;
  secrets?: string;
  storages?: string;
  listen: string[];
  adminListen: string;
  apiUrl: string;
  alias: string[];
  trustedProxies: string[];
  xAccelPeers: string[];
  objectsGroup?: number;
  renameHost: boolean;
  logLevel: string;
  logFormat?: 'json' | 'pretty';
  headersTimeout: number;
  idleTimeout: number;
  bodyTimeout: number;
  keepAliveTimeout: number;
  responseTimeout: number;
  shutdownGrace: number;
  reloadInterval: number;
  housekeepingInterval: number;
  storageRetry: number;
  transientRetry: number;
  databaseConnections: number;
  databaseTimeout: number;
  databaseWait: number;
  moveGrace: number;
  rootsFirst: number;
  narinfoCacheSize: number;
  verifyThreads?: number;
  maxVerifications?: number;
  maxDownloads: number;
  downloadWait: number;
  maxPushBodies: number;
  minBodyRate: number;
  bodyRateTime: number;
  stallTime: number;
  bodyMemory: number;
  s3BufferSize: number;
  decoderMemory: number;
}

export function serveCommand(env: NodeJS.ProcessEnv): Command {
  return new Command('serve')
    .description('run the caches that the manifests describe (the default command)')
    .addOption(fileOption())
    .addOption(dataOption(env))
    .addOption(umaskOption())
    .addOption(secretsOption())
    .addOption(storagesOption())
    .addOption(
      new Option('--listen <address...>', 'host:port for all caches, or cache=host:port for one; repeatable')
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
      new Option('--api-url <url>', 'how clients reach this server; part of URLs and of key names')
        .env('NARWHAL_API_URL')
        .default('', 'http://localhost and the port of the first --listen'),
    )
    .addOption(
      new Option(
        '--alias <host...>',
        'further host (or URL) that is the API host too, or with cache=host the address of one cache; repeatable',
      )
        .env('NARWHAL_ALIAS')
        .argParser(list)
        .default([]),
    )
    .addOption(
      new Option(
        '--trusted-proxies <address...>',
        'IP addresses or networks whose X-Forwarded-For and X-Forwarded-Proto count; repeatable',
      )
        .env('NARWHAL_TRUSTED_PROXIES')
        .argParser(list)
        .default([]),
    )
    .addOption(
      new Option(
        '--x-accel-peers <address...>',
        'IP addresses or networks of an nginx on this machine that sends the files of local storages itself; repeatable',
      )
        .env('NARWHAL_X_ACCEL_PEERS')
        .argParser(list)
        .default([]),
    )
    .addOption(
      new Option(
        '--objects-group <group>',
        'name or number of a group that may read the files of objects, as that nginx; nothing else is opened',
      )
        .env('NARWHAL_OBJECTS_GROUP')
        .argParser(group),
    )
    .addOption(
      new Option('--rename-host', 'accept that the host of --api-url has changed; old and new key name then both sign')
        .env('NARWHAL_RENAME_HOST')
        .default(false),
    )
    .addOption(logLevelOption())
    .addOption(logFormatOption())
    .addOption(headersTimeoutOption())
    .addOption(
      seconds(
        '--idle-timeout <seconds>',
        'without a byte of a body',
        'NARWHAL_IDLE_TIMEOUT',
        defaultTimeouts.idleBodyMs / 1000,
      ),
    )
    .addOption(
      seconds(
        '--body-timeout <seconds>',
        'for all of a small body: a narinfo, a listing, a JSON text',
        'NARWHAL_BODY_TIMEOUT',
        defaultTimeouts.smallBodyMs / 1000,
      ),
    )
    .addOption(responseTimeoutOption())
    .addOption(keepAliveTimeoutOption())
    .addOption(
      seconds(
        '--shutdown-grace <seconds>',
        'for requests to finish when the server stops',
        'NARWHAL_SHUTDOWN_GRACE',
        30,
      ),
    )
    .addOption(
      seconds('--reload-interval <seconds>', 'between two looks for changed manifests', 'NARWHAL_RELOAD_INTERVAL', 1),
    )
    .addOption(
      seconds(
        '--housekeeping-interval <seconds>',
        'between two looks for expired uploads and orphaned NARs',
        'NARWHAL_HOUSEKEEPING_INTERVAL',
        60,
      ),
    )
    .addOption(
      seconds(
        '--storage-retry <seconds>',
        'between two looks at a storage that is unavailable',
        'NARWHAL_STORAGE_RETRY',
        5,
      ),
    )
    .addOption(
      seconds(
        '--transient-retry <seconds>',
        'for which a passing failure behind a push is retried inside the server',
        'NARWHAL_TRANSIENT_RETRY',
        120,
      ),
    )
    .addOption(
      new Option('--database-connections <count>', 'connections to PostgreSQL at most, for each cache that has one')
        .env('NARWHAL_DATABASE_CONNECTIONS')
        .argParser(wholeNumber)
        .default(defaultSettings.databaseConnections),
    )
    .addOption(
      seconds(
        '--database-timeout <seconds>',
        'for one statement of PostgreSQL',
        'NARWHAL_DATABASE_TIMEOUT',
        defaultSettings.databaseTimeoutMs / 1000,
      ),
    )
    .addOption(databaseWaitOption())
    .addOption(
      seconds(
        '--move-grace <seconds>',
        'for which the bytes of a moved object stay, for downloads that run',
        'NARWHAL_MOVE_GRACE',
        900,
      ),
    )
    .addOption(
      seconds(
        '--roots-first <seconds>',
        'for which paths stay that a removed one needed, for clients that have just asked for it',
        'NARWHAL_ROOTS_FIRST',
        600,
      ),
    )
    .addOption(
      new Option('--narinfo-cache-size <bytes>', 'memory for rendered narinfos of each cache')
        .env('NARWHAL_NARINFO_CACHE_SIZE')
        .argParser(wholeNumber)
        .default(64 * 2 ** 20),
    )
    .addOption(
      new Option('--verify-threads <count>', 'threads that verify NARs. Default: one for each core, at least 2')
        .env('NARWHAL_VERIFY_THREADS')
        .argParser(wholeNumber),
    )
    .addOption(
      new Option('--max-verifications <count>', 'verifications at one time. Default: 2 for each thread')
        .env('NARWHAL_MAX_VERIFICATIONS')
        .argParser(wholeNumber),
    )
    .addOption(
      new Option('--decoder-memory <bytes>', 'memory for decoders in each verify thread; what does not fit waits')
        .env('NARWHAL_DECODER_MEMORY')
        .argParser(wholeNumber)
        .default(192 * 2 ** 20),
    )
    .addOption(
      new Option('--max-downloads <count>', 'files that are sent at one time; further reads wait, then hear 503')
        .env('NARWHAL_MAX_DOWNLOADS')
        .argParser(wholeNumber)
        .default(1000),
    )
    .addOption(seconds('--download-wait <seconds>', 'for which a read waits for its turn', 'NARWHAL_DOWNLOAD_WAIT', 40))
    .addOption(
      new Option('--max-push-bodies <count>', 'NARs, parts and files that are received at one time; further ones wait')
        .env('NARWHAL_MAX_PUSH_BODIES')
        .argParser(wholeNumber)
        .default(500),
    )
    .addOption(
      new Option('--min-body-rate <bytes>', 'a second, over --body-rate-time; slower bodies are refused')
        .env('NARWHAL_MIN_BODY_RATE')
        .argParser(wholeNumber)
        .default(1024),
    )
    .addOption(
      seconds('--body-rate-time <seconds>', 'over which --min-body-rate is looked at', 'NARWHAL_BODY_RATE_TIME', 60),
    )
    .addOption(stallTimeOption())
    .addOption(
      new Option('--body-memory <bytes>', 'for narinfos, queries and other bodies read as a whole; further ones wait')
        .env('NARWHAL_BODY_MEMORY')
        .argParser(wholeNumber)
        .default(64 * 2 ** 20),
    )
    .addOption(
      new Option('--s3-buffer-size <bytes>', 'memory for bytes on their way to S3; pushes beyond it wait')
        .env('NARWHAL_S3_BUFFER_SIZE')
        .argParser(wholeNumber)
        .default(256 * 2 ** 20),
    )
    .addHelpText(
      'after',
      '\nOf a repeatable option, the environment variable holds all values, with commas between them.',
    )
    .action(async (flags: ServeFlags) => runServe(flags));
}

async function runServe(flags: ServeFlags): Promise<void> {
  const options = serveOptions(flags);
  const logger = createLogger(options.logLevel, options.prettyLog);
  await untilSignal({
    start: () => serve(options, logger),
    onReady(running) {
      process.on('SIGHUP', () => void running.reload());
      logger.info({ listen: running.addresses, admin: running.adminAddress, apiUrl: running.urls.api() }, 'ready');
      if (options.banner) process.stdout.write(`\n${banner(running, process.stdout.isTTY)}`);
    },
    graceMs: options.shutdownGraceMs,
    logger,
  });
}

function serveOptions(flags: ServeFlags): ServeOptions {
  const terminal = process.stderr.isTTY === true;
  return {
    files: flags.file,
    data: flags.data,
    secrets: flags.secrets,
    storages: flags.storages,
    listen: flags.listen.map(parseListen),
    adminListen: parseListen(flags.adminListen),
    apiUrl: flags.apiUrl,
    aliases: flags.alias,
    trustedProxies: flags.trustedProxies,
    fileSenders: flags.xAccelPeers,
    renameHost: flags.renameHost,
    logLevel: flags.logLevel,
    prettyLog: flags.logFormat === undefined ? terminal : flags.logFormat === 'pretty',
    // Who mounts Secrets is no person at a terminal: an operator, whose status tells the same.
    banner: flags.secrets === undefined,
    timeouts: {
      headersMs: flags.headersTimeout * 1000,
      idleBodyMs: flags.idleTimeout * 1000,
      smallBodyMs: flags.bodyTimeout * 1000,
      idleResponseMs: flags.responseTimeout * 1000,
      keepAliveMs: flags.keepAliveTimeout * 1000,
    },
    settings: {
      housekeepingMs: flags.housekeepingInterval * 1000,
      storageRetryMs: flags.storageRetry * 1000,
      transientRetryMs: flags.transientRetry * 1000,
      databaseConnections: flags.databaseConnections,
      databaseTimeoutMs: flags.databaseTimeout * 1000,
      databaseWaitMs: flags.databaseWait * 1000,
      moveGraceMs: flags.moveGrace * 1000,
      rootsFirstMs: flags.rootsFirst * 1000,
      objectsGid: flags.objectsGroup,
      narinfoCacheBytes: flags.narinfoCacheSize,
    },
    shutdownGraceMs: flags.shutdownGrace * 1000,
    reloadMs: flags.reloadInterval * 1000,
    verifyThreads: flags.verifyThreads,
    maxVerifications: flags.maxVerifications,
    decoderBytes: flags.decoderMemory,
    maxDownloads: flags.maxDownloads,
    downloadWaitMs: flags.downloadWait * 1000,
    maxPushBodies: flags.maxPushBodies,
    pace: { leastRate: flags.minBodyRate, overMs: flags.bodyRateTime * 1000 },
    stallMs: flags.stallTime * 1000,
    bodyMemoryBytes: flags.bodyMemory,
    s3BufferBytes: flags.s3BufferSize,
  };
}
