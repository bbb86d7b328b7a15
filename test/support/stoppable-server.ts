/** One of several servers on a PostgreSQL schema, reduced to its rows, whose transactions can be stopped at a named point. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { type Closures, closingStatements, waitStatements } from '../../server/cache/closures/index.ts';
import { healNar, markLost } from '../../server/cache/objects/lost-rows.ts';
import type { KnownObject } from '../../server/cache/objects/object.ts';
import { type NewPath, Paths } from '../../server/cache/paths/paths.ts';
import { publishStatements } from '../../server/cache/paths/publish.ts';
import { pinnedHashParts } from '../../server/cache/pins/rows.ts';
import { type CollectInit, collect, finish } from '../../server/cache/retention/collect.ts';
import { runningCollection } from '../../server/cache/retention/collections.ts';
import { expireRetired, forget } from '../../server/cache/retention/expire.ts';
import { revive } from '../../server/cache/retired/index.ts';
import { defaultSettings, type RetentionSettings } from '../../server/cache/settings.ts';
import { Keys } from '../../server/cache/signing/keys.ts';
import { dropOrphans } from '../../server/cache/upkeep/orphans.ts';
import type { Uses } from '../../server/cache/use/index.ts';
import type { Database, PostgresDatabase, Sql, SqlValue, Statement } from '../../server/metadata/index.ts';
import { closuresOf } from './closures.ts';
import type { TestPath } from './nars.ts';
import { openSchema } from './postgres-cache.ts';
import { until } from './server.ts';
import { usesOf } from './uses.ts';

const DAY = 24 * 3600_000;
const NEVER = new AbortController().signal;
const logger = pino({ level: 'silent' });

/** Where work stops: after a statement, or with all of its transaction done but the COMMIT. */
export type StopAt = { readonly after: RegExp } | { readonly commitOf: RegExp };

interface Stop {
  readonly at: StopAt;
  readonly arrived: () => void;
  readonly goOn: Promise<void>;
}

export class StoppableServer {
  readonly paths: Paths;
  readonly closures: Closures;
  readonly uses: Uses;
  readonly database: PostgresDatabase;
  /** The database as all of its rooms see it. */
  readonly seen: Database;
  /** Hears of each statement. */
  onStatement: ((statement: Statement) => void) | undefined;
  readonly #stopping = new AbortController();
  #stop: Stop | undefined;

  private constructor(database: PostgresDatabase, keys: Keys) {
    this.database = database;
    this.seen = this.#stoppable();
    this.closures = closuresOf(this.seen);
    this.uses = usesOf(this.seen);
    this.paths = new Paths({
      ...{ database: this.seen, closures: this.closures, keys: () => keys },
      ...{ uses: this.uses, cacheBytes: 2 ** 20, look: async () => {} },
    });
    this.closures.start(
      (hashParts) => this.paths.forget(hashParts),
      (hashParts) => this.paths.bringBack(hashParts, ['unused', 'maxSize']),
    );
    this.uses.follow((hashParts) => this.paths.bringBack(hashParts, ['unused']));
  }

  static async open(url: string): Promise<StoppableServer> {
    const database = await openSchema(url);
    const keys = await Keys.load({
      ...{ folder: undefined, cache: 'main', host: 'localhost', renameHost: false, missing: undefined, database },
      signing: { mode: 'SelfSigned', secretKeys: [], publicKeys: [] },
      rootSecret: Buffer.alloc(32, 1),
    });
    const server = new StoppableServer(database, keys);
    await server.paths.load(server.#stopping.signal);
    return server;
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.closures.stop();
    await this.uses.stop();
    await this.database.close();
  }

  /** Begins some work, which stops there the next time that it comes there; what it resolves with lets it go on to its end. */
  async half<T>(at: StopAt, work: () => Promise<T>): Promise<() => Promise<T>> {
    let open = () => {};
    const goOn = new Promise<void>((resolve) => {
      open = resolve;
    });
    let done: Promise<T> | undefined;
    await new Promise<void>((arrived, reject) => {
      this.#stop = { at, arrived, goOn };
      done = work();
      done.then(() => reject(new Error('it did not come there')), reject);
    });
    return () => {
      open();
      assert.ok(done);
      return done;
    };
  }

  async #reach(isHere: (at: StopAt) => boolean): Promise<void> {
    const stop = this.#stop;
    if (stop === undefined || !isHere(stop.at)) return;
    this.#stop = undefined;
    stop.arrived();
    await stop.goOn;
  }

  #stoppable(): Database {
    const write: Database['write'] = async (work) => {
      return this.database.write(async (sql) => {
        const texts: string[] = [];
        const ran = async (text: string) => {
          texts.push(text);
          await this.#reach((at) => 'after' in at && at.after.test(text));
        };
        const watched: Sql = {
          query: async (text, values = []) => {
            this.onStatement?.([text, ...values]);
            const rows = await sql.query<never>(text, values);
            await ran(text);
            return rows;
          },
          run: async (statements) => {
            for (const statement of statements) this.onStatement?.(statement);
            await sql.run(statements);
            for (const [text] of statements) await ran(text);
          },
        };
        const result = await work(watched);
        await this.#reach((at) => 'commitOf' in at && texts.some((text) => at.commitOf.test(text)));
        return result;
      });
    };
    const script: Database['script'] = (statements, durability) =>
      this.#stop === undefined && this.onStatement === undefined
        ? this.database.script(statements, durability)
        : write((sql) => sql.run(statements));
    const query: Database['query'] = async <Row>(text: string, values: readonly SqlValue[] = []) => {
      this.onStatement?.([text, ...values]);
      const rows = await this.database.query<Row>(text, values);
      await this.#reach((at) => 'after' in at && at.after.test(text));
      return rows;
    };
    return new Proxy<Database>(this.database, {
      get: (target, name) => {
        if (name === 'script') return script;
        if (name === 'write') return write;
        if (name === 'query') return query;
        const value = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }

  /** With a NAR that comes with it, as by Cachix, or with one that has its row already, as by nix. */
  async publish(it: TestPath, nar: 'new' | 'known' = 'new'): Promise<string> {
    const source = nar === 'known' ? { key: it.narUrl } : { object: objectOf(it), facts: factsOf(it) };
    return (await this.paths.publish(pathOf(it), source)).kind;
  }

  /** Gives its NAR a row that waits for a path. */
  async store(it: TestPath): Promise<void> {
    await this.paths.store(objectOf(it), factsOf(it));
  }

  async lose(it: TestPath): Promise<void> {
    await this.database.write(async (sql) => {
      const marked = await markLost(sql, await known(sql, it), 'missing');
      await sql.run([...closingStatements(marked ?? []), ...this.database.announce(marked ?? [])]);
    });
  }

  async heal(it: TestPath): Promise<void> {
    const healed = await this.database.write((sql) => healNar(sql, objectOf(it), factsOf(it), Date.now()));
    await this.paths.show(healed?.paths ?? []);
  }

  async tend(): Promise<void> {
    await until('closures are tended', () => this.closures.tend());
  }

  /** As if nobody had used these for forty days. */
  async age(...all: readonly TestPath[]): Promise<void> {
    const at = Date.now() - 40 * DAY;
    await this.database.script([
      [`UPDATE meta SET value = '0' WHERE key = 'uses_since'`],
      ...all.flatMap((it) => [
        ['UPDATE paths SET published_at = ? WHERE hash_part = ?', at, it.hashPart] as const,
        ['DELETE FROM uses WHERE hash_part = ?', it.hashPart] as const,
      ]),
    ]);
  }

  #collectInit(rootsFirstMs: number, retention: Partial<RetentionSettings> = {}): CollectInit {
    return {
      ...{ database: this.seen, paths: this.paths, uses: this.uses, logger },
      pinned: () => pinnedHashParts(this.seen),
      ...{ isAlone: false, onEnded: () => {} },
      settings: {
        rootsFirstMs,
        retention: { ...defaultSettings.retention, unusedMs: 30 * DAY, minAgeMs: DAY, ...retention },
      },
    };
  }

  /** One collection of what nobody used for thirty days. */
  collect(rootsFirstMs = 0, signal = NEVER): Promise<void> {
    return collect(this.#collectInit(rootsFirstMs), { isConfirmed: true, doubt: undefined }, signal);
  }

  /** Goes on with what another server has begun. */
  async finish(): Promise<void> {
    const running = await runningCollection(this.database);
    if (running !== undefined) await finish(this.#collectInit(0), running, NEVER);
  }

  /** Ends the grace of what was retired at `before` or earlier. */
  expire(before = Date.now()): Promise<number> {
    // There are no bytes.
    const objects = { forget: () => {}, collect: () => {}, idle: async () => {} };
    return expireRetired({ database: this.seen, objects, logger }, before, NEVER);
  }

  /** The same for one path, as a server does it that has lost its lease. */
  async expireOnly(it: TestPath): Promise<void> {
    await this.seen.write((sql) => forget(this.seen, sql, [it.hashPart], Date.now()));
  }

  /** Brings a path back, and dies right after the COMMIT. */
  async reviveOnly(it: TestPath): Promise<void> {
    await this.seen.write((sql) => revive(this.seen, sql, [it.hashPart]));
  }

  /** Publishes a path, and dies right after the COMMIT. */
  async publishOnly(it: TestPath): Promise<void> {
    const source = { object: objectOf(it), facts: factsOf(it) };
    await this.seen.script(publishStatements(this.seen, pathOf(it), source));
  }

  /** Publishes a path as a version does it that knows nothing of collections. */
  async publishAsBefore(it: TestPath): Promise<void> {
    await this.store(it);
    await this.seen.script([
      [
        `INSERT INTO paths (hash_part, name, object_id, refs, signatures, published_at, closure_checked)
         SELECT ?, ?, id, ?, '', ?, 1 FROM objects WHERE key = ?`,
        ...[it.hashPart, it.name, it.references.join(' '), Date.now(), it.narUrl],
      ],
      ['UPDATE objects SET orphan_since = NULL WHERE key = ?', it.narUrl],
      ...waitStatements(this.seen, pathOf(it)),
    ]);
  }

  /** Removes NARs that nothing waits for. */
  dropOrphans(): Promise<void> {
    return dropOrphans({ database: this.seen, objects: { forget: () => {} }, logger }, Date.now() - DAY);
  }
}

function pathOf({ hashPart, name, references, narHash, nar }: TestPath): NewPath {
  const claimed = { hashPart, name, references, narHash, narSize: nar.length };
  return { ...claimed, deriver: undefined, ca: undefined, signatures: [] };
}

function objectOf(it: TestPath) {
  return { key: it.narUrl, storage: 'disk', name: randomBytes(8).toString('hex'), size: it.file.length };
}

function factsOf({ fileHash, narHash, nar, compression }: TestPath) {
  return { compression, fileHash, narHash, narSize: nar.length };
}

export async function known(sql: Pick<Sql, 'query'>, it: TestPath): Promise<KnownObject> {
  const [object] = await sql.query<KnownObject>('SELECT id, key, storage, name, size FROM objects WHERE key = ?', [
    it.narUrl,
  ]);
  assert.ok(object);
  return object;
}
