/**
 * Looks at all objects in the background, so that what is lost is known before somebody needs it: their sizes daily, their
 * contents as often as the manifest says. How far it is lies in rows: a restart goes on from there, and of several servers
 * on one database one does it, by a lease.
 */
import type { Logger } from 'pino';
import type { ScrubStatus } from '../../../crds/index.ts';
import type { Database } from '../../metadata/index.ts';
import { StorageUnavailableError } from '../../storage/index.ts';
import type { Leases } from '../database/index.ts';
import { inParallel, RateLimit } from '../flow/index.ts';
import { type ObjectRow, objectsAfter } from '../objects/index.ts';
import { examine, type Lost } from '../paths/index.ts';
import type { Settings } from '../settings.ts';
import type { Storages } from '../storages/index.ts';

export interface ScrubInit {
  readonly database: Database;
  readonly storages: Storages;
  readonly lost: Pick<Lost, 'report' | 'restore'>;
  readonly leases: Leases;
  readonly settings: Settings;
  readonly logger: Logger;
}

export type Depth = ScrubStatus['depth'];

interface ScrubRow {
  readonly depth: Depth;
  readonly begun_at: number;
  readonly ended_at: number | null;
  readonly position: number;
  readonly objects: number;
  readonly bytes: number;
  readonly lost: number;
}

const DEPTHS: readonly Depth[] = ['sizes', 'contents'];
const DAY_MS = 24 * 3600_000;
/** A look at a size counts as so many bytes: the rate bounds requests to S3 too. */
const LOOK_BYTES = 64 * 1024;
/** At one time: each look at S3 takes a trip. */
const AT_ONCE = 4;
/** Objects, and bytes of them, after which the position is noted. */
const NOTED_AFTER = { objects: 200, bytes: 2 ** 30 };

/** Whether a look is to begin, or to go on. */
export function isDue(row: Pick<ScrubRow, 'begun_at' | 'ended_at'> | undefined, everyMs: number, now: number): boolean {
  return row === undefined || row.ended_at === null || row.begun_at + everyMs <= now;
}

export class Scrub {
  readonly #init: ScrubInit;
  readonly #rate: RateLimit;
  #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(init: ScrubInit) {
    this.#init = init;
    this.#rate = new RateLimit({ bytesPerSecond: () => init.settings.scrubBytesPerSecond });
  }

  start(): void {
    this.#timer = setInterval(() => this.wake(), this.#init.settings.housekeepingMs).unref();
    this.wake();
  }

  /** The manifest may have turned it on. */
  wake(): void {
    if (this.#timer === undefined) return;
    this.#running ??= this.#run()
      .catch((error: unknown) => {
        if (!this.#stopping.signal.aborted)
          this.#init.logger.warn({ err: error }, 'the scrub was interrupted; it goes on later');
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#stopping.abort();
    await this.#running;
  }

  /** How far each look is, or when it ended. */
  async report(): Promise<ScrubStatus[]> {
    const rows = await this.#init.database.query<ScrubRow>('SELECT * FROM scrubs ORDER BY depth');
    return rows.map(({ depth, begun_at: begunAt, ended_at: endedAt, objects, bytes, lost }) => ({
      depth,
      begunAt: new Date(begunAt).toISOString(),
      endedAt: endedAt === null ? null : new Date(endedAt).toISOString(),
      objects,
      bytes,
      lost,
    }));
  }

  #everyMs(depth: Depth): number | undefined {
    const { scrubEveryMs } = this.#init.settings;
    return scrubEveryMs === undefined || depth === 'contents' ? scrubEveryMs : Math.min(scrubEveryMs, DAY_MS);
  }

  async #run(): Promise<void> {
    if (this.#init.settings.scrubEveryMs === undefined) return;
    const due: Depth[] = [];
    for (const depth of DEPTHS) if (await this.#isDue(depth)) due.push(depth);
    if (due.length === 0) return;
    const lease = await this.#init.leases.acquire('scrub');
    if (lease === undefined) return;
    try {
      const signal = AbortSignal.any([lease.signal, this.#stopping.signal]);
      for (const depth of due) if (await this.#isDue(depth)) await this.#scrub(depth, signal);
    } finally {
      await lease.release();
    }
  }

  async #isDue(depth: Depth): Promise<boolean> {
    const everyMs = this.#everyMs(depth);
    return everyMs !== undefined && isDue(await this.#row(depth), everyMs, Date.now());
  }

  async #row(depth: Depth): Promise<ScrubRow | undefined> {
    return (await this.#init.database.query<ScrubRow>('SELECT * FROM scrubs WHERE depth = ?', [depth]))[0];
  }

  async #scrub(depth: Depth, signal: AbortSignal): Promise<void> {
    const { database, logger } = this.#init;
    const last = await this.#row(depth);
    const from = last?.ended_at === null ? last : await this.#begin(depth);
    let { position, objects, bytes, lost } = from;
    const note = (endedAt: number | null) =>
      database.script([
        [
          'UPDATE scrubs SET ended_at = ?, position = ?, objects = ?, bytes = ?, lost = ? WHERE depth = ?',
          ...[endedAt, position, objects, bytes, lost, depth],
        ],
      ]);
    // Turned off meanwhile: what was looked at counts, should it be turned on again.
    for (let isOver = false; !isOver && this.#everyMs(depth) !== undefined; ) {
      const page: ObjectRow[] = [];
      isOver = true;
      let size = 0;
      for await (const row of objectsAfter(database, position)) {
        page.push(row);
        size += row.size;
        isOver = page.length < NOTED_AFTER.objects && size < NOTED_AFTER.bytes;
        if (!isOver) break;
      }
      await inParallel(AT_ONCE, page, async (row) => {
        signal.throwIfAborted();
        if (await this.#look(depth, row, signal)) lost++;
        objects++;
        bytes += row.size;
      });
      position = page.at(-1)?.id ?? position;
      await note(isOver ? Date.now() : null);
      if (isOver) logger.info({ depth, objects, bytes, lost }, 'all objects were looked at');
    }
  }

  async #begin(depth: Depth): Promise<ScrubRow> {
    const row = { depth, begun_at: Date.now(), ended_at: null, position: 0, objects: 0, bytes: 0, lost: 0 };
    await this.#init.database.script([
      [
        `INSERT INTO scrubs (depth, begun_at, ended_at, position, objects, bytes, lost) VALUES (?, ?, NULL, 0, 0, 0, 0)
         ON CONFLICT (depth) DO UPDATE SET begun_at = excluded.begun_at, ended_at = NULL, position = 0, objects = 0,
           bytes = 0, lost = 0`,
        depth,
        row.begun_at,
      ],
    ]);
    return row;
  }

  /** Looks at one object; whether it is lost. What lies in a storage that is away is left for the next time. */
  async #look(depth: Depth, row: ObjectRow, signal: AbortSignal): Promise<boolean> {
    const { storages, lost, logger } = this.#init;
    const storage = storages.find(row.storage);
    if (storage === undefined || storage.health().state !== 'Ready') return row.state === 'lost';
    const pace = (bytes: number) => this.#rate.take(bytes, signal);
    try {
      await pace(LOOK_BYTES);
      if (row.state === 'lost') return !(await lost.restore(row));
      const contents = depth === 'contents';
      const loss = await examine(storage, row, contents, { pace });
      return loss !== undefined && (await lost.report(row, loss === 'wrong-hash'));
    } catch (error) {
      if (signal.aborted) throw error;
      if (!(error instanceof StorageUnavailableError)) throw error;
      logger.warn({ err: error, key: row.key }, 'an object could not be looked at');
      await storages.suspect(row.storage);
      return false;
    }
  }
}
