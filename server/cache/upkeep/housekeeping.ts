/**
 * What must happen now and then: expired uploads and revisions of pins go, NARs that never got a narinfo go, what
 * interrupted writes left behind goes. Of several servers on one database one does it, by a lease.
 */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import { LocalStorage, type Storage } from '../../storage/index.ts';
import type { Closures } from '../closures/index.ts';
import type { Leases } from '../database/index.ts';
import type { Objects, Unsynced } from '../objects/index.ts';
import { dropStatement, type Intents } from '../objects/index.ts';
import type { Pins } from '../pins/index.ts';
import type { Uploads } from '../push/index.ts';
import type { Retention } from '../retention/index.ts';
import type { Settings } from '../settings.ts';
import type { Storages } from '../storages/index.ts';
import type { Uses } from '../use/index.ts';
import { markSettled, removeOldLeftovers } from './leftovers.ts';
import { dropOrphans } from './orphans.ts';

export interface HousekeepingInit {
  readonly database: Database;
  readonly storages: Storages;
  readonly objects: Objects;
  readonly unsynced: Unsynced;
  readonly uploads: Uploads;
  readonly pins: Pins;
  readonly intents: Intents;
  readonly closures: Closures;
  readonly uses: Uses;
  readonly retention: Retention;
  readonly leases: Leases;
  readonly settings: Settings;
  readonly logger: Logger;
}

/** Between two looks for what is found by a listing only. */
const OLD_MS = 3600_000;
/** Before the first one: a start has enough to do. */
const FIRST_OLD_MS = 300_000;

export class Housekeeping {
  readonly #init: HousekeepingInit;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #oldAt = Date.now() + FIRST_OLD_MS - OLD_MS;

  constructor(init: HousekeepingInit) {
    this.#init = init;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#running ??= this.run()
        .catch((error: unknown) =>
          this.#init.logger.error({ err: error }, 'housekeeping failed; it will be tried again'),
        )
        .finally(() => {
          this.#running = undefined;
        });
    }, this.#init.settings.housekeepingMs);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  /** One round. */
  async run(): Promise<void> {
    const { database, storages, pins, leases } = this.#init;
    if (database.isShared) await storages.recount();
    this.#init.closures.wake();
    await pins.settle();
    this.#init.retention.wake();
    const lease = await leases.acquire('housekeeping');
    if (lease === undefined) return;
    try {
      await this.#run();
    } finally {
      await lease.release();
    }
  }

  async #run(): Promise<void> {
    const { uploads, storages, database, objects, unsynced, pins, intents, uses, settings, logger } = this.#init;
    await uploads.expire();
    await pins.dropExpired();
    await dropOrphans(this.#init, Date.now() - settings.orphanRetentionMs);
    objects.collect();
    await intents.sweep();
    await uses.sweep();
    const isTimeForOld = Date.now() - this.#oldAt > OLD_MS;
    if (isTimeForOld) this.#oldAt = Date.now();
    for (const storage of storages.list()) {
      if (storage.health().state !== 'Ready') continue;
      if (storage instanceof LocalStorage) {
        // What is not on disk yet must be found by the next start.
        if (!database.isShared) await markSettled(database, storage, unsynced.since(storage.name));
        else if (isTimeForOld) await removeOldLeftovers({ database, logger }, storage, settings.uploadExpiryMs);
      } else if (isTimeForOld) await this.#dropUnfinished(storage);
    }
  }

  /** Uploads in parts that were begun at the service and got no row, because the server died between the two. */
  async #dropUnfinished(storage: Storage): Promise<void> {
    const { database, settings } = this.#init;
    const before = Date.now() - 2 * settings.uploadExpiryMs;
    for await (const name of storage.remote?.unfinished(before) ?? []) {
      const known = await database.query(`SELECT 1 FROM uploads WHERE storage = ? AND name = ? AND state = 'open'`, [
        storage.name,
        name,
      ]);
      if (known.length === 0) await database.script([dropStatement(storage.name, name)]);
    }
  }
}
