/**
 * The admin port: `/livez`, `/readyz`, `/metrics`, `/status`. Ready means that databases answer and a configuration is
 * loaded; an ill storage shows in `/readyz?verbose` and gates nothing, since taking the server away heals no disk.
 */
import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CacheStatus, redirectTrouble, type ServerStatus } from '../../crds/index.ts';
import { type BinaryCache, type Caches, lineOf, soon, wordsOfLost } from '../cache/index.ts';
import { DatabaseError } from '../metadata/index.ts';
import { createDoor, type Listen, listenOn, rawPath, rawQuery, sendWhole } from '../wire/index.ts';
import { factsOf } from './facts.ts';
import type { Metrics } from './metrics.ts';
import type { Urls } from './urls.ts';

export interface AdminInit {
  readonly caches: Caches;
  readonly metrics: Metrics;
  readonly urls: Urls;
  readonly config: () => ServerStatus['config'];
  /** False until the first configuration runs, and again once the server shuts down. */
  readonly ready: () => boolean;
  readonly version: string;
}

const TEXT = 'text/plain; charset=utf-8';
const JSON_TYPE = 'application/json; charset=utf-8';

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
    this.#server = createDoor({
      logger: init.metrics.logger,
      handle: (request, response) => answer(init, request.url ?? '/', response),
    });
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

async function answer(init: AdminInit, url: string, response: ServerResponse): Promise<void> {
  switch (rawPath(url)) {
    case '/livez':
      return sendWhole(response, 200, TEXT, 'ok\n');
    case '/readyz':
      return readyz(init, rawQuery(url).has('verbose'), response);
    case '/metrics': {
      const { registry } = init.metrics;
      return sendWhole(response, 200, registry.contentType, await registry.metrics());
    }
    case '/status':
      return sendWhole(response, 200, JSON_TYPE, JSON.stringify(await status(init)));
    default:
      return sendWhole(response, 404, TEXT, 'not found: /livez, /readyz, /metrics, /status\n');
  }
}

async function readyz(init: AdminInit, isVerbose: boolean, response: ServerResponse): Promise<void> {
  const checks = await runChecks(init);
  const ready = checks.every((check) => check.ok || !check.gates);
  const lines = checks.map((check) => `[${check.ok ? '+' : check.gates ? '-' : '!'}] ${check.name}: ${check.text}`);
  const text = [...(isVerbose ? lines : []), ready ? 'ready' : 'not ready'].join('\n');
  sendWhole(response, ready ? 200 : 503, TEXT, `${text}\n`);
}

async function runChecks(init: AdminInit): Promise<Check[]> {
  const checks: Check[] = [
    { name: 'running', ok: init.ready(), gates: true, text: init.ready() ? 'yes' : 'starting or stopping' },
  ];
  const { error } = init.config();
  checks.push({ name: 'configuration', ok: error === null, gates: false, text: error ?? 'loaded' });
  for (const cache of init.caches.list()) {
    const [trouble, counts, storages] = await Promise.all([
      databaseTrouble(cache),
      soon(cache.lost.counts()),
      cache.storageReport(),
    ]);
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
    checks.push({
      name: `cache ${cache.name} objects`,
      ok: counts?.size === 0,
      gates: false,
      text: counts === undefined ? 'whether any is lost is not known' : wordsOfLost(counts),
    });
    for (const storage of storages) {
      checks.push({
        name: `cache ${cache.name} storage ${storage.name}`,
        ok: storage.phase !== 'Unavailable' && storage.phase !== 'Paused' && !storage.full,
        gates: false,
        text: lineOf(storage),
      });
    }
    for (const { storage, text } of redirectTroubles(cache, init.urls))
      checks.push({ name: `cache ${cache.name} redirects of storage ${storage}`, ok: false, gates: false, text });
  }
  return checks;
}

/** Storages whose redirects would have nix send the cache's token to S3, and what to say of each. */
export function redirectTroubles(
  { name, resolved }: Pick<BinaryCache, 'name' | 'resolved'>,
  urls: Urls,
): { storage: string; text: string }[] {
  return resolved.storages.flatMap(({ name: storage, at }) => {
    const text = at.kind === 's3' ? redirectTrouble(at.config, urls.hostsOf(name)) : undefined;
    return text === undefined ? [] : [{ storage, text }];
  });
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
    // What memory and the sound part of the file hold is served on: taking the server away would end that too.
    if (error instanceof DatabaseError && error.code === 'Damaged') return { isAway: false, text: error.message };
    return { isAway: true, text: `the database does not answer: ${error instanceof Error ? error.message : error}` };
  }
}

async function statusOf(cache: BinaryCache): Promise<CacheStatus> {
  // Side by side: where the database is away each waits for it as long as may be.
  const [trouble, facts] = await Promise.all([databaseTrouble(cache), factsOf(cache)]);
  return {
    name: cache.name,
    access: cache.isPublic ? 'Public' : 'Private',
    publicKeys: cache.keys.publicKeys(),
    databaseError: trouble?.text ?? null,
    keysLost: cache.keys.lost ?? null,
    uploads: cache.uploads.active,
    ...facts,
  };
}

async function status(init: AdminInit): Promise<ServerStatus> {
  return {
    version: init.version,
    ready: init.ready(),
    config: init.config(),
    caches: await Promise.all(init.caches.list().map(statusOf)),
  };
}
