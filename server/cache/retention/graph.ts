/**
 * All published paths and what they refer to, in memory as numbers: some 120 MB for a million paths with ten references
 * each. Built for one run of the garbage collection and dropped with it.
 */
import { HashIndex } from '../../nix/index.ts';

/** A published path as the rows have it. Times in milliseconds since 1970. */
export interface GraphRow {
  readonly hash_part: string;
  /** Basenames, separated by spaces. */
  readonly refs: string;
  readonly object_id: number;
  /** Of its NAR's file, which other paths may share. */
  readonly size: number;
  readonly published_at: number;
  /** Its own last use; never earlier than its publication. */
  readonly used_at: number;
}

/** Where a path has no row: something refers to it. */
const ABSENT = -1;

export class PathGraph {
  readonly #index: HashIndex;
  /** By number; the references of a path lie side by side in `#edges`. */
  #first: Int32Array;
  #degree: Uint32Array;
  /** Times in seconds. */
  #publishedAt: Uint32Array;
  #usedAt: Uint32Array;
  #sizes: Float64Array;
  #objects: Uint32Array;
  #edges: Int32Array;
  #edgeCount = 0;
  #paths = 0;

  /** @param expected about how many paths there are */
  constructor(expected = 1024) {
    const most = Math.max(16, expected);
    this.#index = new HashIndex(most);
    this.#first = new Int32Array(most).fill(ABSENT);
    this.#degree = new Uint32Array(most);
    this.#publishedAt = new Uint32Array(most);
    this.#usedAt = new Uint32Array(most);
    this.#sizes = new Float64Array(most);
    this.#objects = new Uint32Array(most);
    this.#edges = new Int32Array(most * 4);
  }

  add(row: GraphRow): void {
    const number = this.#numberOf(row.hash_part, 0);
    if (number < 0) return;
    this.#first[number] = this.#edgeCount;
    const { refs } = row;
    for (let at = 0; at < refs.length; ) {
      const to = this.#numberOf(refs, at);
      // A path refers to itself often, which says nothing.
      if (to >= 0 && to !== number) this.#addEdge(to);
      const space = refs.indexOf(' ', at + 32);
      at = space < 0 ? refs.length : space + 1;
    }
    this.#degree[number] = this.#edgeCount - (this.#first[number] ?? 0);
    this.#publishedAt[number] = row.published_at / 1000;
    this.#usedAt[number] = row.used_at / 1000;
    this.#sizes[number] = row.size;
    this.#objects[number] = row.object_id;
    this.#paths++;
  }

  #numberOf(text: string, at: number): number {
    const number = this.#index.add(text, at);
    if (number >= this.#first.length) this.#growNodes();
    return number;
  }

  #growNodes(): void {
    const most = Math.ceil(this.#first.length * 1.5);
    const old = this.#first.length;
    this.#first = grown(this.#first, new Int32Array(most));
    this.#first.fill(ABSENT, old);
    this.#degree = grown(this.#degree, new Uint32Array(most));
    this.#publishedAt = grown(this.#publishedAt, new Uint32Array(most));
    this.#usedAt = grown(this.#usedAt, new Uint32Array(most));
    this.#sizes = grown(this.#sizes, new Float64Array(most));
    this.#objects = grown(this.#objects, new Uint32Array(most));
  }

  #addEdge(to: number): void {
    if (this.#edgeCount === this.#edges.length)
      this.#edges = grown(this.#edges, new Int32Array(Math.ceil(this.#edges.length * 1.5)));
    this.#edges[this.#edgeCount++] = to;
  }

  /** Published paths. */
  get paths(): number {
    return this.#paths;
  }

  /** Numbers that are in use: those of paths, and of what they refer to. */
  get size(): number {
    return this.#index.size;
  }

  has(number: number): boolean {
    return this.#first[number] !== ABSENT;
  }

  /** The number of a hash part; -1: nothing is known of it. */
  numberOf(hashPart: string): number {
    return this.#index.get(hashPart);
  }

  hashPartOf(number: number): string {
    return this.#index.textOf(number);
  }

  /** Seconds since 1970. */
  publishedAt(number: number): number {
    return this.#publishedAt[number] ?? 0;
  }

  /** Seconds since 1970. */
  usedAt(number: number): number {
    return this.#usedAt[number] ?? 0;
  }

  sizeOf(number: number): number {
    return this.#sizes[number] ?? 0;
  }

  objectOf(number: number): number {
    return this.#objects[number] ?? 0;
  }

  /** What a path refers to, but itself; some of it may not be there. No copy. */
  references(number: number): Int32Array {
    const first = this.#first[number] ?? ABSENT;
    return first === ABSENT ? NONE : this.#edges.subarray(first, first + (this.#degree[number] ?? 0));
  }
}

const NONE = new Int32Array();

function grown<T extends Int32Array | Uint32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
