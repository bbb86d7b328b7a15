/** What may be wrong with the storages of a cache, and what its conditions say then. */
import { withSpec } from '../support/live-object.ts';
import { storageReport } from '../support/operator-fixtures.ts';
import { disk, storage, told, where } from '../support/operator-scenes.ts';
import { DONE } from '../support/operator-world.ts';
import { fine, type Row } from './conditions-row.ts';

const daysAgo = (days: number) => new Date(Date.parse('2030-02-03T04:05:06Z') - days * 24 * 3600_000).toISOString();

export const STORAGE_ROWS: readonly Row[] = [
  {
    title: 'a storage cannot be used',
    scene: storage({ phase: 'Unavailable', state: 'Unavailable', reason: 'its folder is not mounted' }),
    expected: {
      Ready: ['False', 'StorageUnavailable', /^storage disk: its folder is not mounted$/],
      StoragesReady: ['False', 'StorageUnavailable', /not mounted/],
    },
  },
  {
    title: 'a storage has no room, and another has',
    scene: told(
      { storages: [storageReport('disk', { full: true, freeBytes: 2000 }), storageReport('more')] },
      undefined,
      {
        storages: [
          { name: 'disk', local: {} },
          { name: 'more', local: {} },
        ],
      },
    ),
    expected: {
      Ready: fine,
      StoragesReady: ['False', 'StorageFull', /^storage disk has no room: pushes go to the others.*let it grow/],
    },
  },
  {
    title: 'no storage has room',
    scene: told(
      {
        storages: [
          storageReport('disk', { full: true }),
          storageReport('old', { mode: 'ReadOnly' }),
          storageReport('more', { full: true }),
        ],
      },
      undefined,
      {
        storages: [
          { name: 'disk', local: {} },
          { name: 'old', mode: 'ReadOnly', local: {} },
          { name: 'more', local: {} },
        ],
      },
    ),
    expected: {
      Ready: [
        'False',
        'StorageFull',
        /^storages disk, more have no room: pushes are refused, pulls go on.*add a storage/,
      ],
      StoragesReady: ['False', 'StorageFull', /^storages disk, more/],
    },
  },
  {
    title: 'draining stands still',
    scene: storage({ mode: 'Drain', phase: 'Paused', reason: 'NoSpace', lastError: 'no storage has room' }),
    expected: {
      Ready: ['False', 'DrainPaused', /^storage disk is not drained further \(NoSpace\): no storage has room$/],
      StoragesReady: ['False', 'DrainPaused', /NoSpace/],
      Draining: undefined,
    },
  },
  {
    title: 'a storage is being drained',
    scene: storage({ mode: 'Drain', phase: 'Draining', objects: 12, movedObjects: 30 }),
    expected: { Ready: fine, StoragesReady: fine, Draining: ['True', 'Moving', /^disk: 30 moved, 12 left$/] },
  },
  {
    title: 'a storage is drained',
    scene: storage({ mode: 'Drain', phase: 'Drained', objects: 0 }),
    expected: { Ready: fine, Draining: undefined },
  },
  {
    title: 'objects are lost',
    scene: told({ lostObjects: 2, storages: [storageReport('disk', { lostObjects: 2 })] }),
    expected: {
      Ready: fine,
      StoragesReady: fine,
      ObjectsLost: ['True', 'BytesMissing', /^2 objects are lost \(storage disk: 2\): .* pushed again/],
    },
  },
  {
    title: 'an object is lost whose storage is gone',
    scene: told({ lostObjects: 1 }),
    expected: { Ready: fine, ObjectsLost: ['True', 'BytesMissing', /^1 object is lost: /] },
  },
  {
    title: 'a push is under way',
    scene: told({ waiting: { paths: 2, since: daysAgo(0.9) } }),
    expected: { Ready: fine, ClosuresComplete: undefined },
  },
  {
    title: 'paths lack something of their closure',
    scene: told({ waiting: { paths: 2, since: daysAgo(1.1) } }),
    expected: {
      Ready: fine,
      ClosuresComplete: [
        'False',
        'ReferencesMissing',
        /^2 paths refer to what is not in this cache, since .* not given to readers: push/,
      ],
    },
  },
  {
    title: 'a path lacks something, and is served all the same',
    scene: told({ waiting: { paths: 1, since: daysAgo(2) } }, undefined, { closures: 'Warn' }),
    expected: {
      Ready: fine,
      ClosuresComplete: ['False', 'ReferencesMissing', /^1 path refers to .* closures: Warn/],
    },
  },
  {
    title: 'a volume may not grow',
    scene: where({
      outcome: { ...DONE, notGrown: new Map([['disk', 'only dynamically provisioned pvc can be resized']]) },
    }),
    expected: {
      Ready: ['False', 'ExpansionNotAllowed', /^storage disk: only dynamically/],
      StoragesReady: ['False', 'ExpansionNotAllowed', /only dynamically/],
    },
  },
  {
    title: 'a volume is growing',
    scene: disk(withSpec({ resources: { requests: { storage: '20Gi' } } })),
    expected: { Ready: fine, StoragesReady: ['False', 'Resizing', /^volume main-disk grows from 10Gi to 20Gi$/] },
  },
  {
    title: 'the file system of a volume waits for a pod',
    scene: disk((it) => ({ ...it, status: { conditions: [{ type: 'FileSystemResizePending', status: 'True' }] } })),
    expected: { StoragesReady: ['False', 'Resizing', /main-disk/] },
  },
  {
    title: 'a volume has the size that was asked for, in other words',
    scene: disk((it) => ({
      ...withSpec({ resources: { requests: { storage: '1.1Gi' } } })(it),
      status: { capacity: { storage: '1181116006400m' } },
    })),
    expected: { StoragesReady: fine },
  },
];
