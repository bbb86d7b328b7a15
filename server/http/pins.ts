/**
 * The doors of pins, below `/api/v1/cache/<cache>`: one table for clients, who need a token, and for commands on the same
 * machine, who come by the control socket. `POST` is what `cachix pin` sends.
 */
import { type BinaryCache, type Permission, parseName, parsePin, type Revision, storePathOf } from '../cache/index.ts';
import { demand, demandToken } from './access.ts';
import { plainLimits, readJson } from './body.ts';
import { cacheOf } from './cachix.ts';
import type { Services } from './context.ts';
import { type Pages, sendJsonList } from './json-list.ts';
import type { Route } from './routes.ts';

/** A hundred artifacts of the longest paths, with quotes. */
export const PIN_JSON_BYTES = 512 * 1024;

interface Asking {
  /** The end of the path, where the door has one. */
  readonly name: string;
  readonly body: () => Promise<unknown>;
  /** Name of the token; null: somebody at the machine. */
  readonly token: string | null;
  /** Whether names of tokens are shown. */
  readonly isAdmin: boolean;
}

export interface PinDoor {
  /** Label in metrics and logs. */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly pattern: RegExp;
  readonly needs: Permission;
  /** What is listed; undefined: an empty answer. @throws CacheError */
  readonly answer: (cache: BinaryCache, asking: Asking) => Promise<Pages | undefined>;
}

const ALL = /^\/pin$/;
const ONE = /^\/pin\/(.+)$/;

export const pinDoors: readonly PinDoor[] = [
  {
    name: 'pin',
    method: 'POST',
    pattern: ALL,
    needs: 'Write',
    answer: async (cache, { body, token }) => {
      await cache.pins.pin(parsePin(await body()), token);
      return undefined;
    },
  },
  {
    name: 'pins',
    method: 'GET',
    pattern: ALL,
    needs: 'Read',
    answer: async (cache, { isAdmin }) =>
      each(cache.pins.list(), (revision) => ({ name: revision.name, lastRevision: shown(revision, isAdmin) })),
  },
  {
    name: 'pin-history',
    method: 'GET',
    pattern: ONE,
    needs: 'Read',
    answer: async (cache, { name, isAdmin }) =>
      each(cache.pins.history(parseName(name)), (revision) => shown(revision, isAdmin)),
  },
  {
    name: 'unpin',
    method: 'DELETE',
    pattern: ONE,
    needs: 'Write',
    answer: async (cache, { name }) => {
      await cache.pins.unpin(parseName(name));
      return undefined;
    },
  },
];

export function pinRoutes(services: Services): Route[] {
  const { small } = plainLimits(services);
  return pinDoors.map(({ name, method, pattern, needs, answer }) => ({
    name,
    method,
    pattern,
    handle: async (ctx, pin = '') => {
      const { req, res } = ctx;
      const cache = cacheOf(ctx);
      const { token = null, permission } = (needs === 'Read' ? demandToken : demand)(cache, req, needs);
      const body = () => readJson(req, res, { ...small, maxBytes: PIN_JSON_BYTES });
      const pages = await answer(cache, { name: pin, body, token, isAdmin: permission === 'Admin' });
      if (pages === undefined) ctx.body = '';
      else {
        ctx.respond = false;
        await sendJsonList(req, res, pages, services.timeouts.idleResponseMs);
      }
    },
  }));
}

/** A revision as `lastRevision` of Cachix has it, and what we know beside. */
export interface RevisionView {
  readonly revision: number;
  readonly storePath: string;
  readonly artifacts: readonly string[];
  readonly keep: Revision['keep'];
  readonly createdOn: string;
  readonly origin: Revision['origin'];
  /** Whether the path is published here. */
  readonly present: boolean;
  /** For administrators. */
  readonly token?: string | null;
}

function shown(revision: Revision, isAdmin: boolean): RevisionView {
  const { revision: number, artifacts, keep, createdAt, origin, isPresent, token } = revision;
  return {
    revision: number,
    storePath: storePathOf(revision),
    artifacts,
    keep,
    createdOn: new Date(createdAt).toISOString(),
    origin,
    present: isPresent,
    ...(isAdmin && { token }),
  };
}

async function* each<T>(pages: AsyncIterable<readonly T[]>, view: (item: T) => unknown): AsyncGenerator<unknown[]> {
  for await (const page of pages) yield page.map(view);
}
