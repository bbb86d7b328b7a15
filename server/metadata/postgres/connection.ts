/** Connections to PostgreSQL: how they are made, what each session begins with, and one statement on one of them. */
import tls from 'node:tls';
import pg from 'pg';
import type { Sql, SqlValue, Statement } from '../sql.ts';
import type { Durability } from '../writer.ts';
import type { PostgresTarget } from './target.ts';
import { literalText, numbered, quoteName } from './text.ts';

export const CONNECT_MS = 5_000;
/** The server ends a statement at its own limit; ours only sees to it that a dead connection is noticed. */
const ANSWER_SLACK_MS = 2_000;
const KEEP_ALIVE_MS = 10_000;

export interface SessionInit {
  /** Asked for each connection, so that a changed password is used from the next one on. */
  readonly target: () => PostgresTarget;
  readonly schema: string;
  /** Longest statement. */
  readonly timeoutMs: number;
}

const INT8 = pg.types.builtins.INT8;
const NUMERIC = pg.types.builtins.NUMERIC;

/** Sizes and times are below 2^53, and SQLite hands out numbers too. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    oid === INT8 || oid === NUMERIC ? Number : pg.types.getTypeParser(oid, format),
};

export function clientConfig({ target, timeoutMs }: Pick<SessionInit, 'target' | 'timeoutMs'>): pg.ClientConfig {
  const { host, port, user, database } = target();
  return {
    host,
    port,
    user,
    database,
    password: () => target().password,
    application_name: 'narwhal-server',
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: timeoutMs + ANSWER_SLACK_MS,
    types,
    ssl: tlsOptions(target()),
  };
}

/** For the driver; false: no TLS. */
export function tlsOptions({ host, tls: plan }: PostgresTarget): tls.ConnectionOptions | false {
  if (plan.mode === 'Disable') return false;
  return {
    rejectUnauthorized: plan.mode !== 'Require',
    ...(plan.ca !== undefined && { ca: plan.ca }),
    checkServerIdentity: (_name, certificate) =>
      plan.mode === 'VerifyFull' ? tls.checkServerIdentity(host, certificate) : undefined,
  };
}

/**
 * What every session begins with. As statements and not as start-up parameters, since poolers take few of those.
 * A server or role whose commits do not wait for the disk would break what we promise, so that is set too.
 */
export function sessionText({ schema, timeoutMs }: Pick<SessionInit, 'schema' | 'timeoutMs'>): string {
  const settings: [string, string][] = [
    ['search_path', quoteName(schema)],
    ['statement_timeout', String(timeoutMs)],
    ['lock_timeout', String(Math.min(10_000, timeoutMs))],
    ['idle_in_transaction_session_timeout', String(2 * timeoutMs)],
    ['standard_conforming_strings', 'on'],
    ['default_transaction_isolation', "'read committed'"],
    // Plans without a look at the values: with thousands of hash parts in view, the planner would read a whole table.
    ['plan_cache_mode', 'force_generic_plan'],
    ['client_min_messages', 'warning'],
  ];
  return `${settings.map(([name, value]) => `SET ${name} TO ${value};`).join('')}
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`;
}

/** Statements that are asked for often enough are prepared, once a connection, under a name. */
const NAMED_AFTER = 3;
const MOST_NAMES = 256;
const asked = new Map<string, number>();
const names = new Map<string, string>();

function nameOf(text: string): string | undefined {
  const known = names.get(text);
  if (known !== undefined) return known;
  const times = (asked.get(text) ?? 0) + 1;
  asked.set(text, times);
  if (times < NAMED_AFTER || names.size >= MOST_NAMES) return undefined;
  const name = `narwhal_${names.size + 1}`;
  names.set(text, name);
  asked.delete(text);
  return name;
}

/** A statement after whose time the connection counts as dead. The types of the driver do not know of it. */
export function limited(text: string, timeoutMs: number): pg.QueryConfig {
  const config = { text, query_timeout: timeoutMs };
  return config;
}

/** @param timeoutMs after which the connection counts as dead */
export async function runQuery<Row>(
  client: pg.ClientBase,
  text: string,
  values: readonly SqlValue[],
  timeoutMs?: number,
): Promise<Row[]> {
  const name = nameOf(text);
  const result = await client.query<Row & pg.QueryResultRow>({
    text: numbered(text),
    values: [...values],
    ...(name !== undefined && { name }),
    ...(timeoutMs !== undefined && { query_timeout: timeoutMs }),
  });
  return result.rows;
}

const LESS_DURABLE: Statement = ['SET LOCAL synchronous_commit TO off'];

/**
 * A whole transaction in one trip, without BEGIN and COMMIT: the statements of one text are one transaction, which is
 * committed before the last of them is answered (protocol-flow.html, "Multiple Statements in a Simple Query"). The rows of
 * each.
 */
export async function runScript<Row extends pg.QueryResultRow>(
  client: pg.ClientBase,
  statements: readonly Statement[],
  durability: Durability,
): Promise<Row[][]> {
  const all = durability === 'disk' ? statements : [LESS_DURABLE, ...statements];
  // Several statements have several results, whatever the types of the driver say.
  const results: pg.QueryResult<Row> | pg.QueryResult<Row>[] = await client.query(literalText(all));
  const rows = [results].flat().map((result) => result.rows);
  return rows.slice(all.length - statements.length);
}

/** Runs `work` between BEGIN and COMMIT. Where it fails, whoever lent the connection rolls back. */
export async function runTransaction<T>(client: pg.ClientBase, work: (sql: Sql) => Promise<T>): Promise<T> {
  await client.query('BEGIN');
  const result = await work({
    query: (text, values = []) => runQuery(client, text, values),
    run: async (statements) => {
      if (statements.length > 0) await client.query(literalText(statements));
    },
  });
  mustBeCommitted(await client.query('COMMIT'));
  return result;
}

/** A COMMIT of a transaction that had an error is answered with ROLLBACK, which is no error to the driver. */
function mustBeCommitted(last: unknown): void {
  const command = typeof last === 'object' && last !== null && 'command' in last ? last.command : undefined;
  if (command !== 'COMMIT') throw new Error('a transaction was rolled back: a statement in it had failed');
}
