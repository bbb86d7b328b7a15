/**
 * Where a new object goes. Pure: the caller gathers what is known of each storage, a strategy returns them in the
 * order in which they should be tried. Reading never asks a strategy; the row says where an object is.
 */

/** What a strategy may know of a writable, healthy storage. Sizes in bytes. */
export interface Candidate {
  readonly name: string;
  /** Bytes of the objects that we keep there, those on their way in included. */
  readonly usedBytes: number;
  /** Placement limit of the manifest; undefined: none. */
  readonly capacityBytes: number | undefined;
  /** Room on the medium, the reserve taken off; undefined: unlimited. */
  readonly freeBytes: number | undefined;
  /** Share of all bytes for Split; 0 takes part only when nothing else has room. */
  readonly weight: number;
}

export type StrategyName = 'InOrder' | 'RoundRobin' | 'Split' | 'LeastUsed';

/** Storages in the order in which to try them. `turn` counts placements, for RoundRobin. */
export type Strategy = (candidates: readonly Candidate[], turn: number) => Candidate[];

export const strategies: Readonly<Record<StrategyName, Strategy>> = {
  InOrder: inOrder,
  RoundRobin: roundRobin,
  Split: split,
  LeastUsed: leastUsed,
};

/** The storages that have room for `size` more bytes, best first. Empty: the cache is full. */
export function place(
  strategy: StrategyName,
  candidates: readonly Candidate[],
  size: number,
  turn: number,
): Candidate[] {
  return strategies[strategy](
    candidates.filter((candidate) => hasRoom(candidate, size)),
    turn,
  );
}

/** Both limits count: the manifest's capacity and what the medium has left. */
export function hasRoom(candidate: Candidate, size: number): boolean {
  const { usedBytes, capacityBytes, freeBytes } = candidate;
  if (capacityBytes !== undefined && usedBytes + size > capacityBytes) return false;
  return freeBytes === undefined || size <= freeBytes;
}

/** The manifest's order: fill one, then the next. */
function inOrder(candidates: readonly Candidate[]): Candidate[] {
  return [...candidates];
}

/** One after the other, object by object. */
function roundRobin(candidates: readonly Candidate[], turn: number): Candidate[] {
  const first = candidates.length === 0 ? 0 : turn % candidates.length;
  return [...candidates.slice(first), ...candidates.slice(0, first)];
}

/**
 * Shares by bytes: the storage whose used bytes are smallest in proportion to its weight comes first. A big object
 * makes its storage wait until the others have caught up, so the shares converge whatever the sizes.
 */
function split(candidates: readonly Candidate[]): Candidate[] {
  return sortedBy(candidates, (candidate) =>
    candidate.weight > 0 ? candidate.usedBytes / candidate.weight : Infinity,
  );
}

/** By share of capacity; without one, capacity is what is used plus what is free. */
function leastUsed(candidates: readonly Candidate[]): Candidate[] {
  return sortedBy(candidates, (candidate) => {
    const medium = candidate.freeBytes === undefined ? Infinity : candidate.usedBytes + candidate.freeBytes;
    const capacity = Math.min(candidate.capacityBytes ?? Infinity, medium);
    // An unlimited storage is never fuller than another; among several, the one with fewer bytes goes first.
    if (capacity === Infinity)
      return candidate.usedBytes === 0 ? 0 : Number.MIN_VALUE * Math.min(candidate.usedBytes, 2 ** 52);
    return capacity === 0 ? 1 : candidate.usedBytes / capacity;
  });
}

/** Stable: equal scores keep the manifest's order. */
function sortedBy(candidates: readonly Candidate[], score: (candidate: Candidate) => number): Candidate[] {
  const scores = new Map(candidates.map((candidate) => [candidate, score(candidate)]));
  return [...candidates].sort((a, b) => {
    const [left, right] = [scores.get(a) ?? 0, scores.get(b) ?? 0];
    return left === right ? 0 : left < right ? -1 : 1;
  });
}
