/**
 * Published paths: look-ups that the hot routes use, and the one transaction that makes a path visible. A look-up goes
 * memory, database; a miss is answered from the set of all hash parts once that is loaded, since this process is the
 * only writer.
 */
import { createHash } from 'node:crypto';
import { setImmediate as breathe } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { type Database, isConstraint, type Sql, type Statement } from '../metadata/index.ts';
import { fingerprint, parseHash, parseStorePath, renderNarInfo, STORE_DIR } from '../nix/index.ts';
import { crashPoint } from '../storage/index.ts';
import { HashSet } from './hash-set.ts';
import type { Keys } from './keys.ts';
import { insertObject, insertTombstone, type NewObject, objectStatements, tombstone } from './objects.ts';

/** A rendered, signed narinfo. */
export interface Narinfo {
  readonly body: Buffer;
  readonly etag: string;
  /** Key of the object that holds the NAR. */
  readonly narKey: string;
}

/** What verified bytes are, in the forms that rows hold. */
export interface NarFacts {
  readonly compression: string;
  /** `sha256:<nix32>` of the file. */
  readonly fileHash: string;
  /** `sha256:<nix32>` of the NAR. */
  readonly narHash: string;
  readonly narSize: number;
}

/** A path that is ready to be published: everything checked, signatures made. */
export interface NewPath {
  readonly hashPart: string;
  readonly name: string;
  /** Basenames, sorted. */
  readonly references: readonly string[];
  readonly deriver: string | undefined;
  readonly ca: string | undefined;
  readonly signatures: readonly string[];
  readonly narHash: string;
  readonly narSize: number;
}

/** Where its NAR is: an object that is there, or durable bytes that get their row in the same transaction. */
export type NarSource = { readonly key: string } | { readonly object: NewObject; readonly facts: NarFacts };

export type PublishOutcome =
  /** `isNewNar`: its NAR is the object that came with it, not one that was there. */
  | { readonly kind: 'published'; readonly isNewNar: boolean }
  /** It was there with the same NAR and references; signatures were merged. */
  | { readonly kind: 'present' }
  /** It was there with other content, which stays. */
  | { readonly kind: 'differs'; readonly narHash: string }
  /** The NAR that it should point at is gone. */
  | { readonly kind: 'no-nar' };

interface PathRow {
  hash_part: string;
  name: string;
  refs: string;
  deriver: string | null;
  ca: string | null;
  signatures: string;
  nar_hash: string;
  nar_size: number;
}

interface NarinfoRow extends PathRow {
  key: string;
  size: number;
  compression: string;
  file_hash: string;
}

export interface PathsInit {
  readonly database: Database;
  readonly keys: () => Keys;
  readonly cacheBytes: number;
}

const LOAD_PAGE = 20_000;

export class Paths {
  readonly #init: PathsInit;
  readonly #rendered: LRUCache<string, Narinfo>;
  /** Changes with every publish, so that a slow read never caches what a faster write made old. */
  #epoch = 0;
  #all: HashSet;
  #loaded = false;
  /** Taken out while the set is loaded: a page that was read before may bring them back. */
  #removed: string[] = [];

  constructor(init: PathsInit) {
    this.#init = init;
    this.#all = new HashSet();
    this.#rendered = new LRUCache({
      maxSize: init.cacheBytes,
      sizeCalculation: (narinfo) => narinfo.body.length + 200,
    });
  }

  /** Published paths that are known to memory; complete once `loaded`. */
  get count(): number {
    return this.#all.size;
  }

  get loaded(): boolean {
    return this.#loaded;
  }

  /** Reads all hash parts, page by page: a million take about a second and never block a request for long. */
  async load(signal: AbortSignal): Promise<void> {
    const { database } = this.#init;
    for (let after = ''; !signal.aborted; ) {
      // One long text a page: rows as objects would cost four times the memory and time.
      const rows = await database.query<{ hashes: string | null; last: string | null }>(
        `SELECT group_concat(hash_part, '') AS hashes, max(hash_part) AS last
         FROM (SELECT hash_part FROM paths WHERE hash_part > ? ORDER BY hash_part LIMIT ${LOAD_PAGE})`,
        [after],
      );
      const { hashes, last } = rows[0] ?? { hashes: null, last: null };
      if (hashes === null || last === null) {
        await this.#settleRemoved();
        this.#loaded = true;
        return;
      }
      for (let offset = 0; offset < hashes.length; offset += 32) this.#all.add(hashes, offset);
      after = last;
      await breathe();
    }
  }

  async #settleRemoved(): Promise<void> {
    while (this.#removed.length > 0) {
      const epoch = this.#epoch;
      const gone = await this.missing(this.#removed);
      // One of them may have been published again since.
      if (epoch !== this.#epoch) continue;
      for (const hashPart of gone) this.#all.remove(hashPart);
      this.#removed = [];
    }
  }

  /** What memory knows: the narinfo, that there is none, or (undefined) that the database must be asked. */
  peek(hashPart: string): Narinfo | 'missing' | undefined {
    const rendered = this.#rendered.get(hashPart);
    if (rendered !== undefined) return rendered;
    return this.#loaded && !this.#all.has(hashPart) ? 'missing' : undefined;
  }

  /** The narinfo of a servable path. */
  async find(hashPart: string): Promise<Narinfo | undefined> {
    const known = this.peek(hashPart);
    if (known !== undefined) return known === 'missing' ? undefined : known;
    const epoch = this.#epoch;
    const rows = await this.#init.database.query<NarinfoRow>(
      `SELECT p.hash_part, p.name, p.refs, p.deriver, p.ca, p.signatures,
              o.key, o.size, o.compression, o.file_hash, o.nar_hash, o.nar_size
       FROM paths p JOIN objects o ON o.id = p.object_id
       WHERE p.hash_part = ?`,
      [hashPart],
    );
    const row = rows[0];
    if (row === undefined) return undefined;
    const narinfo = this.#render(row);
    if (epoch === this.#epoch) this.#rendered.set(hashPart, narinfo);
    return narinfo;
  }

  /** Whether a path would be served: the one answer that GET, HEAD and the missing-paths query share. */
  async servable(hashPart: string): Promise<boolean> {
    return this.#loaded ? this.#all.has(hashPart) : (await this.find(hashPart)) !== undefined;
  }

  /** Those of `hashParts` that are not servable, in their order and spelling. */
  async missing(hashParts: readonly string[]): Promise<string[]> {
    if (this.#loaded) return hashParts.filter((hashPart) => !this.#all.has(hashPart));
    const { database } = this.#init;
    const rows = await database.query<{ hash_part: string }>(
      `SELECT hash_part FROM paths WHERE ${database.isOneOf('hash_part')}`,
      [database.list(hashParts)],
    );
    const present = new Set(rows.map((row) => row.hash_part));
    return hashParts.filter((hashPart) => !present.has(hashPart));
  }

  /**
   * Makes a path visible, in one transaction with its NAR and with `also`. The usual push is of a path and a NAR that
   * are both new: that is assumed, and the constraints of the tables tell where it is not so.
   */
  async publish(path: NewPath, source: NarSource, also: readonly Statement[] = []): Promise<PublishOutcome> {
    crashPoint('before-publish');
    const publishing = this.#all.has(path.hashPart)
      ? this.#publishKnown(path, source, also)
      : this.#publishNew(path, source, also);
    const outcome = await publishing.catch(async (error: unknown) => {
      await this.#lookAgain(path.hashPart);
      throw error;
    });
    this.#epoch++;
    this.#rendered.delete(path.hashPart);
    if (outcome.kind === 'published') this.#all.add(path.hashPart);
    crashPoint('after-publish');
    return outcome;
  }

  async #publishNew(path: NewPath, source: NarSource, also: readonly Statement[]): Promise<PublishOutcome> {
    const nar: Statement[] =
      'object' in source
        ? objectStatements(source.object, source.facts)
        : [[`UPDATE objects SET orphan_since = NULL WHERE key = ? AND orphan_since IS NOT NULL`, source.key]];
    const key = 'object' in source ? source.object.key : source.key;
    try {
      await this.#init.database.script([...nar, pathStatement(path, key), ...also]);
      return { kind: 'published', isNewNar: 'object' in source };
    } catch (error) {
      if (!isConstraint(error)) throw error;
      return this.#publishKnown(path, source, also);
    }
  }

  #publishKnown(path: NewPath, source: NarSource, also: readonly Statement[]): Promise<PublishOutcome> {
    return this.#init.database.write(async (sql) => {
      const result = await insertPath(sql, path, source);
      await sql.run(also);
      return result;
    });
  }

  /** A commit that failed may have reached the disk all the same: what memory says must not differ from the rows. */
  async #lookAgain(hashPart: string): Promise<void> {
    const rows = await this.#init.database
      .query('SELECT 1 FROM paths WHERE hash_part = ?', [hashPart])
      .catch(() => undefined);
    if (rows === undefined) this.#loaded = false;
    else if (rows.length > 0) this.#all.add(hashPart);
  }

  /** Forgets paths whose rows are gone. */
  remove(hashParts: readonly string[]): void {
    this.#epoch++;
    for (const hashPart of hashParts) {
      this.#rendered.delete(hashPart);
      this.#all.remove(hashPart);
      if (!this.#loaded) this.#removed.push(hashPart);
    }
  }

  /** Signatures or keys changed: every rendered text is stale. */
  forgetAll(): void {
    this.#epoch++;
    this.#rendered.clear();
  }

  #render(row: NarinfoRow): Narinfo {
    const { path: storePath } = parseStorePath(`${STORE_DIR}/${row.hash_part}-${row.name}`);
    const narHash = parseHash(row.nar_hash);
    const references = splitWords(row.refs);
    const stored = splitWords(row.signatures);
    // A key that was added after the path was published signs it here, so that rotation needs no rewrite of rows.
    const names = new Set(stored.map((signature) => signature.slice(0, signature.indexOf(':'))));
    const text = fingerprint({ storePath, narHash, narSize: row.nar_size, references });
    const added = this.#init
      .keys()
      .signers.filter((key) => !names.has(key.name))
      .map((key) => key.sign(text));
    const body = Buffer.from(
      renderNarInfo({
        storePath,
        url: row.key,
        compression: row.compression as 'zstd',
        fileHash: parseHash(row.file_hash),
        fileSize: row.size,
        narHash,
        narSize: row.nar_size,
        references,
        deriver: row.deriver ?? undefined,
        signatures: [...stored, ...added],
        ca: row.ca ?? undefined,
      }),
      'latin1',
    );
    return { body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`, narKey: row.key };
  }
}

/** Words of a text that rows hold: no words make no text. */
function splitWords(text: string): string[] {
  return text === '' ? [] : text.split(' ');
}

/** Inserts a path whose NAR is the object called `key`; fails where the path is there or the object is not. */
function pathStatement(path: NewPath, key: string): Statement {
  return [
    `INSERT INTO paths (hash_part, name, refs, deriver, ca, signatures, published_at, object_id)
     VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT id FROM objects WHERE key = ? AND state = 'verified' AND nar_hash IS NOT NULL))`,
    path.hashPart,
    path.name,
    path.references.join(' '),
    path.deriver ?? null,
    path.ca ?? null,
    path.signatures.join(' '),
    Date.now(),
    key,
  ];
}

/** Publishes step by step, where the path or its NAR may be there already: the old row decides then. */
async function insertPath(sql: Sql, path: NewPath, source: NarSource): Promise<PublishOutcome> {
  const nar =
    'object' in source
      ? await insertNar(sql, source.object, source.facts, null)
      : { id: await claimNar(sql, source.key), isNew: false };
  if (nar.id === undefined) return { kind: 'no-nar' };
  const [text, ...values] = pathStatement(path, 'object' in source ? source.object.key : source.key);
  const inserted = await sql.query(`${text} ON CONFLICT (hash_part) DO NOTHING RETURNING hash_part`, values);
  if (inserted.length > 0) return { kind: 'published', isNewNar: nar.isNew };
  await releaseNar(sql, nar.id, nar.isNew);
  const rows = await sql.query<PathRow>(
    `SELECT p.hash_part, p.name, p.refs, p.deriver, p.ca, p.signatures, o.nar_hash, o.nar_size
     FROM paths p JOIN objects o ON o.id = p.object_id WHERE p.hash_part = ?`,
    [path.hashPart],
  );
  const row = rows[0];
  if (row === undefined) throw new Error('a path was there and is gone within one transaction');
  if (!same(row, path)) return { kind: 'differs', narHash: row.nar_hash };
  const merged = [...new Set([...splitWords(row.signatures), ...path.signatures])].join(' ');
  if (merged !== row.signatures)
    await sql.query('UPDATE paths SET signatures = ? WHERE hash_part = ?', [merged, path.hashPart]);
  return { kind: 'present' };
}

function same(row: PathRow, path: NewPath): boolean {
  return (
    row.name === path.name &&
    row.nar_hash === path.narHash &&
    row.nar_size === path.narSize &&
    row.refs === path.references.join(' ')
  );
}

/** Gives a NAR without a path its row. False where its key is taken: the new bytes lose and wait for their removal. */
export async function storeNar(database: Database, object: NewObject, facts: NarFacts): Promise<boolean> {
  try {
    await database.script(objectStatements(object, facts, Date.now()));
    return true;
  } catch (error) {
    if (!isConstraint(error)) throw error;
    return (await database.write((sql) => insertNar(sql, object, facts, Date.now()))).isNew;
  }
}

/** Gives a NAR its row; where the key is taken the new bytes lose. The object that stays. */
async function insertNar(
  sql: Sql,
  object: NewObject,
  facts: NarFacts,
  orphanSince: number | null,
): Promise<{ id: number | undefined; isNew: boolean }> {
  const id = await insertObject(sql, object, facts, orphanSince);
  if (id !== undefined) return { id, isNew: true };
  await insertTombstone(sql, object);
  return { id: orphanSince === null ? await claimNar(sql, object.key) : undefined, isNew: false };
}

/** The NAR called `key`, no longer an orphan: a path is about to point at it. */
async function claimNar(sql: Sql, key: string): Promise<number | undefined> {
  const rows = await sql.query<{ id: number }>(
    `UPDATE objects SET orphan_since = NULL WHERE key = ? AND state = 'verified' AND nar_hash IS NOT NULL RETURNING id`,
    [key],
  );
  return rows[0]?.id;
}

/** A NAR that no path took after all: bytes that came with it go at once, others wait as orphans again. */
async function releaseNar(sql: Sql, id: number, isNew: boolean): Promise<void> {
  const rows = await sql.query('SELECT 1 FROM paths WHERE object_id = ? LIMIT 1', [id]);
  if (rows.length > 0) return;
  if (isNew) await tombstone(sql, id);
  else await sql.query('UPDATE objects SET orphan_since = ? WHERE id = ?', [Date.now(), id]);
}
