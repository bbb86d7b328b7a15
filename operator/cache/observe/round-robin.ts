/**
 * Who comes next where there is more to do than can be done in a round: groups take turns, so that a large one is late
 * with its own and no other. Each goes on where it ended the last time.
 */

export class RoundRobin<T> {
  /** Of each group that had not all its turns, how many it has had. */
  #had = new Map<string, number>();
  /** Who had the last turn. */
  #last = '';

  /** The items of one round, each once at most. @param most of them */
  take(groups: ReadonlyMap<string, readonly T[]>, most: number): T[] {
    const names = [...groups].flatMap(([name, { length }]) => (length > 0 ? [name] : []));
    const start = names.indexOf(this.#last) + 1;
    let waiting = [...names.slice(start), ...names.slice(0, start)];
    const had = new Map<string, number>();
    const taken: T[] = [];
    for (let pass = 0; waiting.length > 0 && taken.length < most; pass++) {
      for (const name of waiting.slice(0, most - taken.length)) {
        const items = groups.get(name) ?? [];
        const next = ((this.#had.get(name) ?? 0) + pass) % items.length;
        taken.push(...items.slice(next, next + 1));
        had.set(name, next + 1);
        this.#last = name;
      }
      waiting = waiting.filter((name) => pass + 1 < (groups.get(name)?.length ?? 0));
    }
    // Those that had no turn this time stay where they are.
    this.#had = new Map(names.map((name) => [name, had.get(name) ?? this.#had.get(name) ?? 0]));
    return taken;
  }
}

/** How many rounds it takes until the largest group had all its turns. @param most turns in a round */
export function roundsOf(groups: ReadonlyMap<string, readonly unknown[]>, most: number): number {
  const sizes = [...groups.values()].map(({ length }) => length).sort((a, b) => a - b);
  let left = most;
  for (const [index, size] of sizes.entries()) {
    const share = left / (sizes.length - index);
    if (size > share) return (sizes.at(-1) ?? 0) / share;
    left -= size;
  }
  return 1;
}
