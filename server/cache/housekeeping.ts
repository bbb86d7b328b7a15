/** What must happen now and then: expired uploads go, NARs that never got a narinfo go, storages are marked settled. */
import type { Logger } from 'pino';
import type { Database } from '../metadata/index.ts';
import { LocalStorage } from '../storage/index.ts';
import { markSettled } from './leftovers.ts';
import { type Objects, tombstoneOrphan } from './objects.ts';
import type { Settings } from './settings.ts';
import type { Storages } from './storages.ts';
import type { Uploads } from './uploads.ts';

export interface HousekeepingInit {
  readonly database: Database;
  readonly storages: Storages;
  readonly objects: Objects;
  readonly uploads: Uploads;
  readonly settings: Settings;
  readonly logger: Logger;
}

/** NARs that have waited for a path since before `?`; its plan is tested. */
export const ORPHANS_QUERY = `SELECT id, key FROM objects
  WHERE orphan_since IS NOT NULL AND orphan_since < ? AND state = 'verified' LIMIT 500`;

export class Housekeeping {
  readonly #init: HousekeepingInit;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

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
    const { uploads, storages, database, objects } = this.#init;
    await uploads.expire();
    await this.#dropOrphans();
    objects.collect();
    for (const storage of storages.list()) {
      if (storage instanceof LocalStorage && storage.health().state === 'Ready') await markSettled(database, storage);
    }
  }

  async #dropOrphans(): Promise<void> {
    const { database, settings, objects, logger } = this.#init;
    const before = Date.now() - settings.orphanRetentionMs;
    const orphans = await database.query<{ id: number; key: string }>(ORPHANS_QUERY, [before]);
    for (const orphan of orphans) {
      // A narinfo may have come for it meanwhile.
      if (!(await database.write((sql) => tombstoneOrphan(sql, orphan.id, before)))) continue;
      objects.forget(orphan.key);
      logger.info({ key: orphan.key }, 'removed a NAR that never got a narinfo');
    }
  }
}
