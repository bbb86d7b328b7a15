/** What is in a cache, for people: lists of its paths page by page, one path with all that is known of it, and sums. */
import type { Database } from '../../metadata/index.ts';
import { NIX32_ALPHABET } from '../../nix/index.ts';
import { CacheError } from '../errors.ts';
import type { Paths } from '../paths/index.ts';
import type { Pins } from '../pins/index.ts';
import { type ClosureSize, closureSize } from './closure-size.ts';
import { findPath, type PathDetails } from './details.ts';
import {
  foundStatement,
  type ListedPath,
  type ListedRow,
  listedPath,
  MOST_FOUND,
  type PageRequest,
  type Position,
  pageStatement,
  positionOf,
  type Sort,
} from './rows.ts';
import { objectCounts, type RetiredSum, retiredSum } from './sums.ts';

export interface ListingInit {
  readonly database: Database;
  readonly paths: Pick<Paths, 'find'>;
  readonly pins: Pick<Pins, 'namesOf'>;
}

export interface ListingRequest {
  /** What hash part or name begins with; '': all. */
  readonly search: string;
  readonly sort: Sort;
  /** 1 to `MOST_LISTED` */
  readonly limit: number;
  readonly after: Position | undefined;
}

export interface ListingPage {
  readonly paths: readonly ListedPath[];
  /** Where the next page begins; undefined: this is the last one. */
  readonly next: Position | undefined;
}

export class Listing {
  readonly #init: ListingInit;

  constructor(init: ListingInit) {
    this.#init = init;
  }

  /**
   * A page of the published paths. What is pushed or removed meanwhile moves no other path from one page to another.
   * @throws CacheError Invalid (too much is found)
   */
  async page({ search, sort, limit, after }: ListingRequest): Promise<ListingPage> {
    const { database } = this.#init;
    const among = await this.#among(search, sort);
    const [text, ...values] = pageStatement(database, { sort, limit, after, among });
    const rows = await database.query<ListedRow>(text, values);
    const paths = rows.slice(0, limit).map(listedPath);
    const last = rows.length > limit ? paths.at(-1) : undefined;
    return { paths, next: last && positionOf(last, sort) };
  }

  /** In the order of names any number may be found by name. In any other all of them are looked at for each page. */
  async #among(search: string, sort: Sort): Promise<PageRequest['among']> {
    if (search === '') return undefined;
    if (sort === 'name' && !mayBeginHashPart(search)) return { prefix: search };
    const { database } = this.#init;
    const [text, ...values] = foundStatement(database, search);
    const rows = await database.query<{ hash_part: string }>(text, values);
    if (rows.length > MOST_FOUND)
      throw new CacheError(
        'Invalid',
        `search: more than ${MOST_FOUND} paths begin so: write more of the name, or sort by name`,
      );
    return { hashParts: rows.map((row) => row.hash_part) };
  }

  /** One published path; undefined: there is none. */
  find(hashPart: string): Promise<PathDetails | undefined> {
    return findPath(this.#init, hashPart);
  }

  /** What a path needs, itself included. @throws AbortError */
  closureSize(hashPart: string, signal: AbortSignal): Promise<ClosureSize> {
    return closureSize(this.#init.database, hashPart, signal);
  }

  /** Objects of each of these storages; 100 000 where there may be more. */
  objectCounts(storages: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return objectCounts(this.#init.database, storages);
  }

  /** Unpublished paths whose grace is not over, and bytes that nothing else holds. */
  retired(): Promise<RetiredSum> {
    return retiredSum(this.#init.database);
  }
}

const HASH_DIGITS = new RegExp(`^[${NIX32_ALPHABET}]{1,32}$`);

function mayBeginHashPart(text: string): boolean {
  return HASH_DIGITS.test(text);
}
