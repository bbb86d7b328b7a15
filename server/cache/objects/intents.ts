/**
 * Names under which bytes may come to lie in a storage that cannot be searched cheaply. The row is there before the bytes
 * are, and goes in the transaction that gives them a row of their own; so whatever a crash leaves behind is found without
 * a listing, by any server. A write that is under way renews its row; what was not renewed for long is removed.
 */
import type { Logger } from 'pino';
import type { Database, Statement } from '../../metadata/index.ts';
import type { RemoteUploads, Storage } from '../../storage/index.ts';

export interface IntentsInit {
  readonly database: Database;
  readonly logger: Logger;
  readonly storages: () => readonly Storage[];
}

/** A writer that could not renew its row for a day is gone, or its write is. */
const LIFE_MS = 24 * 3600_000;
const RENEW_MS = 600_000;
const INHERITED_MS = 600_000;
const PAGE = 500;

export class Intents {
  readonly #init: IntentsInit;
  /** `storage name` of writes under way here. */
  readonly #live = new Map<string, { storage: string; name: string }>();
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> | undefined;

  constructor(init: IntentsInit) {
    this.#init = init;
  }

  /** Before the first byte. */
  async begin(storage: string, name: string): Promise<void> {
    // Before the row: a write that is given up while the row is on its way must not be renewed for ever.
    this.#live.set(`${storage} ${name}`, { storage, name });
    this.#timer ??= setInterval(() => void this.#renew(), RENEW_MS).unref();
    await this.#init.database.script([
      [
        'INSERT INTO intents (storage, name, expires_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
        storage,
        name,
        Date.now() + LIFE_MS,
      ],
    ]);
  }

  /** The bytes have a row; to be called after the transaction that held `endStatement`. */
  end(storage: string, name: string): void {
    this.#live.delete(`${storage} ${name}`);
  }

  /** The bytes are to be removed. Begins at once, in the background. */
  drop(storage: string, name: string): void {
    this.end(storage, name);
    this.#init.database
      .script([dropStatement(storage, name)])
      .then(() => this.sweep())
      .catch((error: unknown) =>
        this.#init.logger.warn({ err: error, storage, name }, 'bytes without a row stay a day'),
      );
  }

  /**
   * At a start, where no other process writes: nobody goes on with what is there. A request that had just been sent when
   * the last process ended has a while to get where it can be removed.
   */
  async inherit(): Promise<void> {
    const { database } = this.#init;
    if (database.isShared) return;
    const end = Date.now() + INHERITED_MS;
    await database.script([['UPDATE intents SET expires_at = ? WHERE expires_at > ?', end, end]]);
  }

  /** Removes what nobody goes on with. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  async idle(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sweeping?.catch(() => {});
  }

  async #sweep(): Promise<void> {
    const { database, logger, storages } = this.#init;
    // Those of a storage that cannot be reached must not fill the page.
    const ready = new Map<string, RemoteUploads>();
    for (const storage of storages())
      if (storage.remote !== undefined && storage.health().state === 'Ready') ready.set(storage.name, storage.remote);
    const rows = await database.query<{ storage: string; name: string }>(
      `SELECT storage, name FROM intents WHERE expires_at <= ? AND ${database.isOneOf('storage')}
       ORDER BY expires_at LIMIT ${PAGE}`,
      [Date.now(), database.list([...ready.keys()])],
    );
    for (const { storage, name } of rows) {
      if (this.#live.has(`${storage} ${name}`)) continue;
      const remote = ready.get(storage);
      if (remote === undefined) continue;
      try {
        // A write that was said to have failed may have given it a row all the same.
        const known = await database.query(
          `SELECT 1 FROM objects WHERE storage = ? AND name = ?
           UNION ALL SELECT 1 FROM upload_parts WHERE name = ?`,
          [storage, name, name],
        );
        if (known.length === 0) await remote.discard(name);
        await database.script([endStatement(storage, name)]);
      } catch (error) {
        logger.warn({ err: error, storage, name }, 'what an interrupted write left behind could not be removed yet');
      }
    }
  }

  async #renew(): Promise<void> {
    const end = Date.now() + LIFE_MS;
    const statements = [...this.#live.values()].map(
      ({ storage, name }): Statement => [
        'UPDATE intents SET expires_at = ? WHERE storage = ? AND name = ?',
        end,
        storage,
        name,
      ],
    );
    await this.#init.database.script(statements, 'process').catch((error: unknown) => {
      this.#init.logger.warn({ err: error }, 'writes under way could not be renewed yet');
    });
  }
}

/** For the transaction that gives the bytes a row. */
export function endStatement(storage: string, name: string): Statement {
  return ['DELETE FROM intents WHERE storage = ? AND name = ?', storage, name];
}

/** For a transaction after which nobody needs the bytes: the next sweep removes them. */
export function dropStatement(storage: string, name: string): Statement {
  return [
    `INSERT INTO intents (storage, name, expires_at) VALUES (?, ?, 0)
     ON CONFLICT (storage, name) DO UPDATE SET expires_at = 0`,
    storage,
    name,
  ];
}
