/**
 * What retention removes. Pure: from the graph of all paths, the manifest's wishes and the clock to a list of paths, those
 * that refer before those that are referred to. What it removes is closed against that direction: nothing that stays
 * refers to what goes.
 */
import type { PathGraph } from './graph.ts';

export interface Policy {
  /** Paths that nobody has used for so long go, unless something that stays needs them. */
  readonly unusedMs: number | undefined;
  /** Published bytes; above `highBytes` the least recently used go until `lowBytes` are left. */
  readonly highBytes: number | undefined;
  readonly lowBytes: number | undefined;
  /** Younger paths stay, and all that they need. */
  readonly minAgeMs: number;
}

export type Reason = 'unused' | 'maxSize';

export interface Plan {
  /** Numbers of paths, referrers first. */
  readonly victims: Int32Array;
  /** Beside them. */
  readonly reasons: readonly Reason[];
  /** How many of them, at the beginning, have no referrer: they go first. */
  readonly roots: number;
  /** Published bytes now, NARs that several paths share counted once. */
  readonly bytes: number;
  /** Of these, what goes. */
  readonly freedBytes: number;
}

/** What becomes of a path. The greater one counts. */
const GOES = 0;
const STAYS = 1;
/** Pinned, young or in use by something else, or needed by such a path: no policy takes it. */
const PROTECTED = 2;

/** @param kept hash parts that stay whatever their age: pins, deployments. @param now milliseconds since 1970 */
export function planRetention(graph: PathGraph, policy: Policy, kept: Iterable<string>, now: number): Plan {
  const { size } = graph;
  const fates = new Uint8Array(size);
  const young = (now - policy.minAgeMs) / 1000;
  for (const hashPart of kept) mark(graph, fates, graph.numberOf(hashPart), PROTECTED);
  for (let it = 0; it < size; it++)
    if (graph.has(it) && graph.publishedAt(it) >= young) mark(graph, fates, it, PROTECTED);
  const unused = policy.unusedMs === undefined ? 0 : (now - policy.unusedMs) / 1000;
  for (let it = 0; it < size; it++) if (graph.has(it) && graph.usedAt(it) >= unused) mark(graph, fates, it, STAYS);

  const { order, referrers } = referrersFirst(graph);
  const files = new Files(graph);
  const bytes = files.bytes;
  const reasons = new Map<number, Reason>();
  for (const it of order)
    if (fates[it] === GOES) {
      reasons.set(it, 'unused');
      files.remove(it);
    }
  const { highBytes, lowBytes = highBytes } = policy;
  if (highBytes !== undefined && files.bytes > highBytes)
    for (const it of leastUsedFirst(graph, order)) {
      if (files.bytes <= (lowBytes ?? 0)) break;
      if (fates[it] !== STAYS) continue;
      reasons.set(it, 'maxSize');
      files.remove(it);
    }
  const going = order.filter((it) => reasons.has(it));
  const roots = going.filter((it) => referrers[it] === 0);
  const victims = new Int32Array(going.length);
  victims.set(roots);
  victims.set(
    going.filter((it) => referrers[it] !== 0),
    roots.length,
  );
  return {
    victims,
    reasons: Array.from(victims, (it) => reasons.get(it) ?? 'unused'),
    roots: roots.length,
    bytes,
    freedBytes: bytes - files.bytes,
  };
}

/** Gives a path and all that it needs a fate, where theirs is a lesser one. */
function mark(graph: PathGraph, fates: Uint8Array, from: number, fate: number): void {
  if (from < 0 || (fates[from] ?? 0) >= fate) return;
  const stack = [from];
  fates[from] = fate;
  for (let it = stack.pop(); it !== undefined; it = stack.pop())
    for (const to of graph.references(it))
      if ((fates[to] ?? 0) < fate) {
        fates[to] = fate;
        stack.push(to);
      }
}

/** Published paths, each after all that refer to it; and how many do. Circles, which Nix does not make, come last. */
function referrersFirst(graph: PathGraph): { order: Int32Array; referrers: Int32Array } {
  const { size } = graph;
  const referrers = new Int32Array(size);
  for (let it = 0; it < size; it++) for (const to of graph.references(it)) referrers[to] = (referrers[to] ?? 0) + 1;
  const left = referrers.slice();
  const order = new Int32Array(graph.paths);
  let end = 0;
  for (let it = 0; it < size; it++) if (graph.has(it) && referrers[it] === 0) order[end++] = it;
  for (let at = 0; at < end; at++)
    for (const to of graph.references(order[at] ?? 0)) {
      left[to] = (left[to] ?? 0) - 1;
      if (left[to] === 0 && graph.has(to)) order[end++] = to;
    }
  if (end < order.length) for (let it = 0; it < size; it++) if (graph.has(it) && (left[it] ?? 0) > 0) order[end++] = it;
  return { order, referrers };
}

/**
 * By the last use of a path or of anything that refers to it. A path is used no earlier than those that refer to it, and
 * comes after them where it was used at the same time.
 */
function leastUsedFirst(graph: PathGraph, order: Int32Array): Int32Array {
  const used = new Uint32Array(graph.size);
  const rank = new Uint32Array(graph.size);
  for (let at = 0; at < order.length; at++) {
    const it = order[at] ?? 0;
    rank[it] = at;
    used[it] = Math.max(used[it] ?? 0, graph.usedAt(it));
    for (const to of graph.references(it)) used[to] = Math.max(used[to] ?? 0, used[it] ?? 0);
  }
  return order.slice().sort((a, b) => (used[a] ?? 0) - (used[b] ?? 0) || (rank[a] ?? 0) - (rank[b] ?? 0));
}

/** Bytes of NARs, those that several paths share once: they go with the last of these. */
class Files {
  readonly #graph: PathGraph;
  /** Of objects that have several. */
  readonly #paths = new Map<number, number>();
  bytes = 0;

  constructor(graph: PathGraph) {
    this.#graph = graph;
    const objects: number[] = [];
    for (let it = 0; it < graph.size; it++) {
      if (!graph.has(it)) continue;
      objects.push(graph.objectOf(it));
      this.bytes += graph.sizeOf(it);
    }
    const sorted = Uint32Array.from(objects).sort();
    for (let at = 1; at < sorted.length; at++) {
      const object = sorted[at] ?? 0;
      if (object === sorted[at - 1]) this.#paths.set(object, (this.#paths.get(object) ?? 1) + 1);
    }
    if (this.#paths.size === 0) return;
    const seen = new Set<number>();
    for (let it = 0; it < graph.size; it++) {
      const object = graph.objectOf(it);
      if (!graph.has(it) || !this.#paths.has(object)) continue;
      if (seen.has(object)) this.bytes -= graph.sizeOf(it);
      seen.add(object);
    }
  }

  remove(path: number): void {
    const object = this.#graph.objectOf(path);
    const paths = this.#paths.get(object) ?? 1;
    if (paths > 1) this.#paths.set(object, paths - 1);
    else this.bytes -= this.#graph.sizeOf(path);
  }
}
