// What pods keep mounted although the manifest no longer names it: nothing that a server may still need is taken away.
import assert from 'node:assert/strict';
import { desired } from '../../../../../operator/cache/desired/desired.ts';
import { NOTHING_MOUNTED } from '../../../../../operator/cache/desired/inputs.ts';
import { APPLIED_ANNOTATION } from '../../../../../operator/cache/names.ts';
import { stillMounted } from '../../../../../operator/cache/observe/still-mounted.ts';
import { plan } from '../../../../../operator/cache/plan/plan.ts';
import type { Cache } from '../../../../../operator/cache/types.ts';
import { type AnyObj, withHash } from '../../../../../operator/runtime/index.ts';
import {
  cacheOf,
  inputsOf,
  observedOf,
  podOf,
  reportOf,
  secretsOf,
  secretsView,
} from '../../../../support/operator-fixtures.ts';

const first = { name: 'first', local: {} };
const second = { name: 'second', local: {} };
const bucket = { name: 'bucket', s3: { bucket: 'nix-cache', credentialsSecretRef: { name: 'credentials' } } };

/** What there is of a cache once all of it is made. */
function childrenOf(cache: Cache): Map<string, AnyObj> {
  return new Map(
    desired(cache, inputsOf()).map((wanted) => {
      const object = withHash(wanted, APPLIED_ANNOTATION);
      const { name } = object.metadata;
      const metadata = { ...object.metadata, uid: `uid-of-${name}`, resourceVersion: '1', creationTimestamp: '' };
      return [`${object.kind}/${name}`, { ...object, metadata } as AnyObj];
    }),
  );
}

/** @param known storages that the only server knows; undefined: it does not answer */
function heldAfter(before: Cache, now: Cache, known: Cache | undefined) {
  const reports = new Map(known ? [['main-0', reportOf(known, 'hash')]] : []);
  return stillMounted(now, { children: childrenOf(before), reports });
}

describe('what pods keep for a storage that was removed', () => {
  const both = cacheOf({ storages: [first, second] });
  const one = cacheOf({ storages: [second] });

  it('is its volume, while a server knows it', () => {
    assert.deepEqual(heldAfter(both, one, both), { storages: ['first'], secrets: [] });
  });

  it('is its volume, while no server answers', () => {
    assert.deepEqual(heldAfter(both, one, undefined), { storages: ['first'], secrets: [] });
  });

  it('is nothing once the servers have let go of it', () => {
    assert.deepEqual(heldAfter(both, one, one), NOTHING_MOUNTED);
  });

  it('is nothing where nothing was removed, and before there are pods', () => {
    assert.deepEqual(heldAfter(both, both, both), NOTHING_MOUNTED);
    assert.deepEqual(heldAfter(both, both, undefined), NOTHING_MOUNTED);
    assert.deepEqual(stillMounted(one, { children: new Map(), reports: new Map() }), NOTHING_MOUNTED);
  });

  it('are its credentials, while a server knows it', () => {
    const before = cacheOf({ storages: [bucket, second] });
    const secrets = [{ name: 'credentials', optional: false }];
    assert.deepEqual(heldAfter(before, one, before), { storages: [], secrets });
    assert.deepEqual(heldAfter(before, one, one), NOTHING_MOUNTED);
    // A pod that waits for a Secret which is gone could never be mended.
    assert.deepEqual(heldAfter(before, one, undefined), NOTHING_MOUNTED);
  });

  it('is never the volume of the database', () => {
    const postgres = cacheOf({
      storages: [second],
      database: { postgres: { secretRef: { name: 'database' } } },
      rootSecretRef: { name: 'root' },
      signing: { secretRefs: [{ name: 'signing' }] },
    });
    assert.deepEqual(heldAfter(one, postgres, undefined), NOTHING_MOUNTED);
  });

  it('restarts no pod and deletes no volume', () => {
    const drop = { reclaimPolicy: 'Delete' };
    const before = cacheOf({ ...drop, storages: [first, second] });
    const now = cacheOf({ ...drop, storages: [second] });
    const steps = (known: Cache | undefined, pods = [podOf(now)]) => {
      const observed = observedOf(now, {
        children: childrenOf(before),
        pods,
        secrets: secretsView(now, secretsOf(now)),
        reports: new Map(known ? [['main-0', reportOf(known, 'hash')]] : []),
      });
      const inputs = inputsOf({ stillMounted: stillMounted(now, observed) });
      return plan(now, desired(now, inputs), observed).flatMap((step) =>
        step.do === 'apply' || step.do === 'delete'
          ? [`${step.do} ${step.object.kind}/${step.object.metadata.name}`]
          : [],
      );
    };
    for (const known of [before, undefined])
      assert.deepEqual(
        steps(known).filter((it) => /StatefulSet|PersistentVolumeClaim/.test(it)),
        [],
      );
    const claims = ['main-first', 'main-second'];
    const last = steps(now, [podOf(now, 0, { claims })]);
    assert.ok(last.includes('apply StatefulSet/main') && !last.includes('delete PersistentVolumeClaim/main-first'));
    assert.ok(steps(now).includes('delete PersistentVolumeClaim/main-first'));
  });
});
