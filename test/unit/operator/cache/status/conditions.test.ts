import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { binaryCacheStatus } from '../../../../../crds/binary-cache-status.ts';
import { validate } from '../../../../../crds/validate.ts';
import { configHash } from '../../../../../operator/cache/desired/config.ts';
import * as reasons from '../../../../../operator/cache/reasons.ts';
import { overdueStatus, status } from '../../../../../operator/cache/status/status.ts';
import type { Condition } from '../../../../../operator/runtime/index.ts';
import { cacheOf, podOf, reportOf, secretsView, storageReport } from '../../../../support/operator-fixtures.ts';
import { DONE, type Scene, wellOf } from '../../../../support/operator-world.ts';
import { ROWS } from '../../../../tables/conditions.ts';

const NOW = new Date('2030-02-03T04:05:06.789Z');

function statusOf({ cache, inputs, observed, outcome, lacking }: Scene) {
  return status(cache, inputs, observed, outcome, configHash(cache, inputs), NOW, lacking);
}

function conditionsOf(scene: Scene): Condition[] {
  return (statusOf(scene).conditions ?? []) as Condition[];
}

describe('the conditions of a cache', () => {
  for (const { title, scene, expected } of ROWS)
    it(`say that ${title}`, () => {
      const conditions = conditionsOf(scene());
      for (const [type, want] of Object.entries(expected)) {
        const found = conditions.find((it) => it.type === type);
        if (want === undefined) {
          assert.equal(found, undefined, type);
          continue;
        }
        const [status, reason, message] = want;
        assert.deepEqual([found?.status, found?.reason], [status, reason], `${type}: ${found?.message}`);
        assert.match(found?.message ?? '', message, type);
      }
    });

  it('fit the CRD, whatever is wrong', () => {
    for (const { title, scene } of ROWS)
      assert.deepEqual(validate(binaryCacheStatus, statusOf(scene())).issues, [], title);
  });

  it('begin with Ready, and have each type once', () => {
    for (const { title, scene } of ROWS) {
      const types = conditionsOf(scene()).map(({ type }) => type);
      assert.equal(types[0], reasons.READY, title);
      assert.equal(new Set(types).size, types.length, title);
    }
  });

  it('tell whether Ready could be True: only where nothing that it sums up is False', () => {
    for (const { title, scene } of ROWS) {
      const conditions = conditionsOf(scene());
      const summed = [reasons.AVAILABLE, reasons.KEYS_READY];
      const isBad = conditions.some(({ type, status }) => summed.includes(type) && status !== 'True');
      if (isBad) assert.notEqual(conditions[0]?.status, 'True', title);
    }
  });
});

const TYPES = new Set<string>([
  reasons.READY,
  reasons.AVAILABLE,
  reasons.CONFIG_CURRENT,
  reasons.KEYS_READY,
  reasons.STORAGES_READY,
  reasons.EXPOSED,
  reasons.TOKENS_ROUTED,
  reasons.DRAINING,
  reasons.TOKEN_FOLLOWS_REDIRECTS,
  reasons.OBJECTS_LOST,
  reasons.CLOSURES_COMPLETE,
  reasons.COLLECTION_HELD,
  reasons.WITHIN_QUOTA,
  reasons.PINS_PRESENT,
  reasons.PAUSED,
  reasons.MONITORED,
]);

describe('the reasons', () => {
  const overdue = (overdueStatus(cacheOf(), 300_000, NOW).conditions ?? []) as Condition[];
  const all = [...ROWS.flatMap(({ scene }) => conditionsOf(scene())), ...overdue];

  it('are each given in some row of the table, and so are the types', () => {
    const given = new Set(all.flatMap(({ type, reason }) => [type, reason]));
    assert.deepEqual(new Set(Object.values(reasons)), given);
    assert.deepEqual(new Set(all.map(({ type }) => type)), TYPES);
  });

  it('are words that programs may know', () => {
    for (const reason of Object.values(reasons)) assert.match(reason, /^[A-Z][A-Za-z]+$/);
  });

  const docs = (name: string) => readFileSync(path.join(import.meta.dirname, '../../../../../docs', name), 'utf8');

  it('are each explained in docs/troubleshooting.md, and no others are', () => {
    const page = docs('troubleshooting.md');
    const section = page.slice(page.indexOf('## Conditions'));
    const explained = [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, reason = '']) => reason);
    assert.deepEqual(explained.toSorted(), [...new Set(all.map(({ reason }) => reason))].sort());
  });

  it('have types that docs/operator.md explains, each', () => {
    const page = docs('operator.md');
    const section = page.slice(page.indexOf('| condition | true means |'));
    const explained = [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, type = '']) => type);
    assert.deepEqual(explained.toSorted(), [...TYPES].sort());
  });
});

/** Everything that may be wrong at once, in the order in which a person should look at it. */
const TROUBLES = [
  'Paused',
  'Unsupported',
  'SecretMissing',
  'ApplyFailed',
  'CrdOutdated',
  'Contested',
  'Progressing: it waits for something',
  'ConfigRejected',
  'SecretMissing: a server has lost a key',
  'DatabaseUnavailable',
  'PodFailing',
  'Progressing: pods are made',
  'Progressing: a server runs what was before',
  'ExpansionNotAllowed',
  'StorageUnavailable',
  'StorageFull',
  'Ready',
] as const;

/** A cache with all the troubles but those that have been mended. */
function troubled(mended: number): Scene {
  const has = (trouble: (typeof TROUBLES)[number]) => TROUBLES.indexOf(trouble) >= mended;
  const cache = cacheOf(
    { rootSecretRef: { name: 'mine' } },
    has('Paused') ? { annotations: { 'narwhal.dev/paused': 'true' } } : {},
  );
  const well = wellOf(cache);
  const { inputs, observed } = well;
  const illness = { phase: 'Unavailable', reason: 'gone' } as const;
  const hash = has('Progressing: a server runs what was before') ? 'f'.repeat(64) : configHash(cache, inputs);
  const report = reportOf(cache, hash, {
    ...(has('ConfigRejected') && { error: 'wrong' }),
    ...(has('SecretMissing: a server has lost a key') && { keysLost: 'gone' }),
    ...(has('DatabaseUnavailable') && { databaseError: 'away' }),
    storages: [storageReport('disk', { ...(has('StorageUnavailable') ? illness : {}), full: has('StorageFull') })],
  });
  const waiting = { reason: 'CrashLoopBackOff' };
  const status = {
    containerStatuses: [{ name: 'server', ready: false, restartCount: 1, image: '', imageID: '', state: { waiting } }],
  };
  return {
    ...well,
    lacking: has('CrdOutdated') ? ['image'] : [],
    observed: {
      ...observed,
      reports: new Map([['main-0', report]]),
      ...(has('SecretMissing') && { secrets: secretsView(cache, []) }),
      ...(has('Unsupported') && { obstacles: [{ reason: 'Unsupported', message: 'no' }] }),
      ...(has('PodFailing') && { pods: [podOf(cache, 0, { status })] }),
      ...(has('Progressing: pods are made') && { children: new Map() }),
    },
    outcome: {
      ...DONE,
      ...DONE,
      steps: has('Progressing: it waits for something') ? [{ do: 'wait', because: 'it goes' }] : [],
      notGrown: new Map(has('ExpansionNotAllowed') ? [['disk', 'no']] : []),
      contested: has('Contested') ? ['again'] : [],
      ...(has('ApplyFailed') && { error: new Error('no') }),
    },
  };
}

describe('of several things that are wrong, Ready', () => {
  for (const [mended, trouble] of TROUBLES.entries())
    it(`tells of this one, once all before it are mended: ${trouble}`, () => {
      const [ready] = conditionsOf(troubled(mended));
      assert.equal(ready?.reason, trouble.split(':')[0], ready?.message);
    });
});
