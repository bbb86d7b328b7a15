/**
 * Which published paths may be handed to readers: those whose whole closure is here. Rows decide, so that all servers
 * agree. Where servers share a database neither of two transactions sees what the other has not committed: therefore what
 * a write has changed is looked at again *after* its commit, in a new snapshot. Of two writes that miss each other the one
 * that looks last sees the other; what a dead server did not look at any more, `tend` does.
 */
import { setImmediate as breathe, setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Database, isConstraint } from '../../metadata/index.ts';
import type { Leases } from '../database/index.ts';
import { Closing } from './closing.ts';
import {
  afterPublishQuery,
  closingStatements,
  endedWaitsQuery,
  inParts,
  insertWaits,
  isServable,
  PAGE,
  type Referring,
  type ReferringRow,
  referringOf,
  UNCHECKED_QUERY,
  WAITS_QUERY,
  type Wait,
  wantedBy,
} from './rows.ts';

export interface ClosuresInit {
  readonly database: Database;
  readonly leases: Leases;
  readonly logger: Logger;
}

/** What waits for something of its closure. */
export interface WaitingReport {
  /** Paths; at most `MOST_COUNTED`, where there may be more. */
  readonly paths: number;
  /** Since when the one that waits longest does. */
  readonly since: Date | undefined;
}

export const MOST_COUNTED = 10_000;
/** Its plan is tested. */
export const REPORT_QUERY = `SELECT count(DISTINCT path) AS paths, min(since) AS since
  FROM (SELECT path, since FROM waiting ORDER BY since LIMIT ${MOST_COUNTED}) AS oldest`;
/** Between two attempts at the lease. */
const LEASE_MS = 1000;
/** How often a page is looked at again whose rows others change meanwhile. */
const ATTEMPTS = 5;

export class Closures {
  readonly #init: ClosuresInit;
  readonly #closing: Closing;
  #onChanged: (hashParts: readonly string[]) => void = () => {};
  #onAwaited: (hashParts: readonly string[]) => Promise<unknown> = async () => {};
  /** Where the look at all waits goes on. */
  #position: readonly [string, string] = ['', ''];
  #tending: Promise<void> | undefined;
  /** What is being opened, by the path that it began with. */
  readonly #openings = new Map<string, Promise<void>>();
  #isWoken = false;
  readonly #stopping = new AbortController();

  constructor(init: ClosuresInit) {
    this.#init = init;
    this.#closing = new Closing({ database: init.database, note: (paths) => this.#note(paths) });
  }

  /**
   * @param onChanged hears of paths that readers get, or get no more, from now on: what is remembered of them is old
   * @param onAwaited is asked for what paths wait for: it may be here, out of sight
   */
  start(
    onChanged: (hashParts: readonly string[]) => void,
    onAwaited: (hashParts: readonly string[]) => Promise<unknown>,
  ): void {
    this.#onChanged = onChanged;
    this.#onAwaited = onAwaited;
  }

  /** Paths have stopped being servable: looks for all that refer to them, in the background. */
  wake(): void {
    this.#isWoken = true;
    this.#tending ??= this.#tendWhileWoken().finally(() => {
      this.#tending = undefined;
    });
  }

  async #tendWhileWoken(): Promise<void> {
    const { signal } = this.#stopping;
    while (this.#isWoken && !signal.aborted) {
      this.#isWoken = false;
      try {
        if (await this.tend()) continue;
        // Another server tends them, and may have been about to stop.
        this.#isWoken = true;
        await sleep(LEASE_MS, undefined, { signal, ref: false });
      } catch (error) {
        if (!signal.aborted)
          this.#init.logger.warn({ err: error }, 'closures could not be looked at; it will be tried again');
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#tending;
  }

  /**
   * After the commit that published a path: opens it and those who wait for it, where that is so. The usual push costs one
   * look, which finds nothing. Whether it waits for something that was not here at the time of that look.
   */
  async published(path: Referring): Promise<boolean> {
    const { database } = this.#init;
    const { hashPart } = path;
    const [found] = await database.query<Record<'awaited' | 'waits' | 'ended' | 'unnoticed', boolean | number>>(
      afterPublishQuery(database),
      [hashPart, hashPart, hashPart, database.list(wantedBy(path)), hashPart],
    );
    if (found?.unnoticed) await this.#note([path]);
    if (found?.ended) await this.opened(await this.waitsOf(hashPart));
    else if (found?.awaited && !found.waits) await this.opened([hashPart]);
    // Who looks at all waits may have ended those for this path a moment ago, and not have told of it yet.
    else await this.#openings.get(hashPart);
    return Boolean(found?.waits) || Boolean(found?.unnoticed);
  }

  /** The same for many, after the commit that brought them back. */
  async restored(paths: readonly Referring[]): Promise<void> {
    for (const some of inParts(paths)) await this.#note(some);
    await this.opened(paths.map((path) => path.hashPart));
  }

  /** Paths that may be servable now: whoever waited for nothing else follows, and so on. */
  async opened(hashParts: readonly string[]): Promise<void> {
    // Who opens the same at this moment may have ended its waits, and not have come to those that follow.
    const others = hashParts.map((hashPart) => this.#openings.get(hashPart));
    const opening = Promise.all([this.#open(hashParts), ...others]).then(() => {});
    for (const hashPart of hashParts) this.#openings.set(hashPart, opening);
    try {
      await opening;
    } finally {
      for (const hashPart of hashParts) if (this.#openings.get(hashPart) === opening) this.#openings.delete(hashPart);
    }
  }

  async #open(hashParts: readonly string[]): Promise<void> {
    const frontier = [...hashParts];
    while (frontier.length > 0 && !this.#stopping.signal.aborted) {
      const some = frontier.splice(-PAGE);
      for (let ended = await this.#endedWaits(some); ended.length > 0; ended = await this.#endedWaits(some)) {
        frontier.push(...(await this.#end(ended)));
        await breathe();
      }
    }
  }

  #endedWaits(missing: readonly string[]): Promise<Wait[]> {
    const { database } = this.#init;
    return database.query<Wait>(endedWaitsQuery(database), [database.list(missing)]);
  }

  /** Removes waits, and tells of the paths that have none left: those. */
  async #end(waits: readonly Wait[]): Promise<string[]> {
    const { database } = this.#init;
    const paths = [...new Set(waits.map((wait) => wait.path))];
    const missing = [...new Set(waits.map((wait) => wait.missing))];
    // Need not outlive a loss of power: the next look finds them again.
    await database.script(
      [
        [
          `DELETE FROM waiting WHERE ${database.isOneOf('path')} AND ${database.isOneOf('missing')}
             AND ${isServable('waiting.missing')}`,
          database.list(paths),
          database.list(missing),
        ],
      ],
      'process',
    );
    const rows = await database.query<ReferringRow>(
      `SELECT p.hash_part, p.refs FROM paths p
       WHERE ${database.isOneOf('p.hash_part')} AND ${isServable('p.hash_part')}`,
      [database.list(paths)],
    );
    // What one of them waited for may have gone while the rows were removed by what was true before.
    if (database.isShared) await this.#note(rows.map(referringOf));
    const open = rows.map((row) => row.hash_part);
    await this.#tell(open);
    return open;
  }

  async #tell(hashParts: readonly string[]): Promise<void> {
    if (hashParts.length === 0) return;
    this.#onChanged(hashParts);
    const { database } = this.#init;
    const announcements = database.announce(hashParts);
    if (announcements.length > 0) await database.script(announcements, 'process');
  }

  /**
   * Looks at paths that readers may get although something of their closure is not here, and has them wait: those that
   * do so from now on. Their referrers are looked for next.
   */
  async #note(paths: readonly Referring[], isCheck = false): Promise<string[]> {
    const { database } = this.#init;
    const noted = new Set<string>();
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const now = await this.#noteOnce(paths, isCheck && attempt === 0);
      for (const hashPart of now) noted.add(hashPart);
      // Another server may have published something, or lost it, that this transaction did not see.
      if (now.length === 0 || !database.isShared) break;
    }
    if (noted.size > 0) {
      this.#isWoken = true;
      await this.#tell([...noted]);
      if (this.#tending === undefined) this.wake();
    }
    return [...noted];
  }

  async #noteOnce(paths: readonly Referring[], isCheck: boolean): Promise<string[]> {
    const { database } = this.#init;
    const write = () =>
      database.write(async (sql) => {
        const fresh = await insertWaits(sql, database, paths);
        await sql.run([...closingStatements(fresh), ...(isCheck ? [checkedStatement(database, paths)] : [])]);
        return fresh;
      });
    try {
      return await write();
    } catch (error) {
      // A path was removed on another server between look and insert.
      if (!isConstraint(error)) throw error;
      return write();
    }
  }

  /** What a path waits for. */
  async waitsOf(hashPart: string): Promise<string[]> {
    const rows = await this.#init.database.query<Wait>('SELECT missing FROM waiting WHERE path = ? ORDER BY missing', [
      hashPart,
    ]);
    return rows.map((row) => row.missing);
  }

  async report(): Promise<WaitingReport> {
    const [row] = await this.#init.database.query<{ paths: number; since: number | null }>(REPORT_QUERY);
    return { paths: Number(row?.paths ?? 0), since: row?.since == null ? undefined : new Date(Number(row.since)) };
  }

  /**
   * One look at everything that may have been left undone: paths of older versions, referrers of what has gone, waits for
   * what is here. Of several servers one does it. False: another one does.
   */
  async tend(): Promise<boolean> {
    const lease = await this.#init.leases.acquire('closures');
    if (lease === undefined) return false;
    const signal = AbortSignal.any([this.#stopping.signal, lease.signal]);
    try {
      await this.#check(signal);
      await this.#closing.run(signal);
      await this.#sweep();
      return true;
    } finally {
      await lease.release();
    }
  }

  /** Paths that an older version has published are answered as if nothing were missing until they were looked at. */
  async #check(signal: AbortSignal): Promise<void> {
    const { database, logger } = this.#init;
    let [checked, waiting] = [0, 0];
    while (!signal.aborted) {
      const rows = await database.query<ReferringRow>(UNCHECKED_QUERY);
      if (rows.length === 0) break;
      waiting += (await this.#note(rows.map(referringOf), true)).length;
      checked += rows.length;
      await breathe();
    }
    if (waiting > 0)
      logger.warn(
        { checked, waiting },
        'paths of an older version lack something of their closure: readers get them no more',
      );
  }

  /** One page of all waits: a server may have died before it opened what it could. */
  async #sweep(): Promise<void> {
    const { database } = this.#init;
    const rows = await database.query<Wait>(WAITS_QUERY, this.#position);
    const last = rows.at(-1);
    this.#position = last === undefined || rows.length < PAGE ? ['', ''] : [last.missing, last.path];
    const missing = [...new Set(rows.map((row) => row.missing))];
    await this.opened(missing);
    if (missing.length > 0) await this.#onAwaited(missing);
  }
}

function checkedStatement(
  database: Pick<Database, 'isOneOf' | 'list'>,
  paths: readonly Referring[],
): readonly [string, ReturnType<Database['list']>] {
  const list = database.list(paths.map((path) => path.hashPart));
  return [`UPDATE paths SET closure_checked = 1 WHERE ${database.isOneOf('hash_part')}`, list];
}
