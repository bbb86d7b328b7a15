import assert from 'node:assert/strict';
import type { Lease, LeaseSpec } from '../../../../operator/runtime/index.ts';
import { claim, isFree, sight } from '../../../../operator/runtime/lease.ts';

const lease = (resourceVersion: string, spec: LeaseSpec): Lease => ({
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  metadata: { name: 'l', namespace: 'n', uid: 'u', creationTimestamp: '', resourceVersion },
  spec,
});
const theirs = (resourceVersion: string, leaseDurationSeconds = 15) =>
  lease(resourceVersion, { holderIdentity: 'them', leaseDurationSeconds });

describe('whether a lease may be taken', () => {
  const LEASE_MS = 15_000;
  const isFreeAt = (found: Lease | undefined, sinceMs: number, now: number) =>
    isFree({ lease: found, since: sinceMs }, 'us', LEASE_MS, now);

  it('is so for one that does not exist, that nobody holds, or that is ours', () => {
    assert.ok(isFreeAt(undefined, 0, 0));
    assert.ok(isFreeAt(lease('1', { holderIdentity: '' }), 0, 0));
    assert.ok(isFreeAt(lease('1', {}), 0, 0));
    assert.ok(isFreeAt(lease('1', { holderIdentity: 'us' }), 0, 0));
  });

  it('is so for another’s once we have not seen it change for its time', () => {
    assert.ok(!isFreeAt(theirs('1'), 1000, 15_999));
    assert.ok(isFreeAt(theirs('1'), 1000, 16_000));
  });

  it('waits for the time that its holder counts on, if that is longer', () => {
    assert.ok(!isFreeAt(theirs('1', 60), 0, 59_999));
    assert.ok(isFreeAt(theirs('1', 60), 0, 60_000));
    assert.ok(!isFreeAt(theirs('1', 1), 0, 14_999));
  });
});

describe('the sight of a lease', () => {
  it('counts from when it was first seen as it is, whatever its times say', () => {
    const first = sight(undefined, theirs('1'), 1000);
    assert.equal(first.since, 1000);
    assert.equal(sight(first, theirs('1'), 9000), first);
    assert.equal(sight(first, theirs('2'), 9000).since, 9000);
  });

  it('counts anew when the lease goes', () => {
    const first = sight(undefined, theirs('1'), 1000);
    assert.deepEqual(sight(first, undefined, 2000), { lease: undefined, since: 2000 });
  });
});

describe('the claim to a lease', () => {
  const NOW = new Date('2026-01-01T00:00:00.123Z');
  const time = '2026-01-01T00:00:00.123000Z';

  it('counts no change of hands at first, one when it is taken, and none when it is renewed', () => {
    const first = claim(undefined, 'us', 15_000, NOW);
    assert.deepEqual(first, {
      holderIdentity: 'us',
      leaseDurationSeconds: 15,
      acquireTime: time,
      renewTime: time,
      leaseTransitions: 0,
    });
    const later = new Date('2026-01-01T00:00:02Z');
    const renewed = claim(first, 'us', 15_000, later);
    assert.deepEqual([renewed.acquireTime, renewed.leaseTransitions], [time, 0]);
    assert.equal(renewed.renewTime, '2026-01-01T00:00:02.000000Z');
    const taken = claim(renewed, 'them', 15_000, later);
    assert.deepEqual([taken.holderIdentity, taken.leaseTransitions], ['them', 1]);
    assert.equal(taken.acquireTime, '2026-01-01T00:00:02.000000Z');
  });

  it('names a time of whole seconds, at least as long as meant', () => {
    assert.equal(claim(undefined, 'us', 1500, NOW).leaseDurationSeconds, 2);
  });
});
