/** What a run of the garbage collection may come to, and what the conditions say then. */
import type { CollectionStatus } from '../../crds/index.ts';
import { told } from '../support/operator-scenes.ts';
import { fine, type Row } from './conditions-row.ts';

/** A cache whose newest run of the garbage collection is so. */
const collected = (state: CollectionStatus['state']) => ({
  ...{ bytes: 2 ** 32, paths: 40, retiredPaths: 0 },
  lastGC: {
    ...{ run: 7, state, begunAt: '2030-02-02T04:05:06Z', endedAt: null, message: 'the clock has jumped' },
    ...{ paths: 40, bytes: 2 ** 32, removedPaths: 30, removedBytes: 3 * 2 ** 30 },
  },
});

export const GC_ROWS: readonly Row[] = [
  {
    title: 'a run of the garbage collection waits to be confirmed',
    scene: told({ usage: collected('held') }),
    expected: {
      Ready: fine,
      CollectionHeld: [
        'True',
        'ConfirmationNeeded',
        /^run 7 would remove 30 of 40 paths, 3GiB of 4GiB, and waits: the clock has jumped\. Look with "kubectl exec -n team main-0 -- narwhal-server gc --dry-run", .* gc --confirm"$/,
      ],
    },
  },
  {
    title: 'a run of the garbage collection has failed',
    scene: told({ usage: collected('failed') }),
    expected: { Ready: fine, CollectionHeld: undefined },
  },
  {
    title: 'the quota is not near',
    scene: told({ usage: collected('done') }, undefined, { quota: { maxSize: '8Gi' } }),
    expected: { Ready: fine, WithinQuota: ['True', 'Ready', /^the cache holds 4GiB of 8GiB$/] },
  },
  {
    title: 'the quota is near',
    scene: told({ usage: collected('done') }, undefined, { quota: { maxSize: '4.5Gi' } }),
    expected: {
      Ready: fine,
      WithinQuota: ['False', 'QuotaNear', /^the cache holds 4GiB of 4\.5GiB, .*raise spec\.quota/],
    },
  },
  {
    title: 'the quota is used up',
    scene: told({ usage: collected('done') }, undefined, { quota: { maxSize: '4Gi', softPercent: 50 } }),
    expected: {
      Ready: fine,
      WithinQuota: ['False', 'QuotaReached', /^the cache holds 4GiB of 4GiB: pushes are refused/],
    },
  },
  {
    title: 'what was held was confirmed',
    scene: told({ usage: collected('running') }),
    expected: { Ready: fine, CollectionHeld: undefined },
  },
];
