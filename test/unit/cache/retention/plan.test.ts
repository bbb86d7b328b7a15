import assert from 'node:assert/strict';
import fc from 'fast-check';
import { PathGraph } from '../../../../server/cache/retention/graph.ts';
import { type Policy, planRetention } from '../../../../server/cache/retention/plan.ts';

interface Path {
  readonly to: readonly number[];
  readonly object: number;
  readonly size: number;
  /** Days ago. */
  readonly published: number;
  readonly used: number;
  readonly isPinned: boolean;
}

const DAY = 24 * 3600_000;
const NOW = 2_000_000_000_000;
const hashOf = (index: number) => String(index).padStart(32, '0');
const ago = (days: number) => NOW - days * DAY;

function graphOf(paths: readonly Path[]): PathGraph {
  const graph = new PathGraph(1);
  for (const [index, it] of paths.entries())
    graph.add({
      hash_part: hashOf(index),
      refs: it.to.map((to) => `${hashOf(to)}-p${to}`).join(' '),
      object_id: it.object,
      size: it.size,
      published_at: ago(it.published),
      used_at: Math.max(ago(it.published), ago(it.used)),
    });
  return graph;
}

const NOTHING: Policy = { unusedMs: undefined, highBytes: undefined, lowBytes: undefined, minAgeMs: DAY };

function run(paths: readonly Path[], policy: Partial<Policy>) {
  const graph = graphOf(paths);
  const kept = paths.flatMap((it, index) => (it.isPinned ? [hashOf(index)] : []));
  const plan = planRetention(graph, { ...NOTHING, ...policy }, kept, NOW);
  return { ...plan, gone: Array.from(plan.victims, (it) => Number(graph.hashPartOf(it))) };
}

const path = (more: Partial<Path> = {}): Path => ({
  ...{ to: [], object: Math.random() * 2 ** 31, size: 10, published: 100, used: 100, isPinned: false },
  ...more,
});

describe('a plan of retention', () => {
  it('takes what nobody has used for so many days, and nothing that something used needs', () => {
    const paths = [path({ to: [1] }), path({ to: [2] }), path(), path({ used: 1, to: [2] })];
    assert.deepEqual(run(paths, { unusedMs: 30 * DAY }).gone, [0, 1]);
    assert.deepEqual(run(paths, { unusedMs: 200 * DAY }).gone, []);
    assert.deepEqual(run(paths, {}).gone, []);
  });

  it('leaves pins, what is young, and what either needs', () => {
    const paths = [
      path({ to: [1], isPinned: true }),
      path(),
      path({ to: [3], published: 0.5, used: 0.5 }),
      path(),
      path(),
    ];
    assert.deepEqual(run(paths, { unusedMs: 0 }).gone, [4]);
    assert.deepEqual(run(paths, { highBytes: 0 }).gone, [4]);
  });

  it('above the high mark takes the least recently used until the low one, roots first', () => {
    const paths = [path({ used: 5 }), path({ used: 9, to: [2] }), path({ used: 20 }), path({ used: 7 })];
    assert.deepEqual(run(paths, { highBytes: 40 }).gone, []);
    assert.deepEqual(run(paths, { highBytes: 39, lowBytes: 30 }).gone, [1]);
    assert.deepEqual(run(paths, { highBytes: 39, lowBytes: 20 }).gone, [1, 2]);
    assert.deepEqual(run(paths, { highBytes: 39, lowBytes: 10 }).gone.sort(), [1, 2, 3]);
  });

  it('counts a NAR of several paths once, and frees it with the last of them', () => {
    const paths = [path({ object: 1, used: 9 }), path({ object: 1, used: 8 }), path({ object: 2, used: 7 })];
    assert.equal(run(paths, {}).bytes, 20);
    const { gone, freedBytes } = run(paths, { highBytes: 15, lowBytes: 10 });
    assert.deepEqual(gone.sort(), [0, 1]);
    assert.equal(freedBytes, 10);
  });

  it('is closed: nothing that stays refers to what goes, and a small model says the same', () => {
    const one = fc.record({
      to: fc.array(fc.nat(11), { maxLength: 4 }),
      object: fc.nat(9),
      size: fc.constant(10),
      published: fc.integer({ min: 0, max: 60 }),
      used: fc.integer({ min: 0, max: 60 }),
      isPinned: fc.integer({ min: 0, max: 9 }).map((it) => it === 0),
    });
    fc.assert(
      fc.property(
        fc.array(one, { maxLength: 10 }),
        fc.option(fc.nat(60)),
        fc.option(fc.nat(100)),
        (drawn, days, high) => {
          // Later ones refer to earlier ones, and to what is not there.
          const paths = drawn.map((it, index) => ({
            ...it,
            to: [...new Set(it.to)].filter((to) => to < index || to > 9),
          }));
          const policy = {
            unusedMs: days === null ? undefined : days * DAY,
            highBytes: high ?? undefined,
            lowBytes: high === null ? undefined : high / 2,
          };
          const { gone, victims, roots, bytes, freedBytes } = run(paths, policy);
          const closure = (index: number, seen = new Set<number>()): Set<number> => {
            if (index < paths.length && !seen.has(index)) {
              seen.add(index);
              for (const to of paths[index]?.to ?? []) closure(to, seen);
            }
            return seen;
          };
          const closureOf = (is: (it: Path) => boolean) =>
            new Set(paths.flatMap((it, index) => (is(it) ? [...closure(index)] : [])));
          const safe = closureOf((it) => it.isPinned || it.published <= 1);
          const used = closureOf((it) => days === null || Math.min(it.published, it.used) <= days);
          const stay = paths.flatMap((_, index) => (gone.includes(index) ? [] : [index]));
          for (const index of stay) for (const to of paths[index]?.to ?? []) assert.ok(!gone.includes(to));
          for (const index of gone) assert.ok(!safe.has(index));
          for (const index of stay) assert.ok(safe.has(index) || used.has(index));
          const sum = (list: readonly number[]) => new Set(list.map((it) => paths[it]?.object)).size * 10;
          assert.equal(bytes, sum(paths.map((_, index) => index)));
          assert.equal(freedBytes, bytes - sum(stay));
          if (high === null) for (const index of gone) assert.ok(!used.has(index));
          else if (sum(stay) > high) for (const index of stay) assert.ok(safe.has(index));
          // Referrers before what they refer to; those without any at the beginning.
          const referrersOf = (index: number) => paths.flatMap((it, from) => (it.to.includes(index) ? [from] : []));
          for (const [at, index] of gone.entries()) {
            assert.equal(at < roots, referrersOf(index).length === 0);
            for (const from of referrersOf(index)) assert.ok(gone.indexOf(from) < at);
          }
          assert.equal(victims.length, gone.length);
        },
      ),
      { numRuns: 300 },
    );
  });
});
