/**
 * The admin port: `/livez`, `/readyz`, `/metrics`, `/status`. Ready means that databases answer and a configuration is
 * loaded; an ill storage shows in `/readyz?verbose` and gates nothing, since taking the server away heals no disk.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import Koa from 'koa';
import type { ServerStatus } from '../../crds/index.ts';
import { type BinaryCache, type Caches, lineOf, wordsOfLost } from '../cache/index.ts';
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
    const trouble = await databaseTrouble(cache);
    checks.push({
      name: `cache ${cache.name} database`,
      ok: trouble === undefined,
      gates: trouble?.isAway ?? true,
      text: trouble?.text ?? 'answers',
    });
    const { lost } = cache.keys;
    checks.push({
      name: `cache ${cache.name} signing key`,
      ok: lost === undefined,
      gates: false,
      text: lost ?? 'present',
    });
    const counts = await cache.lost.counts().catch(() => undefined);
    checks.push({
      name: `cache ${cache.name} objects`,
      ok: counts?.size === 0,
      gates: false,
      text: counts === undefined ? 'whether any is lost is not known' : wordsOfLost(counts),
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

/** SQLite needs room for whole pages, and for its log of them. */
const LEAST_FREE_BYTES = 2 ** 20;
/** Less than the patience of those who ask. */
const PING_MS = 2000;

/** What is wrong with a database. One without room still answers, and all that is published is served. */
async function databaseTrouble({ database }: BinaryCache): Promise<{ isAway: boolean; text: string } | undefined> {
  try {
    const isThere = await Promise.race([database.ping().then(() => true), sleep(PING_MS, false, { ref: false })]);
    if (!isThere) return { isAway: true, text: `the database does not answer within ${PING_MS / 1000} s` };
    const free = await database.freeBytes();
    if (free === undefined || free >= LEAST_FREE_BYTES) return undefined;
    return { isAway: false, text: `the disk of the database is full: ${free} bytes are free` };
  } catch (error) {
    return { isAway: true, text: `the database does not answer: ${error instanceof Error ? error.message : error}` };
  }
}

async function lostObjects({ lost }: BinaryCache): Promise<number | null> {
  const counts = await lost.counts().catch(() => undefined);
  return counts === undefined ? null : [...counts.values()].reduce((sum, n) => sum + n, 0);
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
        databaseError: (await databaseTrouble(cache))?.text ?? null,
        keysLost: cache.keys.lost ?? null,
        uploads: cache.uploads.active,
        lostObjects: await lostObjects(cache),
        scrubs: await cache.scrub.report().catch(() => []),
        storages: await cache.storageReport(),
      })),
    ),
  };
}
