/** `narwhal-server serve`: wires the rooms, starts and stops them in order. */
import { mkdir } from 'node:fs/promises';
import type { Logger } from 'pino';
import { type Documents, formatManifestError, loadManifests } from '../crds/index.ts';
import { Caches, Verifier } from './cache/index.ts';
import {
  AdminServer,
  ControlServer,
  HttpServer,
  Metrics,
  Reader,
  redirectTroubles,
  type Services,
  Urls,
  watchGauges,
} from './http/index.ts';
import { type Configuration, type ConfigurationPlace, readConfiguration } from './manifests.ts';
import { defaultApiUrl, type ServeOptions } from './options.ts';
import { Reload } from './reload.ts';
import { Budget } from './shares/index.ts';
import { ByteBudget } from './storage/index.ts';
import { version } from './version.ts';
import { hostPort, Networks, TrustedProxies } from './wire/index.ts';

/** A running server. */
export interface Running {
  readonly caches: Caches;
  readonly urls: Urls;
  /** `host:port` that each listener has, in the order of the options. */
  readonly addresses: readonly string[];
  readonly adminAddress: string;
  /** Reads the manifests now instead of at the next tick. */
  reload(): Promise<void>;
  /** Stops accepting, finishes requests, closes everything. */
  stop(): Promise<void>;
}

/** A configuration that cannot be run; the message has one line for each mistake. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

export async function serve(options: ServeOptions, logger: Logger): Promise<Running> {
  const place: ConfigurationPlace = { files: options.files, secrets: options.secrets };
  const configuration = await readConfiguration(place);
  const documents = load(configuration, logger);
  await mkdir(options.data, { recursive: true, mode: 0o700 });
  const metrics = new Metrics(logger);
  const verifier = new Verifier({
    onVerdict: (milliseconds) => metrics.verified(milliseconds),
    decoderBytes: options.decoderBytes,
    ...(options.verifyThreads !== undefined && { threads: options.verifyThreads }),
    ...(options.maxVerifications !== undefined && { maxConcurrent: options.maxVerifications }),
  });
  const first = options.listen[0];
  if (first === undefined) throw new ConfigurationError('no --listen address');
  // A port of 0 is known only once it listens; the caches need the host name alone, before that.
  const urls = new Urls(options.apiUrl || defaultApiUrl(first, first.port), options.aliases);
  const { data, renameHost, settings, shutdownGraceMs: graceMs } = options;
  const proxies = new TrustedProxies(options.trustedProxies);
  const { stallMs, pace } = options;
  const stalls = { stallMs, leastRate: pace.leastRate };
  const budget = new ByteBudget(options.s3BufferBytes, stalls);
  const caches = new Caches({
    data,
    volumes: options.storages,
    host: urls.host,
    renameHost,
    version,
    verifier,
    logger,
    metrics,
    budget,
    settings,
    graceMs,
    inspecting: false,
  });
  const run = async (documents: Documents) => {
    await caches.apply(documents);
    urls.useHosts(documents.binaryCaches);
    for (const cache of caches.list())
      for (const { storage, text } of redirectTroubles(cache, urls)) logger.warn({ cache: cache.name, storage }, text);
  };
  const apply = async (next: Configuration) => run(load(next, logger));
  const reload = new Reload({ place, intervalMs: options.reloadMs, apply, logger }, configuration);
  let ready = false;
  const admin = new AdminServer({ caches, metrics, urls, config: () => reload.status, ready: () => ready, version });
  const services: Services = {
    caches,
    urls,
    reader: new Reader(metrics, {
      downloads: new Budget({ units: options.maxDownloads, ...stalls }),
      waitMs: options.downloadWaitMs,
      idleMs: options.timeouts.idleResponseMs,
      proxies,
      fileSenders: new Networks('--x-accel-peers', options.fileSenders),
    }),
    metrics,
    logger,
    timeouts: options.timeouts,
    proxies,
    pace,
    pushBodies: new Budget({ units: options.maxPushBodies, ...stalls }),
    bodyMemory: new Budget({ units: options.bodyMemoryBytes, isSmallFirst: true, ...stalls }),
  };
  const servers = options.listen.map((listen) => new HttpServer(services, listen));
  const started: { close(graceMs: number): Promise<void> }[] = [{ close: () => verifier.stop() }];
  try {
    await run(documents);
    started.push(caches);
    watchGauges(metrics.registry, caches, verifier, services, budget);
    const adminAddress = await admin.listen(options.adminListen);
    started.push(admin);
    const control = new ControlServer({ caches, folder: data, logger });
    await control.listen();
    started.push(control);
    const addresses: string[] = [];
    for (const server of servers) {
      const address = await server.listen();
      addresses.push(hostPort(address));
      if (addresses.length === 1)
        urls.usePort(options.apiUrl === '' ? defaultApiUrl(first, address.port) : options.apiUrl);
    }
    ready = true;
    reload.start();
    let stopping: Promise<void> | undefined;
    return {
      caches,
      urls,
      addresses,
      adminAddress: hostPort(adminAddress),
      reload: () => reload.check(),
      stop: () => {
        stopping ??= (async () => {
          ready = false;
          await reload.stop();
          const deadline = Date.now() + graceMs;
          await Promise.all(servers.map((server) => server.close(graceMs)));
          for (const it of started.reverse()) await it.close(Math.max(0, deadline - Date.now()));
        })();
        return stopping;
      },
    };
  } catch (error) {
    await Promise.all(servers.map((server) => server.close(0)));
    for (const it of started.reverse()) await it.close(0).catch(() => {});
    throw error;
  }
}

/** Checks manifests for this server. @throws ConfigurationError with all mistakes */
export function load({ given, sources, secrets }: Configuration, logger: Logger): Documents {
  const { documents, errors, notes } = loadManifests(sources, { target: 'server', mounted: secrets });
  for (const note of notes) logger.info(note);
  if (errors.length > 0) throw new ConfigurationError(errors.map(formatManifestError).join('\n'));
  if (documents.binaryCaches.length === 0)
    throw new ConfigurationError(`no BinaryCache in ${given.join(', ')}; write one, or name another with -f`);
  return documents;
}
