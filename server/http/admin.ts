/**
 * The admin port: `/livez`, `/readyz`, `/metrics`, `/status`. Ready means that databases answer and a configuration is
 * loaded; an ill storage shows in `/readyz?verbose` and gates nothing, since taking the server away heals no disk.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import Koa from 'koa';
import type { ServerStatus } from '../../crds/index.ts';
import { type Caches, lineOf } from '../cache/index.ts';
import { type Listen, listenOn } from '../wire/index.ts';
import type { Metrics } from './metrics.ts';

export interface AdminInit {
  readonly caches: Caches;
  readonly metrics: Metrics;
  readonly config: () => ServerStatus['config'];
  /** False until the first configuration runs, and again once the server shuts down. */
  readonly ready: () => boolean;
  readonly version: string;
}

interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** Whether it decides about readiness. */
  readonly gates: boolean;
  readonly text: string;
}

export class AdminServer {
  readonly #server: Server;

  constructor(init: AdminInit) {
    const app = new Koa();
    app.silent = true;
    app.use(async (ctx) => {
      switch (ctx.path) {
        case '/livez':
          ctx.body = 'ok\n';
          return;
        case '/readyz':
          return readyz(init, ctx);
        case '/metrics':
          ctx.type = init.metrics.registry.contentType;
          ctx.body = await init.metrics.registry.metrics();
          return;
        case '/status':
          ctx.body = await status(init);
          return;
        default:
          ctx.status = 404;
          ctx.body = 'not found: /livez, /readyz, /metrics, /status\n';
      }
    });
    this.#server = createServer(app.callback());
  }

  listen(on: Listen): Promise<AddressInfo> {
    return listenOn(this.#server, on);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

async function readyz(init: AdminInit, ctx: Koa.Context): Promise<void> {
  const checks = await runChecks(init);
  const ready = checks.every((check) => check.ok || !check.gates);
  ctx.status = ready ? 200 : 503;
  const verbose = 'verbose' in ctx.query;
  const lines = checks.map((check) => `[${check.ok ? '+' : check.gates ? '-' : '!'}] ${check.name}: ${check.text}`);
  ctx.body = `${[...(verbose ? lines : []), ready ? 'ready' : 'not ready'].join('\n')}\n`;
}

async function runChecks(init: AdminInit): Promise<Check[]> {
  const checks: Check[] = [
    { name: 'running', ok: init.ready(), gates: true, text: init.ready() ? 'yes' : 'starting or stopping' },
  ];
  const { error } = init.config();
  checks.push({ name: 'configuration', ok: error === null, gates: false, text: error ?? 'loaded' });
  for (const cache of init.caches.list()) {
    const database = await cache.database.ping().then(
      () => undefined,
      (error: unknown) => String(error),
    );
    checks.push({
      name: `cache ${cache.name} database`,
      ok: database === undefined,
      gates: true,
      text: database ?? 'answers',
    });
    const { lost } = cache.keys;
    checks.push({
      name: `cache ${cache.name} signing key`,
      ok: lost === undefined,
      gates: false,
      text: lost ?? 'present',
    });
    for (const storage of await cache.storageReport()) {
      checks.push({
        name: `cache ${cache.name} storage ${storage.name}`,
        ok: storage.phase !== 'Unavailable' && storage.phase !== 'Paused',
        gates: false,
        text: lineOf(storage),
      });
    }
  }
  return checks;
}

async function status(init: AdminInit): Promise<ServerStatus> {
  return {
    version: init.version,
    ready: init.ready(),
    config: init.config(),
    caches: await Promise.all(
      init.caches.list().map(async (cache) => ({
        name: cache.name,
        access: cache.isPublic ? 'Public' : 'Private',
        paths: cache.paths.count,
        publicKeys: cache.keys.publicKeys(),
        keysLost: cache.keys.lost ?? null,
        uploads: cache.uploads.active,
        storages: await cache.storageReport(),
      })),
    ),
  };
}
