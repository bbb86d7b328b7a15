/**
 * What nobody may push: a path, and every path with the same NAR. Rows decide, in the transaction that publishes; what is
 * remembered of them only spares a client the end of its push.
 */
import type { Database, Sql } from '../../metadata/index.ts';
import { CacheError } from '../errors.ts';

export interface Block {
  readonly hash_part: string;
  /** Null where the path was never here. */
  readonly name: string | null;
  readonly nar_hash: string | null;
  readonly reason: string;
  readonly blocked_at: number;
  /** Name of the token of who asked; null: somebody at the machine. */
  readonly actor: string | null;
}

/** A condition for the hash part and the NAR hash of a path. */
export const IS_BLOCKED = 'EXISTS (SELECT 1 FROM blocked b WHERE b.hash_part = ? OR b.nar_hash = ?)';

/** The same for a NAR that no path has yet. */
export const NAR_IS_BLOCKED = 'EXISTS (SELECT 1 FROM blocked b WHERE b.nar_hash = ?)';

/** More would make pushes wait for the look at them. */
export const MOST_BLOCKS = 10_000;
/** What other servers have blocked is known here by then. */
const STALE_MS = 1000;

/** @throws CacheError Forbidden */
export async function mustBeAllowed(
  sql: Pick<Sql, 'query'>,
  { hashPart, narHash }: { readonly hashPart: string; readonly narHash: string },
): Promise<void> {
  const [block] = await sql.query<Pick<Block, 'reason'>>(
    'SELECT reason FROM blocked WHERE hash_part = ? OR nar_hash = ? LIMIT 1',
    [hashPart, narHash],
  );
  if (block !== undefined) throw forbidden(block.reason);
}

function forbidden(reason: string): CacheError {
  return new CacheError('Forbidden', `this is blocked here: ${reason}`);
}

export class Blocks {
  readonly #database: Database;
  /** Reasons by hash part and by NAR hash. */
  #reasons = new Map<string, string>();
  #readAt = Number.NEGATIVE_INFINITY;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Before bytes are stored that no path may have. @throws CacheError Forbidden */
  async mustTake(hashPart: string | undefined, narHash?: string): Promise<void> {
    const isStale = this.#database.isShared && performance.now() - this.#readAt > STALE_MS;
    if (isStale || this.#readAt === Number.NEGATIVE_INFINITY) await this.refresh();
    const reason = this.#reasons.get(hashPart ?? '') ?? this.#reasons.get(narHash ?? '');
    if (reason !== undefined) throw forbidden(reason);
  }

  async refresh(): Promise<void> {
    const rows = await this.list();
    this.#readAt = performance.now();
    this.#reasons = new Map(
      rows.flatMap((row) => [
        [row.hash_part, row.reason],
        [row.nar_hash ?? row.hash_part, row.reason],
      ]),
    );
  }

  /** All of them, the newest first. */
  list(): Promise<Block[]> {
    return this.#database.query<Block>('SELECT * FROM blocked ORDER BY blocked_at DESC, hash_part');
  }

  async of(hashPart: string): Promise<Block | undefined> {
    return (await this.#database.query<Block>('SELECT * FROM blocked WHERE hash_part = ?', [hashPart]))[0];
  }

  /** From its commit on nobody may push the path; with that of its NAR where it is known. @throws CacheError TooLarge */
  async add(
    { hashPart, name, reason }: { readonly hashPart: string; readonly name: string | null; readonly reason: string },
    actor: string | null,
  ): Promise<void> {
    await this.#database.write(async (sql) => {
      const known = await findPath(sql, hashPart);
      await block(sql, {
        ...{ hash_part: hashPart, name: known?.name ?? name, nar_hash: known?.nar_hash ?? null },
        ...{ reason, blocked_at: Date.now(), actor },
      });
    });
    await this.refresh();
  }

  /** From its commit on the path may be pushed again. @throws CacheError NotFound */
  async lift(hashPart: string): Promise<void> {
    const rows = await this.#database.write((sql) =>
      sql.query('DELETE FROM blocked WHERE hash_part = ? RETURNING hash_part', [hashPart]),
    );
    if (rows.length === 0) throw new CacheError('NotFound', 'this path is not blocked');
    await this.refresh();
  }
}

/** A path that is published, or else retired. */
export async function findPath(
  sql: Pick<Sql, 'query'>,
  hashPart: string,
): Promise<{ readonly name: string; readonly nar_hash: string } | undefined> {
  const [row] = await sql.query<{ name: string; nar_hash: string }>(
    `SELECT p.name, o.nar_hash, 0 AS turn FROM paths p JOIN objects o ON o.id = p.object_id WHERE p.hash_part = ?
     UNION ALL SELECT r.name, o.nar_hash, 1 FROM retired r JOIN objects o ON o.id = r.object_id WHERE r.hash_part = ?
     ORDER BY turn LIMIT 1`,
    [hashPart, hashPart],
  );
  return row;
}

/** For the transaction that takes a path away. A block that is there gets the new reason. @throws CacheError TooLarge */
export async function block(sql: Sql, { hash_part, name, nar_hash, reason, blocked_at, actor }: Block): Promise<void> {
  const [row] = await sql.query<{ n: number }>('SELECT count(*) AS n FROM blocked');
  if (Number(row?.n ?? 0) >= MOST_BLOCKS)
    throw new CacheError('TooLarge', `${MOST_BLOCKS} paths are blocked, which is the most: lift a block first`);
  await sql.query(
    `INSERT INTO blocked (hash_part, name, nar_hash, reason, blocked_at, actor) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (hash_part) DO UPDATE SET reason = excluded.reason, blocked_at = excluded.blocked_at,
       actor = excluded.actor, name = COALESCE(excluded.name, blocked.name),
       nar_hash = COALESCE(excluded.nar_hash, blocked.nar_hash)`,
    [hash_part, name, nar_hash, reason, blocked_at, actor],
  );
}
