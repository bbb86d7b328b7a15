/**
 * A table whose caches lie in a shard for each namespace. What is wrong with one shard concerns no other: its last good
 * text goes on. What two shards claim is nobody's, since a token must never reach a stranger. Pure but for its memory.
 */
import { hashOfText, parseRoutingShard, type RoutingShard } from '../../crds/index.ts';

interface Shard {
  readonly text: string;
  readonly sha256: string;
  readonly caches: RoutingShard['caches'];
}

/** What the shards come to. */
export interface Union {
  readonly caches: RoutingShard['caches'];
  /** Of the texts that run, by namespace. */
  readonly hashes: Readonly<Record<string, string>>;
  /** A line for each shard whose text does not run. */
  readonly errors: readonly string[];
}

export class Shards {
  /** The last good text of each. */
  #good: ReadonlyMap<string, Shard> = new Map();

  /** @param texts by namespace */
  use(texts: ReadonlyMap<string, string>): Union {
    const errors: string[] = [];
    const good = new Map<string, Shard>();
    for (const [namespace, text] of texts) {
      const before = this.#good.get(namespace);
      try {
        // Most are as they were.
        good.set(namespace, before?.text === text ? before : shardOf(text));
      } catch (error) {
        errors.push(`${namespace}: ${error instanceof Error ? error.message : String(error)}`);
        if (before) good.set(namespace, before);
      }
    }
    this.#good = good;
    const hashes = Object.fromEntries([...good].map(([namespace, { sha256 }]) => [namespace, sha256]));
    return { caches: union([...good.values()].map(({ caches }) => caches)), hashes, errors };
  }
}

function shardOf(text: string): Shard {
  return { text, sha256: hashOfText(text), caches: parseRoutingShard(text).caches };
}

function union(shards: readonly RoutingShard['caches'][]): RoutingShard['caches'] {
  const doubtful = inSeveral(shards.map((caches) => Object.keys(caches)));
  const shared = inSeveral(shards.map((caches) => Object.values(caches).flatMap(({ tokens }) => tokens)));
  const routes = shards.flatMap((caches) => Object.entries(caches)).filter(([name]) => !doubtful.has(name));
  return Object.fromEntries(
    routes.map(([name, route]) => {
      const tokens = shared.size === 0 ? route.tokens : route.tokens.filter((digits) => !shared.has(digits));
      return [name, { ...route, tokens }];
    }),
  );
}

/** What stands in more than one of the lists. */
function inSeveral(lists: readonly (readonly string[])[]): ReadonlySet<string> {
  const seen = new Set<string>();
  const several = new Set<string>();
  for (const list of lists) {
    for (const word of new Set(list)) {
      if (seen.has(word)) several.add(word);
      seen.add(word);
    }
  }
  return several;
}
