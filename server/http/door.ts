/**
 * Doors for people and their scripts, below `/api/v1/cache/<cache>`: one table for clients, who need a token, and for commands
 * on the same machine, who come by the control socket or have the cache open themselves.
 */
import type { BinaryCache, Permission } from '../cache/index.ts';
import { rawQuery, untilClosed } from '../wire/index.ts';
import { demand, demandToken } from './access.ts';
import { plainLimits, readJson } from './body.ts';
import { cacheOf } from './cachix.ts';
import type { Services } from './context.ts';
import { type DoorAnswer, sendAnswer } from './door-answer.ts';
import type { Route } from './routes.ts';

export interface Asking {
  /** The end of the path, where the door has one. */
  readonly name: string;
  readonly query: ReadonlyMap<string, string>;
  readonly body: () => Promise<unknown>;
  /** Name of the token; null: somebody at the machine. */
  readonly token: string | null;
  /** Whether names of tokens and reasons are shown. */
  readonly isAdmin: boolean;
  /** Whether somebody asks who has no token of the cache, where everybody may read. */
  readonly isAnonymous: boolean;
  /** Aborted when whoever asks has gone. */
  readonly signal: AbortSignal;
}

export interface Door {
  /** Label in metrics and logs. */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly pattern: RegExp;
  readonly needs: Permission;
  /** Whether what needs Read is open to everybody where reading is. */
  readonly isOpen?: boolean;
  /** What a body may have at most. */
  readonly bodyBytes?: number;
  /** @throws CacheError */
  readonly answer: (cache: BinaryCache, asking: Asking) => Promise<DoorAnswer>;
}

/** The door that a request is for, and the end of its path; undefined: there is none. */
export function findDoor(
  doors: readonly Door[],
  method: string,
  path: string,
): { readonly door: Door; readonly name: string } | undefined {
  for (const door of doors) {
    const match = door.method === method ? door.pattern.exec(path) : null;
    if (match !== null) return { door, name: match[1] ?? '' };
  }
  return undefined;
}

export function doorRoutes(services: Services, doors: readonly Door[]): Route[] {
  const { small } = plainLimits(services);
  return doors.map((door) => ({
    name: door.name,
    method: door.method,
    pattern: door.pattern,
    handle: async (ctx, name = '') => {
      const { req, res } = ctx;
      const cache = cacheOf(ctx);
      // What lists things of a cache needs a token also where everybody may read.
      const admit = door.needs === 'Read' && !door.isOpen ? demandToken : demand;
      const { token = null, permission } = admit(cache, req, door.needs);
      const body = () => readJson(req, res, { ...small, maxBytes: door.bodyBytes ?? 0 });
      const who = { token, isAdmin: permission === 'Admin', isAnonymous: permission === undefined };
      const asked = { name, query: rawQuery(req.url ?? '/'), body, ...who };
      await untilClosed(res, async (signal) => {
        const answer = await door.answer(cache, { ...asked, signal });
        ctx.respond = false;
        await sendAnswer(req, res, answer, services.timeouts.idleResponseMs);
      }).catch((error: unknown) => {
        // Nobody hears an answer any more.
        if (!res.closed) throw error;
      });
    },
  }));
}
