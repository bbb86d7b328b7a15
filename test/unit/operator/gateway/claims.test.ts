import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatClaims, parseClaims } from '../../../../operator/gateway/claim-texts.ts';
import {
  type AllClaims,
  type ClaimRules,
  decideClaims,
  nextRelease,
  type Wish,
} from '../../../../operator/gateway/claims.ts';

const rules: ClaimRules = { nowMs: 9000, most: 3, releaseMs: 5000, together: 'nobody', givesWay: true };
const wish = (namespace: string, key = 'k'): Wish => ({ key, namespace });
/** Of each namespace, what it holds since when, and since when unused. */
type Held = Readonly<Record<string, Readonly<Record<string, readonly [since: number, unused?: number]>>>>;

function claimsOf(held: Held): AllClaims {
  const own = (keys: Held[string]) =>
    new Map(
      Object.entries(keys).map(([key, [sinceMs, unusedMs]]) => [
        key,
        unusedMs === undefined ? { sinceMs } : { sinceMs, unusedMs },
      ]),
    );
  return new Map(Object.entries(held).map(([namespace, keys]) => [namespace, own(keys)]));
}

function heldIn(claims: AllClaims): Held {
  const own = [...claims].map(([namespace, keys]) => {
    const times = [...keys].map(([key, { sinceMs, unusedMs }]) => [
      key,
      unusedMs === undefined ? [sinceMs] : [sinceMs, unusedMs],
    ]);
    return [namespace, Object.fromEntries(times)];
  });
  return Object.fromEntries(own);
}

const decide = (held: Held, wishes: readonly Wish[], more: Partial<ClaimRules> = {}) =>
  decideClaims(claimsOf(held), wishes, { ...rules, ...more });

describe('a claim', () => {
  it('is whose it was first, whoever asks for it later', () => {
    const { claims } = decide({}, [wish('victim')]);
    const later = decideClaims(claims, [wish('attacker'), wish('victim')], { ...rules, nowMs: 10_000 });
    assert.equal(later.verdictOf(wish('victim')), 'held');
    assert.equal(later.verdictOf(wish('attacker')), 'taken');
    assert.deepEqual(heldIn(later.claims), { victim: { k: [9000] } });
  });

  it('is nobody’s where several ask for it at the same moment, or the first one’s where that is the rule', () => {
    const wishes = [wish('b'), wish('a'), wish('b')];
    const none = decide({}, wishes);
    assert.deepEqual(
      [heldIn(none.claims), none.verdictOf(wish('a')), none.verdictOf(wish('b'))],
      [{}, 'doubtful', 'doubtful'],
    );
    const first = decide({}, wishes, { together: 'first' });
    assert.deepEqual([first.verdictOf(wish('a')), first.verdictOf(wish('b'))], ['taken', 'held']);
  });

  it('is of whoever is left once the others ask no more', () => {
    assert.equal(decide({}, [wish('a')]).verdictOf(wish('a')), 'held');
  });

  it('stays a while when nothing needs it: what vanishes for a moment is not for others to grab', () => {
    const gone = decide({ victim: { k: [1000] } }, [wish('attacker')]);
    assert.equal(gone.verdictOf(wish('attacker')), 'taken');
    assert.deepEqual(heldIn(gone.claims), { victim: { k: [1000, 9000] } });
    const back = decideClaims(gone.claims, [wish('attacker'), wish('victim')], { ...rules, nowMs: 13_999 });
    assert.deepEqual(heldIn(back.claims), { victim: { k: [1000] } });
  });

  it('ends after its time, and then it is for others', () => {
    const held = { victim: { k: [1000, 4001] }, other: { x: [1000, 4500] } } as const;
    const early = decide(held, [wish('next')]);
    assert.equal(early.verdictOf(wish('next')), 'taken');
    assert.equal(nextRelease(early.claims, 5000), 9001);
    const due = decide(held, [wish('next')], { nowMs: 9001 });
    assert.deepEqual(heldIn(due.claims), { other: { x: [1000, 4500] }, next: { k: [9001] } });
  });

  it('never ends where there is no time', () => {
    const { claims } = decide({ a: { k: [0, 1] } }, [], { releaseMs: undefined, nowMs: 1e15 });
    assert.deepEqual(heldIn(claims), { a: { k: [0, 1] } });
    assert.equal(nextRelease(claims, undefined), undefined);
  });

  it('is refused beyond the bound of a namespace, and no other namespace is', () => {
    const keys = ['1', '2', '3', '4'];
    const wishes = [...keys.map((key) => wish('greedy', key)), wish('modest', '5')];
    const { verdictOf } = decide({}, wishes);
    assert.deepEqual(wishes.map(verdictOf), ['held', 'held', 'held', 'full', 'held']);
  });

  it('that nothing needs makes room for another of its namespace, the one that was unused for longest first', () => {
    const held = { a: { 1: [1, 8000], 2: [1], 3: [1, 7000] } } as const;
    const wishes = [wish('a', '2'), wish('a', '4')];
    assert.deepEqual(Object.keys(heldIn(decide(held, wishes).claims).a ?? {}), ['1', '2', '4']);
    const firm = decide(held, wishes, { givesWay: false });
    assert.equal(firm.verdictOf(wish('a', '4')), 'full');
  });

  it('is kept beyond a bound that was lowered', () => {
    const wishes = ['1', '2', '3'].map((key) => wish('a', key));
    const { claims } = decide({}, wishes);
    const lower = decideClaims(claims, [...wishes, wish('a', '4')], { ...rules, most: 1 });
    assert.deepEqual(wishes.map(lower.verdictOf), ['held', 'held', 'held']);
    assert.equal(lower.verdictOf(wish('a', '4')), 'full');
  });

  it('of two that an administrator wrote down is the older one', () => {
    const { claims, holderOf } = decide({ a: { k: [5000] }, b: { k: [0] } }, [wish('a'), wish('b')]);
    assert.equal(holderOf('k'), 'b');
    assert.deepEqual(heldIn(claims), { b: { k: [0] } });
  });

  const key = fc.constantFrom('k', 'constructor', '__proto__', 'l', 'm');
  const namespace = fc.constantFrom('a', 'b', 'c');
  const wishes = fc.array(fc.record({ key, namespace }), { maxLength: 12 });
  const times = fc.tuple(fc.nat(9000), fc.option(fc.nat(9000), { nil: undefined }));
  const records = fc.array(fc.tuple(namespace, key, times), { maxLength: 9 }).map((list): AllClaims => {
    const all = new Map<string, Map<string, { sinceMs: number; unusedMs?: number }>>();
    for (const [where, what, [sinceMs, unusedMs]] of list)
      all.set(where, (all.get(where) ?? new Map()).set(what, { sinceMs, ...(unusedMs !== undefined && { unusedMs }) }));
    return all;
  });
  const someRules = fc.record({
    nowMs: fc.constant(9000),
    most: fc.integer({ min: 1, max: 4 }),
    releaseMs: fc.option(fc.nat(9000), { nil: undefined }),
    together: fc.constantFrom('first' as const, 'nobody' as const),
    givesWay: fc.boolean(),
  });

  it('has one holder at most, and never passes on while its holder asks for it', () => {
    fc.assert(
      fc.property(records, wishes, someRules, (known, asked, how) => {
        const { claims, holderOf, verdictOf } = decideClaims(known, asked, how);
        const holders = [...claims].flatMap(([where, own]) => [...own.keys()].map((it) => [it, where] as const));
        assert.equal(new Set(holders.map(([it]) => it)).size, holders.length);
        for (const [it, where] of holders) assert.equal(holderOf(it), where);
        const before = decideClaims(known, [], { ...how, releaseMs: undefined, nowMs: 0 });
        for (const one of asked)
          if (before.holderOf(one.key) === one.namespace) assert.equal(verdictOf(one), 'held', JSON.stringify(one));
      }),
    );
  });

  it('is decided once: the same question again changes nothing', () => {
    fc.assert(
      // What makes room is free for others only when they are looked at again.
      fc.property(records, wishes, someRules, (known, asked, some) => {
        const how = { ...some, givesWay: false };
        const { claims } = decideClaims(known, asked, how);
        assert.deepEqual(heldIn(decideClaims(claims, asked, how).claims), heldIn(claims));
      }),
    );
  });
});

describe('claims as they are written down', () => {
  const second = fc.nat(4_000_000_000).map((seconds) => seconds * 1000);
  const claim = fc
    .tuple(second, fc.option(second, { nil: undefined }))
    .map(([sinceMs, unusedMs]) => (unusedMs === undefined ? { sinceMs } : { sinceMs, unusedMs }));
  const digits = fc.bigInt(0n, 2n ** 64n - 1n).map((it) => it.toString(16).padStart(16, '0'));
  const claims = <K extends string>(key: fc.Arbitrary<K>) =>
    fc.array(fc.tuple(key, claim), { maxLength: 5 }).map((list) => new Map(list));

  it('are read back as they were', () => {
    const names = claims(fc.constantFrom('main', 'constructor', 'deadbeefdeadbeef', 'a'));
    fc.assert(
      fc.property(names, claims(digits), (own, tokens) => {
        assert.deepEqual(parseClaims(formatClaims({ names: own, tokens })), { names: own, tokens });
      }),
    );
  });

  it('are what a person reads and writes', () => {
    const names = new Map([['main', { sinceMs: 1_893_456_000_000 }]]);
    const tokens = new Map([['ab'.repeat(8), { sinceMs: 1_893_456_000_000, unusedMs: 1_893_542_400_000 }]]);
    assert.deepEqual(formatClaims({ names, tokens }), {
      main: '2030-01-01T00:00:00Z',
      'tokens.txt': 'abababababababab 2030-01-01T00:00:00Z unused 2030-01-02T00:00:00Z\n',
    });
    assert.equal(formatClaims({ names: new Map(), tokens: new Map() }), undefined);
  });

  it('are older than all others without a time, and nothing where they are none', () => {
    const { names, tokens } = parseClaims({
      main: '',
      other: 'for ever',
      'no name': 'x',
      'tokens.txt': 'nonsense\n\nAB 1\n',
    });
    assert.deepEqual(
      [...names],
      [
        ['main', { sinceMs: 0 }],
        ['other', { sinceMs: 0 }],
      ],
    );
    assert.equal(tokens.size, 0);
  });
});
