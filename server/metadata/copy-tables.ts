/**
 * Copies the rows of one database into another, page by page in the order of their keys, so that a copy that was
 * interrupted goes on where it ended; and sums up all rows of either side, so that the two can be compared.
 */
import { createHash } from 'node:crypto';
import type { Database } from './database.ts';
import type { SqlValue } from './sql.ts';

interface Table {
  readonly name: string;
  readonly key: readonly string[];
  /** Column that counts up by itself. */
  readonly counted?: string;
}

/** Each after those that it refers to. `meta` is not among them: its rows have a meaning each; leases end by themselves. */
export const COPIED_TABLES: readonly Table[] = [
  { name: 'storages', key: ['name'] },
  { name: 'registered_keys', key: ['public_key'] },
  { name: 'objects', key: ['id'], counted: 'id' },
  { name: 'paths', key: ['hash_part'] },
  { name: 'collections', key: ['run'] },
  { name: 'blocked', key: ['hash_part'] },
  { name: 'removed', key: ['hash_part'] },
  { name: 'retired', key: ['hash_part'] },
  { name: 'waiting', key: ['missing', 'path'] },
  { name: 'closing', key: ['hash_part'] },
  { name: 'uses', key: ['hash_part'] },
  { name: 'uploads', key: ['id'] },
  { name: 'upload_parts', key: ['upload', 'number'] },
  { name: 'intents', key: ['storage', 'name'] },
  { name: 'scrubs', key: ['depth'] },
  { name: 'pins', key: ['name'] },
  { name: 'pin_revisions', key: ['name', 'revision'] },
];

const PAGE = 2000;

type Row = Readonly<Record<string, string | number | null>>;

export interface Sum {
  readonly rows: number;
  /** Of all rows, whatever their order. */
  readonly checksum: string;
}

export interface TablesCopy {
  /** SQLite, which nobody else writes to. */
  readonly from: Database;
  /** PostgreSQL, with the same schema. */
  readonly to: Database;
  readonly signal: AbortSignal;
  /** Hears how many rows are done. */
  readonly onRows: (count: number) => void;
}

export async function countRows(database: Pick<Database, 'query'>): Promise<number> {
  let total = 0;
  for (const { name } of COPIED_TABLES)
    total += (await database.query<{ n: number }>(`SELECT count(*) AS n FROM ${name}`))[0]?.n ?? 0;
  return total;
}

/** Copies what is not there yet. */
export async function copyTables({ from, to, signal, onRows }: TablesCopy): Promise<void> {
  for (const table of COPIED_TABLES) {
    const columns = await columnsOf(from, table.name);
    const last = await lastKey(to, table);
    onRows(await rowsUpTo(from, table, last));
    const insert = `INSERT INTO ${table.name} (${columns}) SELECT ${columns}
      FROM json_populate_recordset(NULL::${table.name}, ?) ON CONFLICT DO NOTHING`;
    for await (const rows of pages(from, table, columns, last)) {
      signal.throwIfAborted();
      await to.script([[insert, JSON.stringify(rows)]]);
      onRows(rows.length);
    }
    if (table.counted === undefined) continue;
    await to.query(
      `SELECT setval(pg_get_serial_sequence(?, ?), coalesce(max(${table.counted}), 0) + 1, false) FROM ${table.name}`,
      [table.name, table.counted],
    );
  }
}

/** What a table holds, by a sum that does not depend on the order of its rows. */
export async function sumUp(
  database: Database,
  table: Table,
  columns: string,
  { signal, onRows }: Pick<TablesCopy, 'signal' | 'onRows'>,
): Promise<Sum> {
  const names = columns.split(', ');
  let count = 0;
  let sum = 0n;
  for await (const rows of pages(database, table, columns, undefined)) {
    signal.throwIfAborted();
    for (const row of rows) {
      const text = JSON.stringify(names.map((name) => row[name]));
      sum += BigInt(`0x${createHash('sha256').update(text).digest('hex')}`);
    }
    count += rows.length;
    onRows(rows.length);
  }
  return { rows: count, checksum: (sum % 2n ** 256n).toString(16) };
}

/** Names of the columns, by those of SQLite: a later PostgreSQL schema may have more. */
export async function columnsOf(sqlite: Pick<Database, 'query'>, table: string): Promise<string> {
  const rows = await sqlite.query<{ name: string }>('SELECT name FROM pragma_table_info(?)', [table]);
  return rows.map((row) => row.name).join(', ');
}

async function* pages(
  database: Pick<Database, 'query'>,
  { name, key }: Table,
  columns: string,
  after: readonly SqlValue[] | undefined,
): AsyncGenerator<Row[]> {
  const order = key.join(', ');
  const places = key.map(() => '?').join(', ');
  for (let last = after; ; ) {
    const where = last === undefined ? '' : `WHERE (${order}) > (${places})`;
    const rows = await database.query<Row>(
      `SELECT ${columns} FROM ${name} ${where} ORDER BY ${order} LIMIT ${PAGE}`,
      last,
    );
    const end = rows.at(-1);
    if (end === undefined) return;
    yield rows;
    last = key.map((column) => end[column] ?? null);
  }
}

/** The last key that was copied, in the order of the source: that of bytes. */
async function lastKey(to: Pick<Database, 'query'>, { name, key }: Table): Promise<SqlValue[] | undefined> {
  const types = await to.query<{ column: string; type: string }>(
    `SELECT a.attname AS column, format_type(a.atttypid, NULL) AS type FROM pg_attribute a
     WHERE a.attrelid = to_regclass(?) AND a.attname = ANY(?)`,
    [name, key],
  );
  const isText = (column: string) => types.some((it) => it.column === column && it.type === 'text');
  const order = key.map((column) => `${column}${isText(column) ? ' COLLATE "C"' : ''} DESC`).join(', ');
  const [row] = await to.query<Row>(`SELECT ${key.join(', ')} FROM ${name} ORDER BY ${order} LIMIT 1`);
  return row && key.map((column) => row[column] ?? null);
}

async function rowsUpTo(
  from: Pick<Database, 'query'>,
  { name, key }: Table,
  last: SqlValue[] | undefined,
): Promise<number> {
  if (last === undefined) return 0;
  const [row] = await from.query<{ n: number }>(
    `SELECT count(*) AS n FROM ${name} WHERE (${key.join(', ')}) <= (${key.map(() => '?').join(', ')})`,
    last,
  );
  return row?.n ?? 0;
}
