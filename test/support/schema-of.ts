/** The schema of a database in one form for both engines, so that they can be compared. */
import type { Sql } from '../../server/metadata/index.ts';

type Query = Pick<Sql, 'query'>;

export interface Schema {
  /** `table.column type [not null] [default]` */
  readonly columns: readonly string[];
  /** `table primary|unique|index (columns) [where]` */
  readonly indexes: readonly string[];
  /** `table (columns) -> table (columns) [on delete]` */
  readonly foreignKeys: readonly string[];
}

/** A counted number as a primary key: each engine has its own way. */
const COUNTED = 'counted';

function schema(columns: string[], indexes: string[], foreignKeys: string[]): Schema {
  return { columns: columns.sort(), indexes: indexes.sort(), foreignKeys: foreignKeys.sort() };
}

/** Types that hold the same. SQLite's integers have 64 bits whatever they are called. */
function typeOf(type: string): string {
  return /int/i.test(type) ? 'integer' : type.toLowerCase();
}

function condition(text: string): string {
  return text
    .replaceAll('::text', '')
    .replaceAll(/[()`"]/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim()
    .toLowerCase();
}

function isKnex(table: string): boolean {
  return table.startsWith('knex_') || table.startsWith('sqlite_');
}

export async function schemaOfSqlite(sql: Query): Promise<Schema> {
  const [columns, indexes, foreignKeys]: [string[], string[], string[]] = [[], [], []];
  const tables = await sql.query<{ name: string; sql: string }>(
    `SELECT name, sql FROM sqlite_master WHERE type = 'table'`,
  );
  for (const { name: table, sql: made } of tables) {
    if (isKnex(table)) continue;
    const info = await sql.query<{
      name: string;
      type: string;
      notnull: number;
      dflt_value: string | null;
      pk: number;
    }>(`SELECT * FROM pragma_table_info('${table}')`);
    const isCounted = /autoincrement/i.test(made);
    for (const { name, type, notnull, dflt_value, pk } of info) {
      // A primary key of SQLite may be NULL unless it says otherwise; knex never puts one there.
      const required = notnull === 1 || pk > 0 ? ' not null' : '';
      const filled = pk > 0 && isCounted ? ` ${COUNTED}` : dflt_value === null ? '' : ` default ${dflt_value}`;
      columns.push(`${table}.${name} ${typeOf(type)}${required}${filled}`);
    }
    const keys = info.filter((column) => column.pk > 0).sort((a, b) => a.pk - b.pk);
    indexes.push(`${table} primary (${keys.map((column) => column.name).join(', ')})`);
    const list = await sql.query<{ name: string; unique: number; origin: string }>(
      `SELECT * FROM pragma_index_list('${table}') WHERE origin <> 'pk'`,
    );
    for (const { name, unique } of list) {
      const parts = await sql.query<{ name: string }>(`SELECT name FROM pragma_index_info('${name}') ORDER BY seqno`);
      const [source] = await sql.query<{ sql: string | null }>('SELECT sql FROM sqlite_master WHERE name = ?', [name]);
      const where = /\swhere\s(.*)$/is.exec(source?.sql ?? '')?.[1];
      indexes.push(
        `${table} ${unique ? 'unique' : 'index'} (${parts.map((part) => part.name).join(', ')})${where ? ` where ${condition(where)}` : ''}`,
      );
    }
    const references = await sql.query<{ table: string; from: string; to: string; on_delete: string }>(
      `SELECT * FROM pragma_foreign_key_list('${table}')`,
    );
    for (const { table: other, from, to, on_delete } of references)
      foreignKeys.push(`${table} (${from}) -> ${other} (${to}) ${on_delete.toLowerCase()}`);
  }
  return schema(columns, indexes, foreignKeys);
}

export async function schemaOfPostgres(sql: Query, name: string): Promise<Schema> {
  const columns = await sql.query<{
    table: string;
    column: string;
    type: string;
    nullable: string;
    filled: string | null;
  }>(
    `SELECT table_name AS table, column_name AS column, data_type AS type, is_nullable AS nullable, column_default AS filled
     FROM information_schema.columns WHERE table_schema = ?`,
    [name],
  );
  const indexes = await sql.query<{ table: string; kind: string; columns: string; condition: string | null }>(
    `SELECT t.relname AS table,
       CASE WHEN i.indisprimary THEN 'primary' WHEN i.indisunique THEN 'unique' ELSE 'index' END AS kind,
       (SELECT string_agg(a.attname, ', ' ORDER BY k.place) FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number) AS columns,
       pg_get_expr(i.indpred, i.indrelid) AS condition
     FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
     WHERE n.nspname = ?`,
    [name],
  );
  const foreignKeys = await sql.query<{ table: string; own: string; other: string; others: string; action: string }>(
    `SELECT t.relname AS table, o.relname AS other, a.attname AS own, b.attname AS others,
       CASE c.confdeltype WHEN 'c' THEN 'cascade' WHEN 'a' THEN 'no action' ELSE c.confdeltype::text END AS action
     FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class o ON o.oid = c.confrelid
     JOIN pg_namespace n ON n.oid = t.relnamespace
     JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = c.conkey[1]
     JOIN pg_attribute b ON b.attrelid = o.oid AND b.attnum = c.confkey[1]
     WHERE c.contype = 'f' AND n.nspname = ?`,
    [name],
  );
  return schema(
    columns
      .filter((it) => !isKnex(it.table))
      .map(({ table, column, type, nullable, filled }) => {
        const value = filled?.startsWith('nextval(') ? ` ${COUNTED}` : filled === null ? '' : ` default ${filled}`;
        return `${table}.${column} ${typeOf(type)}${nullable === 'NO' ? ' not null' : ''}${value.replace(/::(?:text|bigint)$/, '')}`;
      }),
    indexes
      .filter((it) => !isKnex(it.table))
      .map((it) => `${it.table} ${it.kind} (${it.columns})${it.condition ? ` where ${condition(it.condition)}` : ''}`),
    foreignKeys.map((it) => `${it.table} (${it.own}) -> ${it.other} (${it.others}) ${it.action}`),
  );
}
