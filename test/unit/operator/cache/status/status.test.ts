import assert from 'node:assert/strict';
import fc from 'fast-check';
import { binaryCacheStatus } from '../../../../../crds/binary-cache-status.ts';
import type { ServerStatus } from '../../../../../crds/index.ts';
import { validate } from '../../../../../crds/validate.ts';
import { configHash } from '../../../../../operator/cache/desired/config.ts';
import { isServerStatus } from '../../../../../operator/cache/observe/servers.ts';
import { differsInSubstance, overdueStatus, status } from '../../../../../operator/cache/status/status.ts';
import type { Cache } from '../../../../../operator/cache/types.ts';
import type { Value } from '../../../../support/manifests.ts';
import {
  cacheOf,
  observedOf,
  reportOf,
  secretsOf,
  secretsView,
  storageReport,
} from '../../../../support/operator-fixtures.ts';
import { DONE, type Scene, wellOf } from '../../../../support/operator-world.ts';

const NOW = new Date('2030-02-03T04:05:06.789Z');
const LATER = new Date('2030-02-03T05:00:00Z');

function statusOf({ cache, inputs, observed, outcome, lacking }: Scene, now = NOW) {
  return status(cache, inputs, observed, outcome, configHash(cache, inputs), now, lacking);
}

type Status = ReturnType<typeof statusOf>;

/** The scene again, of a cache that has had this status written. */
const withStatus = (scene: Scene, before: Status): Scene => ({ ...scene, cache: { ...scene.cache, status: before } });

const silent = (scene: Scene): Scene => ({ ...scene, observed: { ...scene.observed, reports: new Map() } });

/** With these reports of its pods. */
const telling = (scene: Scene, ...reports: ServerStatus[]): Scene => ({
  ...scene,
  observed: { ...scene.observed, reports: new Map(reports.map((report, index) => [`main-${index}`, report])) },
});

describe('the status of a cache', () => {
  it('sums up what there is', () => {
    const scene = wellOf(cacheOf({}, { generation: 7 }));
    const { conditions: _, ...rest } = statusOf(scene);
    assert.deepEqual(rest, {
      configHash: configHash(scene.cache, scene.inputs),
      pods: [{ name: 'main-0', config: 'Current', since: '2030-02-03T04:05:06Z' }],
      observedGeneration: 7,
      replicas: 1,
      readyReplicas: 1,
      selector: 'app.kubernetes.io/name=narwhal,app.kubernetes.io/instance=main,app.kubernetes.io/component=server',
      url: 'https://main.cache.example.org',
      image: 'narwhal:1.0.0',
      publicKeys: [`main.cache.example.org-1:${'A'.repeat(43)}=`],
      storages: [{ name: 'disk', phase: 'Ready', used: '5Mi', capacity: '10Gi' }],
    });
  });

  it('sums up nothing, where there is nothing yet', () => {
    const cache = cacheOf();
    const { conditions: _, ...rest } = statusOf({ ...wellOf(cache), observed: observedOf(cache) });
    const { replicas, readyReplicas, image, publicKeys, storages } = rest;
    assert.deepEqual([replicas, readyReplicas, image, publicKeys], [0, 0, undefined, []]);
    assert.deepEqual(storages, [{ name: 'disk', phase: 'Pending' }]);
  });

  it('lacks what the installed CRD does not know', () => {
    const lacking = ['storages[].used', 'image', 'conditions[].observedGeneration'];
    const { image, storages, conditions } = statusOf({ ...wellOf(cacheOf()), lacking });
    assert.deepEqual([image, storages], [undefined, [{ name: 'disk', phase: 'Ready', capacity: '10Gi' }]]);
    for (const condition of conditions ?? []) assert.equal(condition.observedGeneration, undefined);
  });

  for (const [title, spec, apiUrl, url] of [
    [
      'the gateway',
      { ingress: { host: 'a.b' } },
      'https://cache.example.org:8443',
      'https://main.cache.example.org:8443',
    ],
    ['the Ingress', { ingress: { host: 'a.b' } }, undefined, 'http://a.b'],
    ['the Ingress, with TLS', { ingress: { host: 'a.b', tlsSecretName: 'tls' } }, undefined, 'https://a.b'],
    [
      'the Service, where the Ingress has no one host',
      { ingress: { host: '*.a.b' } },
      undefined,
      'http://main.team.svc',
    ],
    ['the HTTPRoute', route('*.a.b', 'c.d'), undefined, 'https://c.d'],
    ['the Service, where the HTTPRoute has no one host', route('*.a.b'), undefined, 'http://main.team.svc'],
    ['the Service', {}, undefined, 'http://main.team.svc'],
  ] as const)
    it(`has the URL of ${title}`, () => {
      assert.equal(statusOf(wellOf(cacheOf(spec as Value), { apiUrl })).url, url);
    });

  function route(...hostnames: string[]): Value {
    return { httpRoute: { hostnames, parentRefs: [{ name: 'gw' }] } };
  }
});

describe('the time of a condition', () => {
  const well = wellOf(cacheOf());
  const first = statusOf(well);
  const timeOf = (of: Status, type: string) => of.conditions?.find((it) => it.type === type)?.lastTransitionTime;

  it('is when it was first found, in whole seconds', () => {
    assert.equal(timeOf(first, 'Ready'), '2030-02-03T04:05:06Z');
  });

  it('stays while the status is the same', () => {
    assert.deepEqual(statusOf(withStatus(well, first), LATER), first);
  });

  it('stays where only the reason is another', () => {
    const pending = { ...well, outcome: { ...DONE, error: new Error('no') } };
    const other = { ...well, outcome: { ...DONE, steps: [{ do: 'wait', because: 'it goes' }] } } as const;
    const next = statusOf(withStatus(other, statusOf(pending)), LATER);
    assert.equal(next.conditions?.[0]?.reason, 'Progressing');
    assert.equal(timeOf(next, 'Ready'), '2030-02-03T04:05:06Z');
  });

  it('is new where the status is another, and for that condition only', () => {
    const next = statusOf(withStatus({ ...well, outcome: { ...DONE, error: new Error('no') } }, first), LATER);
    assert.equal(timeOf(next, 'Ready'), '2030-02-03T05:00:00Z');
    assert.equal(timeOf(next, 'Available'), '2030-02-03T04:05:06Z');
  });

  it('comes with the generation that was looked at', () => {
    const next = statusOf(withStatus(wellOf(cacheOf({}, { generation: 9 })), first), LATER);
    for (const { observedGeneration } of next.conditions ?? []) assert.equal(observedGeneration, 9);
  });
});

describe('the public keys in the status', () => {
  const cache = cacheOf();
  const well = wellOf(cache);
  const keysOf = (scene: Scene) => statusOf(scene).publicKeys;
  const [ours = ''] = well.observed.secrets.publicKeys;
  const registered = `registered-1:${'B'.repeat(43)}=`;

  it('are those that the servers tell of, each once', () => {
    const report = reportOf(cache, '', { publicKeys: [ours, registered] });
    assert.deepEqual(keysOf(telling(well, report, report)), [ours, registered]);
  });

  it('are those of the Secrets before any server runs', () => {
    assert.deepEqual(keysOf(silent(well)), [ours]);
  });

  it('do not vanish while no server answers, not even those that no Secret has', () => {
    const before = statusOf(telling(well, reportOf(cache, '', { publicKeys: [ours, registered] })));
    assert.deepEqual(keysOf(withStatus(silent(well), before)), [ours, registered]);
  });

  it('do not vanish when the Secret does', () => {
    const bare = { ...silent(well), observed: { ...silent(well).observed, secrets: secretsView(cache, []) } };
    assert.deepEqual(keysOf(withStatus(bare, statusOf(well))), statusOf(well).publicKeys);
  });

  it('go when the servers no longer tell of them', () => {
    const before = statusOf(telling(well, reportOf(cache, '', { publicKeys: [ours, registered] })));
    assert.deepEqual(keysOf(withStatus(telling(well, reportOf(cache, '', { publicKeys: [ours] })), before)), [ours]);
  });

  it('are no more than the CRD takes', () => {
    const publicKeys = Array.from({ length: 40 }, (_, index) => `k-${index}:${'C'.repeat(43)}=`);
    const many = statusOf(telling(well, reportOf(cache, '', { publicKeys })));
    assert.deepEqual(many.publicKeys, publicKeys.slice(0, 32));
  });

  it('are those of all signing keys, in the order of the manifest', () => {
    const two = cacheOf({ signing: { secretRefs: [{ name: 'new' }, { name: 'old' }] } });
    const secrets = secretsView(two, secretsOf(two));
    const keys = keysOf({ ...wellOf(two), observed: observedOf(two, { secrets }) });
    assert.deepEqual(
      keys?.map((key) => key.split(':')[0]),
      ['new-1', 'old-1'],
    );
  });
});

describe('the storages in the status', () => {
  const two = cacheOf({
    storages: [
      { name: 'disk', local: {} },
      { name: 'bucket', s3: { bucket: 'nix' } },
    ],
  });
  const well = wellOf(two);
  const told = (...storages: ServerStatus['caches'][number]['storages']) => reportOf(two, '', { storages });
  const statusWith = (...storages: NonNullable<Cache['status']>['storages'] & object): Status => ({
    ...statusOf(well),
    storages,
  });

  it('are those of the manifest, in its order, with what the server tells', () => {
    const report = told(
      storageReport('bucket', { usedBytes: 44 * 2 ** 30, phase: 'Unavailable' }),
      storageReport('disk', { capacityBytes: 100 * 2 ** 30, objects: 12, movedObjects: 3, phase: 'Draining' }),
    );
    assert.deepEqual(statusOf(telling(well, report)).storages, [
      { name: 'disk', phase: 'Draining', used: '5Mi', capacity: '100Gi', objects: 12, movedObjects: 3 },
      { name: 'bucket', phase: 'Unavailable', used: '44Gi' },
    ]);
  });

  it('tell the worst where pods differ: drained is only what all say is drained', () => {
    const phases = ['Drained', 'Ready', 'Abandoned', 'Draining', 'Paused', 'Unavailable'] as const;
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...phases), { minLength: 1, maxLength: 4 }), (list) => {
        const scene = telling(well, ...list.map((phase) => told(storageReport('disk', { phase }))));
        const worst = phases[Math.max(...list.map((phase) => phases.indexOf(phase)))];
        assert.equal(statusOf(scene).storages?.[0]?.phase, worst);
      }),
    );
  });

  it('outlive the manifest until the servers let go of them', () => {
    const old = { name: 'old', phase: 'Draining', objects: 7 } as const;
    const draining = told(storageReport('disk'), storageReport('bucket'), storageReport('old', { phase: 'Drained' }));
    const names = (scene: Scene) => statusOf(scene).storages?.map(({ name, phase }) => `${name} ${phase}`);
    assert.deepEqual(names(withStatus(telling(well, draining), statusWith(old))), [
      'disk Ready',
      'bucket Ready',
      'old Drained',
    ]);
    assert.deepEqual(names(withStatus(well, statusWith(old))), ['disk Ready', 'bucket Ready']);
  });

  it('stay as they were while no server answers', () => {
    const known = { name: 'disk', phase: 'Ready', used: '41Gi' } as const;
    const old = { name: 'old', phase: 'Draining', objects: 7 } as const;
    assert.deepEqual(statusOf(withStatus(silent(well), statusWith(known, old))).storages, [
      known,
      { name: 'bucket', phase: 'Pending' },
      old,
    ]);
  });

  it('have no number that is none', () => {
    const report = told(storageReport('disk', { usedBytes: -7, capacityBytes: 2 ** 63, objects: 0.5 }));
    assert.deepEqual(statusOf(telling(well, report)).storages?.[0], {
      name: 'disk',
      phase: 'Ready',
      used: '0',
      capacity: '10Gi',
    });
  });

  it('are no more than the CRD takes', () => {
    const many = Array.from({ length: 100 }, (_, index) => storageReport(`s${index}`));
    assert.deepEqual(validate(binaryCacheStatus, statusOf(telling(well, told(...many)))).issues, []);
  });

  it('have the capacity of their volume, where the server knows none, in a form that the CRD takes', () => {
    const capacityOf = (storage: string) => {
      const children = new Map(well.observed.children);
      const volume = children.get('PersistentVolumeClaim/main-disk');
      assert.ok(volume);
      children.set('PersistentVolumeClaim/main-disk', { ...volume, status: { capacity: { storage } } });
      const next = statusOf({ ...well, observed: { ...well.observed, children } });
      assert.deepEqual(validate(binaryCacheStatus, next).issues, []);
      return next.storages?.[0]?.capacity;
    };
    assert.equal(capacityOf('10Gi'), '10Gi');
    assert.equal(capacityOf('1181116006400m'), '1.1Gi');
    assert.equal(capacityOf('107374182400'), '100Gi');
  });
});

describe('news in a status', () => {
  const well = wellOf(cacheOf());
  const one = statusOf(well);
  const first = one.storages?.[0];
  assert.ok(first);
  const [ready, ...others] = one.conditions ?? [];
  assert.ok(ready);
  const run = { run: 1, begunAt: '2030-01-01T00:00:00Z', removedPaths: 0, removedBytes: '0' };

  for (const [title, next, isNews] of [
    ['nothing', {}, false],
    ['bytes', { storages: [{ ...first, used: '6Mi' }] }, false],
    ['how much is in it', { usage: { bytes: '6Mi', paths: 7 } }, false],
    ['a run of the garbage collection', { usage: { bytes: '6Mi', paths: 7, lastGC: { ...run, state: 'held' } } }, true],
    ['objects', { storages: [{ ...first, objects: 7, movedObjects: 3 }] }, false],
    ['the words of a condition', { conditions: [{ ...ready, message: 'other' }, ...others] }, false],
    ['a phase', { storages: [{ ...first, phase: 'Unavailable' }] }, true],
    ['a storage', { storages: [] }, true],
    ['a reason', { conditions: [{ ...ready, reason: 'Other' }, ...others] }, true],
    ['what a condition says', { conditions: [{ ...ready, status: 'False' }, ...others] }, true],
    ['a condition less', { conditions: others }, true],
    ['the generation', { observedGeneration: 2 }, true],
    ['the pods that are ready', { readyReplicas: 0 }, true],
    ['the URL', { url: 'http://other' }, true],
    ['a key', { publicKeys: [] }, true],
    ['the image', { image: 'narwhal:2' }, true],
  ] as const)
    it(`are${isNews ? '' : ' not'}: ${title}`, () => {
      assert.equal(differsInSubstance(one, { ...one, ...next } as Status), isNews);
    });

  it('are any status where there was none', () => {
    assert.equal(differsInSubstance(undefined, one), true);
  });
});

describe('what a pod answers', () => {
  const storePath = `/nix/store/${'0'.repeat(32)}-x`;
  const cache = cacheOf({ pins: [{ name: 'a', storePath }] });
  const well = wellOf(cache);
  const good = reportOf(cache, configHash(cache, well.inputs), {
    storages: [storageReport('disk', { capacityBytes: 7, objects: 1 })],
    usage: {
      ...{ bytes: 7, paths: 1, retiredPaths: 2 },
      lastGC: {
        ...{ run: 3, begunAt: '2030-01-01T00:00:00.000Z', endedAt: null, state: 'held', message: 'look' },
        ...{ paths: 3, bytes: 9, removedPaths: 2, removedBytes: 5 },
      },
    },
    pins: { names: 1, missing: 1, firstMissing: [{ name: 'a', storePath }] },
  });

  it('is taken as it is where it is the answer of a server, of a newer one too', () => {
    assert.ok(isServerStatus(good));
    assert.ok(isServerStatus({ ...good, news: 1, caches: good.caches.map((it) => ({ ...it, news: [] })) }));
  });

  for (const junk of [null, 7, 'x', [], {}, { config: {} }, { config: { files: [] }, caches: [null] }])
    it(`is not taken where it is ${JSON.stringify(junk)}`, () => assert.equal(isServerStatus(junk), false));

  it('never makes a status that the API server would refuse, whatever a pod has in place of any value', () => {
    const strange = fc.oneof(
      fc.constantFrom<unknown>(null, -1, 1.5, '', 'x', 'x'.repeat(40_000), [], [null], {}, true, Number.MAX_VALUE),
      fc.jsonValue({ maxDepth: 1 }),
    );
    const paths = [...pathsIn(good)];
    let taken = 0;
    fc.assert(
      fc.property(fc.constantFrom(...paths), strange, (at, value) => {
        const answer = replaced(good, at, value);
        if (!isServerStatus(answer)) return;
        taken++;
        const next = statusOf(telling(well, answer));
        assert.deepEqual(validate(binaryCacheStatus, next).issues, [], JSON.stringify(at));
      }),
      { numRuns: 1000 },
    );
    // Much of what a server says does not matter here.
    assert.ok(taken > 100);
  });

  function* pathsIn(value: unknown, at: readonly string[] = []): Generator<readonly string[]> {
    if (at.length > 0) yield at;
    if (typeof value !== 'object' || value === null) return;
    for (const [name, inner] of Object.entries(value)) yield* pathsIn(inner, [...at, name]);
  }

  function replaced(whole: unknown, [name, ...rest]: readonly string[], value: unknown): unknown {
    if (name === undefined) return value;
    const copy = Array.isArray(whole) ? [...whole] : { ...(whole as object) };
    return Object.assign(copy, { [name]: replaced((whole as Value)[name], rest, value) });
  }
});

describe('the status of a cache that was not looked at in time', () => {
  it('is as it was, but for Ready', () => {
    const well = wellOf(cacheOf());
    const before = statusOf(well);
    const after = overdueStatus(withStatus(well, before).cache, 5000, LATER);
    const [ready, ...others] = after.conditions ?? [];
    assert.deepEqual({ ...after, conditions: others }, { ...before, conditions: before.conditions?.slice(1) });
    assert.deepEqual(ready, {
      type: 'Ready',
      status: 'Unknown',
      reason: 'ReconcileTimeout',
      message: 'a look at this cache did not end within 5 s and was given up; it is begun anew',
      observedGeneration: 1,
      lastTransitionTime: '2030-02-03T05:00:00Z',
    });
  });
});
