/**
 * Published paths: look-ups that the hot routes use, and the one transaction that makes a path visible. A look-up goes
 * memory, database. Where this process is the only writer, the set of all hash parts answers misses; where servers
 * share the database, a miss is one indexed query, remembered for a second, and what the others change is heard.
 */
import { LRUCache } from 'lru-cache';
import { type Database, isConstraint, type Statement } from '../../metadata/index.ts';
import { fingerprint, parseHash, parseStorePath, STORE_DIR } from '../../nix/index.ts';
import { crashPoint } from '../../storage/index.ts';
import { type Closures, WAITS, wantedBy } from '../closures/index.ts';
import type { NarFacts, NewObject } from '../objects/index.ts';
import { IS_LOST } from '../objects/index.ts';
import { areRetired, type RetiredReason, retiredAs, revive } from '../retired/index.ts';
import type { Keys } from '../signing/index.ts';
import { knownKeyOf, roomForOthers, type Weighed, weighSignatures } from '../signing/index.ts';
import type { Uses } from '../use/index.ts';
import { AllPaths } from './all-paths.ts';
import { PathCount } from './count.ts';
import { type Narinfo, type NarinfoRow, renderRow, type Signed } from './narinfo.ts';
import {
  insertPath,
  type NarSource,
  type NewPath,
  type Published,
  type PublishOutcome,
  publishStatements,
  storeNar,
} from './publish.ts';
import { RecentMisses } from './recent-misses.ts';

export type { NarFacts } from '../objects/index.ts';
export type { Narinfo } from './narinfo.ts';
export type { NarSource, NewPath, PublishOutcome } from './publish.ts';

/**
 * Who asks. Readers are to get a path only with its closure; pushers are told what is published, so that nobody uploads
 * again what only waits.
 */
export type Asker = 'reader' | 'pusher';

export interface PathsInit {
  readonly database: Database;
  readonly keys: () => Keys;
  readonly closures: Closures;
  readonly uses: Uses;
  /** Whether readers get only what has its closure here. Default: yes. */
  readonly enforcesClosures?: () => boolean;
  readonly cacheBytes: number;
  /** Largest narinfo that is taken, which bounds the signatures. Default: that of a manifest. */
  readonly maxNarInfoBytes?: () => number;
  /** Looks whether the object of a key has its bytes, before others are dropped because it is there. */
  readonly look: (key: string) => Promise<void>;
  /** What the bytes of a key still wait for on their way to the disk; undefined: they are there. */
  readonly syncOf?: (key: string) => Promise<void> | undefined;
}

const DEFAULT_NARINFO_BYTES = 64 * 1024;

/** What a look-up reads: a path whose NAR is lost is not served. Its plan is tested. */
export const NARINFO_QUERY = `SELECT p.hash_part, p.name, p.refs, p.deriver, p.ca, p.signatures,
        o.key, o.size, o.compression, o.file_hash, o.nar_hash, o.nar_size, ${WAITS} AS waits
 FROM paths p JOIN objects o ON o.id = p.object_id
 WHERE p.hash_part = ? AND o.state = 'verified'`;

/** Which of many paths are there; its plan is tested. */
export function presentQuery(database: Pick<Database, 'isOneOf'>): string {
  return `SELECT p.hash_part FROM paths p WHERE ${database.isOneOf('p.hash_part')} AND NOT ${IS_LOST}`;
}

/** Look-ups of one path that are under way: a change that is heard meanwhile makes them not worth remembering. */
interface Reading {
  isFresh: boolean;
  readers: number;
}

export class Paths {
  readonly #init: PathsInit;
  readonly #rendered: LRUCache<string, Narinfo>;
  readonly #reading = new Map<string, Reading>();
  /** Where this process is the only writer. */
  readonly #all: AllPaths | undefined;
  /** Where others write too. */
  readonly #misses: RecentMisses | undefined;
  readonly #count: PathCount | undefined;
  /** Whether all changes are heard: else nothing is remembered. */
  #isHearing: boolean;

  constructor(init: PathsInit) {
    const { database } = init;
    this.#init = init;
    this.#all = database.isShared ? undefined : new AllPaths(database);
    this.#misses = database.isShared ? new RecentMisses() : undefined;
    this.#count = database.isShared ? new PathCount(database) : undefined;
    this.#isHearing = !database.isShared;
    this.#rendered = new LRUCache({
      maxSize: init.cacheBytes,
      sizeCalculation: (narinfo) => narinfo.body.length + 200,
    });
  }

  /** Published paths; an estimate where they are many and the database is shared. */
  get count(): number {
    return this.#all?.size ?? this.#count?.value ?? 0;
  }

  /** Whether a miss needs no database. */
  get loaded(): boolean {
    return this.#all?.loaded ?? false;
  }

  /** Gets ready for reads: loads what can be known, or begins to listen. They are answered before that is done. */
  async load(signal: AbortSignal): Promise<void> {
    if (this.#all !== undefined) return this.#all.load(signal);
    const stop = this.#init.database.watch({
      onChange: (hashPart) => this.#forget(hashPart),
      onGap: () => {
        this.#isHearing = false;
        this.forgetAll();
      },
      onLive: () => {
        // What was remembered on the way here may be older than the first change that is heard.
        this.forgetAll();
        this.#isHearing = true;
      },
    });
    signal.addEventListener('abort', stop, { once: true });
    await this.#count?.refresh();
  }

  /** What memory knows: the narinfo, that there is none, or (undefined) that the database must be asked. */
  peek(hashPart: string, asker: Asker = 'reader'): Narinfo | 'missing' | undefined {
    const rendered = this.#rendered.get(hashPart);
    if (rendered !== undefined) return this.#isFor(rendered, asker) ? rendered : 'missing';
    return this.#all?.lacks(hashPart) || this.#misses?.has(hashPart) ? 'missing' : undefined;
  }

  #isFor(narinfo: Narinfo, asker: Asker): boolean {
    return !narinfo.waits || asker === 'pusher' || this.#init.enforcesClosures?.() === false;
  }

  /** The narinfo of a path that is published and, for readers, servable. */
  async find(hashPart: string, asker: Asker = 'reader'): Promise<Narinfo | undefined> {
    const known = this.peek(hashPart, asker);
    if (known !== undefined) return known === 'missing' ? undefined : known;
    const since = performance.now();
    const reading = this.#beginReading(hashPart);
    try {
      // Not shared with others who ask: what they ask for may have been published since this one began.
      const [row] = await this.#init.database.query<NarinfoRow>(NARINFO_QUERY, [hashPart]);
      const narinfo = row && this.#render(row);
      if (reading.isFresh && this.#isHearing) {
        if (narinfo === undefined) this.#misses?.add(hashPart, since);
        else this.#rendered.set(hashPart, narinfo);
      }
      return narinfo !== undefined && this.#isFor(narinfo, asker) ? narinfo : undefined;
    } finally {
      if (--reading.readers === 0 && this.#reading.get(hashPart) === reading) this.#reading.delete(hashPart);
    }
  }

  #beginReading(hashPart: string): Reading {
    let reading = this.#reading.get(hashPart);
    if (reading === undefined) {
      reading = { isFresh: true, readers: 0 };
      this.#reading.set(hashPart, reading);
    }
    reading.readers++;
    return reading;
  }

  /** Whether a path is here, whatever its closure: what a pusher is told. */
  async isPublished(hashPart: string): Promise<boolean> {
    return this.#all?.loaded ? this.#all.has(hashPart) : (await this.find(hashPart, 'pusher')) !== undefined;
  }

  /** Those of `hashParts` that are not published, in their order and spelling. The others are used. */
  async missing(hashParts: readonly string[]): Promise<string[]> {
    const { uses } = this.#init;
    const present = this.#all?.loaded ? this.#all : await this.#present(hashParts);
    const missing: string[] = [];
    for (const hashPart of hashParts) {
      if (present.has(hashPart)) uses.touch(hashPart);
      else missing.push(hashPart);
    }
    return missing;
  }

  async #present(hashParts: readonly string[]): Promise<ReadonlySet<string>> {
    const { database } = this.#init;
    const rows = await database.query<{ hash_part: string }>(presentQuery(database), [database.list(hashParts)]);
    return new Set(rows.map((row) => row.hash_part));
  }

  /**
   * Makes a path visible, in one transaction with its NAR and with `also`. The usual push is of a path and a NAR that
   * are both new: that is assumed, and the constraints of the tables tell where it is not so.
   */
  async publish(path: NewPath, source: NarSource, also: readonly Statement[] = []): Promise<PublishOutcome> {
    crashPoint('before-publish');
    const { kept, leftOut } = this.#weigh(path, [], path.signatures);
    const fitting = leftOut.length === 0 ? path : { ...path, signatures: kept };
    const publishing = this.#all?.has(path.hashPart)
      ? this.#publishKnown(fitting, path.signatures, source, also)
      : this.#publishNew(fitting, path.signatures, source, also);
    const { outcome, healed } = await publishing.catch(async (error: unknown) => {
      // A commit that failed may have reached the disk all the same.
      this.#forget(path.hashPart);
      await this.#all?.lookAgain(path.hashPart);
      await this.lookAgain('object' in source ? source.object.key : source.key);
      throw error;
    });
    if (outcome.kind === 'published') this.#all?.add(path.hashPart);
    // It was here, and somebody wants it to be.
    else if (outcome.kind !== 'no-nar') this.#init.uses.touch(path.hashPart);
    this.#forget(path.hashPart);
    // What it needs may be here in retirement.
    if (outcome.kind === 'published' && (await this.#init.closures.published(path))) await this.revive(wantedBy(path));
    if (outcome.kind === 'present') await this.revive(await this.#init.closures.waitsOf(path.hashPart));
    await this.show(healed);
    crashPoint('after-publish');
    return outcome.kind === 'published' && leftOut.length > 0 ? { ...outcome, leftOut } : outcome;
  }

  /**
   * Publishes those of `hashParts` again that are retired, with what they need: somebody who may write wants them. Those
   * that are published from then on.
   */
  async revive(hashParts: readonly string[]): Promise<string[]> {
    const { database, closures } = this.#init;
    if (hashParts.length === 0 || !(await areRetired(database, hashParts))) return [];
    let revived: string[] = [];
    const paths = await database
      .write(async (sql) => {
        const found = await revive(database, sql, hashParts);
        revived = found.map((path) => path.hashPart);
        await sql.run(database.announce(revived));
        return found;
      })
      .catch(async (error: unknown) => {
        // A commit that failed may have reached the disk all the same.
        await this.lookAgainAt(revived);
        throw error;
      });
    for (const hashPart of revived) {
      this.#all?.add(hashPart);
      this.#forget(hashPart);
    }
    await closures.restored(paths);
    return revived;
  }

  /** The same for what was retired for one of these reasons: it turns out that it should not have been. */
  async bringBack(hashParts: readonly string[], reasons: readonly RetiredReason[]): Promise<void> {
    await this.revive(await retiredAs(this.#init.database, hashParts, reasons));
  }

  /**
   * Gives a NAR its row that waits for a path. False: there is one of its key, and it stays.
   * @param synced its bytes are on disk then; undefined: they are now
   */
  async store(object: NewObject, facts: NarFacts, synced?: Promise<void>): Promise<boolean> {
    const { database, look } = this.#init;
    const { isNew, healed } = await storeNar(database, object, facts, look, synced).catch(async (error: unknown) => {
      await this.lookAgain(object.key);
      throw error;
    });
    await this.show(healed);
    return isNew;
  }

  /** Which signatures a path keeps. */
  #weigh(path: Signed, stored: readonly string[], offered: readonly string[]): Weighed {
    const { keys, maxNarInfoBytes = () => DEFAULT_NARINFO_BYTES } = this.#init;
    const { references } = path;
    const referencesBytes = references.reduce((sum, reference) => sum + reference.length + 1, 0);
    let text: string | undefined;
    const keyOf = (signature: string) => {
      text ??= fingerprint({
        storePath: parseStorePath(`${STORE_DIR}/${path.hashPart}-${path.name}`).path,
        narHash: parseHash(path.narHash),
        narSize: path.narSize,
        references,
      });
      return knownKeyOf(keys(), text, signature);
    };
    const otherBytes = roomForOthers(maxNarInfoBytes(), referencesBytes);
    return weighSignatures(stored, offered, { knownKeyOf: keyOf, otherBytes });
  }

  async #publishNew(
    path: NewPath,
    offered: readonly string[],
    source: NarSource,
    also: readonly Statement[],
  ): Promise<Published> {
    const { database } = this.#init;
    try {
      await this.#whenSynced(source, () => database.script([...publishStatements(database, path, source), ...also]));
      return { outcome: { kind: 'published', isNewNar: 'object' in source }, healed: [] };
    } catch (error) {
      if (!isConstraint(error)) throw error;
      return this.#publishKnown(path, offered, source, also);
    }
  }

  /** @param offered all signatures that came, of which `path` has those that fit where it is new */
  async #publishKnown(
    path: NewPath,
    offered: readonly string[],
    source: NarSource,
    also: readonly Statement[],
  ): Promise<Published> {
    const { database, look } = this.#init;
    if ('object' in source) await look(source.object.key);
    return this.#whenSynced(source, () =>
      database.write(async (sql) => {
        const merge = (stored: readonly string[]) => this.#weigh(path, stored, offered);
        const result = await insertPath(database, sql, path, source, merge);
        await sql.run([...also, ...database.announce([...new Set([path.hashPart, ...result.healed])])]);
        return result;
      }),
    );
  }

  /**
   * Asks for a write that points a path at a NAR, once the bytes of its key are on disk. In the same tick as the last look:
   * what gets its row after that has it after this write, since writes have an order.
   */
  async #whenSynced<T>(source: NarSource, write: () => Promise<T>): Promise<T> {
    const { syncOf } = this.#init;
    const key = 'object' in source ? source.object.key : source.key;
    for (let sync = syncOf?.(key); sync !== undefined; sync = syncOf?.(key)) await sync;
    crashPoint('after-sync');
    return write();
  }

  /** One path has changed: what was read of it before, or is being read now, counts no more. */
  #forget(hashPart: string): void {
    this.#rendered.delete(hashPart);
    this.#misses?.delete(hashPart);
    const reading = this.#reading.get(hashPart);
    if (reading === undefined) return;
    reading.isFresh = false;
    // A look-up that begins now reads what has changed.
    this.#reading.delete(hashPart);
  }

  /** What is remembered of paths counts no more. */
  forget(hashParts: readonly string[]): void {
    for (const hashPart of hashParts) this.#forget(hashPart);
  }

  /** Forgets paths whose rows are gone, by a write that is committed: those that refer to them will wait. */
  remove(hashParts: readonly string[]): void {
    this.hide(hashParts);
    this.forget(hashParts);
    if (hashParts.length > 0) this.#init.closures.wake();
  }

  /** Misses need no database from here on: to be called where the write is made that takes the paths away. */
  hide(hashParts: readonly string[]): void {
    for (const hashPart of hashParts) this.#all?.remove(hashPart);
  }

  /** Paths that are there again, by a write that is committed: so are those that waited for them. */
  async show(hashParts: readonly string[]): Promise<void> {
    for (const hashPart of hashParts) {
      this.#all?.add(hashPart);
      this.#forget(hashPart);
    }
    if (hashParts.length > 0) await this.#init.closures.opened(hashParts);
  }

  /** After a commit that failed, and may have reached the disk: what became of the paths of an object. */
  async lookAgain(key: string): Promise<void> {
    await this.#all?.lookAgainAt(key);
  }

  /** The same for paths. */
  async lookAgainAt(hashParts: readonly string[]): Promise<void> {
    this.forget(hashParts);
    for (const hashPart of hashParts) await this.#all?.lookAgain(hashPart);
  }

  /** Signatures or keys changed, or changes may have been missed: every rendered text is stale. */
  forgetAll(): void {
    this.#rendered.clear();
    this.#misses?.clear();
    for (const reading of this.#reading.values()) reading.isFresh = false;
    this.#reading.clear();
  }

  #render(row: NarinfoRow): Narinfo {
    // A row may hold more than there is room for now.
    return renderRow(row, this.#init.keys().signers, (path, stored) => this.#weigh(path, stored, []).kept);
  }
}
