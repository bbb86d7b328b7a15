/** The rows behind lists of paths: each order has an index, and each page is read by it. */
import type { Database, SqlValue, Statement } from '../../metadata/index.ts';
import { STORE_DIR } from '../../nix/index.ts';
import { FIRST_WAIT } from '../closures/index.ts';
import { FIRST_PIN } from '../pins/index.ts';
import { LAST_USE, USE_JOIN } from '../use/index.ts';

export const SORTS = ['hash', 'name', 'published'] as const;
/** By hash part, by name, or by time of publication with the newest first. */
export type Sort = (typeof SORTS)[number];

/** The place of a path in the order of a list: of those with the same key the hash part decides. */
export interface Position {
  /** The name, or milliseconds since 1970; '' where hash parts alone decide. */
  readonly key: string | number;
  readonly hashPart: string;
}

export interface ListedPath {
  readonly hashPart: string;
  readonly name: string;
  readonly storePath: string;
  readonly narSize: number;
  /** Of the file that holds the NAR, which other paths may share. */
  readonly fileSize: number;
  /** Milliseconds since 1970. */
  readonly publishedAt: number;
  readonly usedAt: number;
  readonly isPinned: boolean;
  /** Whether something of its closure is not here. */
  readonly waits: boolean;
  /** Whether its bytes are gone, cut short or changed. */
  readonly isLost: boolean;
}

/** PostgreSQL's driver may give 64-bit numbers as texts. */
export interface ListedRow {
  readonly hash_part: string;
  readonly name: string;
  readonly published_at: number | string;
  readonly used_at: number | string;
  readonly size: number | string;
  readonly nar_size: number | string | null;
  readonly state: string;
  readonly waits: 1 | null;
  readonly is_pinned: 1 | null;
}

export const LISTED = `p.hash_part, p.name, p.published_at, ${LAST_USE} AS used_at, o.size, o.nar_size, o.state,
  ${FIRST_WAIT} AS waits, ${FIRST_PIN} AS is_pinned`;
/** Behind a table of paths `p`. */
export const LISTED_JOIN = `JOIN objects o ON o.id = p.object_id ${USE_JOIN}`;

export function listedPath(row: ListedRow): ListedPath {
  const { hash_part: hashPart, name } = row;
  return {
    ...{ hashPart, name, storePath: `${STORE_DIR}/${hashPart}-${name}` },
    narSize: Number(row.nar_size),
    fileSize: Number(row.size),
    publishedAt: Number(row.published_at),
    usedAt: Number(row.used_at),
    isPinned: row.is_pinned !== null,
    waits: row.waits !== null,
    isLost: row.state === 'lost',
  };
}

/** Words of a text that rows hold: no words make no text. */
export function wordsOf(text: string): string[] {
  return text === '' ? [] : text.split(' ');
}

/** What a search may find at most in an order that is not its own. */
export const MOST_FOUND = 10_000;

/** Hash parts of the paths whose hash part or name begins with a text: `MOST_FOUND` of each and one more. Its plan is tested. */
export function foundStatement({ bytewise }: Pick<Database, 'bytewise'>, prefix: string): Statement {
  const name = `name${bytewise}`;
  const most = MOST_FOUND + 1;
  return [
    `SELECT hash_part FROM (SELECT hash_part FROM paths
       WHERE hash_part >= ? AND hash_part <= ? ORDER BY hash_part LIMIT ${most}) AS by_hash
     UNION SELECT hash_part FROM (SELECT hash_part FROM paths
       WHERE ${name} >= ? AND ${name} < ? ORDER BY ${name}, hash_part LIMIT ${most}) AS by_name`,
    ...[prefix, lastHashPart(prefix), prefix, behindNames(prefix)],
  ];
}

/** A page has the first length that is long enough: the planner is to know it, and each costs a prepared statement. */
const PAGES = [100, 1000] as const;
export const MOST_LISTED = PAGES[1];

export interface PageRequest {
  readonly sort: Sort;
  readonly limit: number;
  /** Behind which path the page begins. */
  readonly after: Position | undefined;
  /** Of these hash parts only, or with names that begin so. */
  readonly among: { readonly hashParts: readonly string[] } | { readonly prefix: string } | undefined;
}

type Texts = Pick<Database, 'bytewise' | 'isOneOf' | 'list'>;

/**
 * At least one row more than is asked for, where there are so many. The page is cut first, so that planners think of
 * no more than that when they join the rest to it. Its plan is tested.
 */
export function pageStatement(database: Texts, { sort, limit, after, among }: PageRequest): Statement {
  const { order, behind } = ORDERS[sort](database);
  const conditions: [text: string, ...values: SqlValue[]][] = [];
  if (after !== undefined) conditions.push(behind(after));
  if (among !== undefined) conditions.push(amongOf(database, among));
  const where = conditions.map(([text]) => text).join(' AND ');
  const page = 'SELECT p.hash_part, p.name, p.published_at, p.object_id FROM paths p';
  const rows = (PAGES.find((page) => limit <= page) ?? MOST_LISTED) + 1;
  return [
    `SELECT ${LISTED} FROM (${page}${where && ` WHERE ${where}`} ORDER BY ${order} LIMIT ${rows}) p
     ${LISTED_JOIN} ORDER BY ${order}`,
    ...conditions.flatMap(([, ...values]) => values),
  ];
}

function amongOf(database: Texts, among: NonNullable<PageRequest['among']>): [string, ...SqlValue[]] {
  if ('hashParts' in among) return [database.isOneOf('p.hash_part'), database.list(among.hashParts)];
  const name = `p.name${database.bytewise}`;
  return [`${name} >= ? AND ${name} < ?`, among.prefix, behindNames(among.prefix)];
}

interface Order {
  readonly order: string;
  readonly behind: (after: Position) => [string, ...SqlValue[]];
}

const ORDERS: Record<Sort, (database: Texts) => Order> = {
  hash: () => ({ order: 'p.hash_part', behind: ({ hashPart }) => ['p.hash_part > ?', hashPart] }),
  name: ({ bytewise }) => ({
    order: `p.name${bytewise}, p.hash_part`,
    behind: ({ key, hashPart }) => [`(p.name${bytewise}, p.hash_part) > (?, ?)`, key, hashPart],
  }),
  published: () => ({
    order: 'p.published_at DESC, p.hash_part DESC',
    behind: ({ key, hashPart }) => ['(p.published_at, p.hash_part) < (CAST(? AS bigint), ?)', key, hashPart],
  }),
};

/** Where a path stands in an order. */
export function positionOf({ hashPart, name, publishedAt }: ListedPath, sort: Sort): Position {
  return { key: { hash: '', name, published: publishedAt }[sort], hashPart };
}

/** The last hash part that may begin with a text: they all have one length, and `z` is the last digit. */
function lastHashPart(prefix: string): string {
  return prefix.padEnd(32, 'z');
}

/** Behind all names that begin with a text: none has a character as high as that. */
function behindNames(prefix: string): string {
  return `${prefix}\x7f`;
}
