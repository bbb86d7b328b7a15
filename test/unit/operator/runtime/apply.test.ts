import assert from 'node:assert/strict';
import fc from 'fast-check';
import { applies, type Desired, type Obj, unwanted, withHash } from '../../../../operator/runtime/index.ts';

const METADATA = { name: 'a', namespace: 'n' };
const LIVE = { uid: 'u', resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' };

const desired = (fields: object, metadata: object = {}): Desired => ({
  apiVersion: 'v1',
  kind: 'Thing',
  metadata: { ...METADATA, ...metadata },
  ...fields,
});
const live = (fields: object, metadata: object = {}): Obj => ({
  apiVersion: 'v1',
  kind: 'Thing',
  metadata: { ...METADATA, ...LIVE, ...metadata },
  ...fields,
});
const holds = (has: object, wants: object) => applies(live({ spec: has }), desired({ spec: wants }));

/** Nested data without quantities and without lists that are merged. */
const data = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 4 }, fc.string(), fc.integer(), fc.boolean(), tie('list'), tie('record')),
  list: fc.array(tie('value'), { maxLength: 4 }),
  record: fc.dictionary(fc.string({ maxLength: 4 }), tie('value'), { maxKeys: 4 }),
})).record as fc.Arbitrary<Record<string, unknown>>;

describe('whether an object has what is desired', () => {
  it('is so for what is the same, and for fields that were added', () => {
    assert.ok(holds({ a: 1, added: 2 }, { a: 1 }));
    assert.ok(holds({ list: [{ a: 1, added: 2 }] }, { list: [{ a: 1 }] }));
  });

  it('is not so for an object that is not there', () => {
    assert.ok(!applies(undefined, desired({})));
  });

  it('is not so for fields that differ or are missing', () => {
    assert.ok(!holds({ a: 2 }, { a: 1 }));
    assert.ok(!holds({}, { a: 1 }));
    assert.ok(!holds({ a: 'x' }, { a: { b: 1 } }));
    assert.ok(!holds({ a: {} }, { a: ['x'] }));
  });

  it('is not so for a false, a nothing or an empty choice that is missing', () => {
    // Absent, they would mean true, a default, or another kind of volume.
    assert.ok(!holds({}, { automountServiceAccountToken: false }));
    assert.ok(!holds({}, { replicas: 0 }));
    assert.ok(!holds({}, { storageClassName: '' }));
    assert.ok(!holds({ hostPath: {} }, { emptyDir: {} }));
  });

  it('is so for empty lists and maps that the server has dropped', () => {
    assert.ok(holds({ resources: {} }, { tolerations: [], nodeSelector: {}, resources: { limits: {} } }));
    assert.ok(applies(live({}), desired({}, { labels: {}, annotations: {} })));
  });

  it('takes lists as a whole, in their order', () => {
    assert.ok(!holds({ args: ['a', 'b'] }, { args: ['a'] }));
    assert.ok(!holds({ args: ['b', 'a'] }, { args: ['a', 'b'] }));
    assert.ok(!holds({ ports: [{ port: 1 }, { port: 2 }] }, { ports: [{ port: 1 }] }));
  });

  it('leaves what others have added to lists that are merged', () => {
    const ours = { containers: [{ name: 'ours', env: [{ name: 'A', value: '1' }] }] };
    const sidecar = { name: 'sidecar' };
    const injected = { name: 'ours', env: [{ name: 'THEIRS' }, { name: 'A', value: '1' }] };
    assert.ok(holds({ containers: [sidecar, injected] }, ours));
    assert.ok(!holds({ containers: [sidecar] }, ours));
    assert.ok(!holds({ containers: [{ name: 'ours', env: [{ name: 'A', value: '2' }] }] }, ours));
    assert.ok(applies(live({}, { finalizers: ['b', 'a'] }), desired({}, { finalizers: ['a'] })));
    const owner = { apiVersion: 'v1', kind: 'Owner', name: 'o', uid: 'o' };
    const both = live({}, { ownerReferences: [{ ...owner, uid: 'p' }, owner] });
    assert.ok(applies(both, desired({}, { ownerReferences: [owner] })));
  });

  it('knows quantities where there are any, and nowhere else', () => {
    const resources = (cpu: unknown, memory: unknown) => ({ resources: { requests: { cpu, memory } } });
    assert.ok(holds(resources('1', '1Gi'), resources('1000m', '1024Mi')));
    assert.ok(holds(resources('1', '1Gi'), resources(1, 1073741824)));
    assert.ok(!holds(resources('1', '1Gi'), resources('1001m', '1Gi')));
    assert.ok(holds({ emptyDir: { sizeLimit: '1Gi' } }, { emptyDir: { sizeLimit: '1024Mi' } }));
    assert.ok(!holds({ env: [{ name: 'A', value: '1' }] }, { env: [{ name: 'A', value: '1000m' }] }));
    assert.ok(!applies(live({ data: { a: '1Gi' } }), desired({ data: { a: '1024Mi' } })));
  });

  it('holds for anything and itself, and for anything with more', () => {
    fc.assert(
      fc.property(data, data, (wants, more) => {
        assert.ok(holds(wants, wants));
        assert.ok(holds({ ...more, ...wants }, wants));
      }),
    );
  });

  it('fails for anything of which a value was changed', () => {
    fc.assert(
      fc.property(data, fc.string({ minLength: 1, maxLength: 4 }), (wants, name) => {
        assert.ok(!holds({ ...wants, [name]: 'changed' }, { ...wants, [name]: 'wanted' }));
      }),
    );
  });
});

describe('the hash of what is desired', () => {
  const NAME = 'example.org/applied';
  const hashOf = (object: Desired) => withHash(object, NAME).metadata.annotations?.[NAME];

  it('is the same for the same content in any order, and with a hash in it already', () => {
    const object = desired({ spec: { a: 1, b: [{ c: 2, d: 3 }] } }, { annotations: { x: 'y' } });
    const turned = desired({ spec: { b: [{ d: 3, c: 2 }], a: 1 } }, { annotations: { x: 'y' } });
    assert.equal(hashOf(object), hashOf(turned));
    assert.equal(hashOf(withHash(object, NAME)), hashOf(object));
    assert.equal(withHash(object, NAME).metadata.annotations?.x, 'y');
  });

  it('differs for any other content', () => {
    fc.assert(
      fc.property(data, data, (a, b) => {
        const isSame = JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
        assert.equal(hashOf(desired({ spec: a })) === hashOf(desired({ spec: b })), isSame);
      }),
    );
  });

  it('makes it noticed that a field is no longer asked for', () => {
    const applied = withHash(desired({ spec: { a: 1, b: 2 } }), NAME);
    const there = live({ spec: { a: 1, b: 2 } }, { annotations: applied.metadata.annotations ?? {} });
    assert.ok(applies(there, applied));
    assert.ok(!applies(there, withHash(desired({ spec: { a: 1 } }), NAME)));
  });

  function sorted(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(sorted);
    if (typeof value !== 'object' || value === null) return value;
    return Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, inner]) => [name, sorted(inner)]);
  }
});

describe('what is ours and no longer wanted', () => {
  const owner = (uid: string) => ({ ownerReferences: [{ apiVersion: 'v1', kind: 'Owner', name: 'o', uid }] });
  const labels = { app: 'ours' };
  const object = (name: string, metadata: object = {}, kind = 'Thing'): Obj => ({
    ...live({}, { labels, ...owner('us'), ...metadata, name }),
    kind,
  });
  const names = (objects: readonly Obj[]) => objects.map(({ metadata }) => metadata.name);
  const ours = { uid: 'us', labels };

  it('is what has our labels and our owner, and is not asked for', () => {
    const objects = [
      object('wanted'),
      object('unwanted'),
      object('unlabelled', { labels: {} }),
      object('of another', owner('them')),
      object('of nobody', { ownerReferences: [] }),
    ];
    assert.deepEqual(names(unwanted(objects, [desired({}, { name: 'wanted' })], ours)), ['unwanted']);
  });

  it('spares the kinds that it is told to', () => {
    const objects = [object('a', {}, 'PersistentVolumeClaim'), object('b')];
    assert.deepEqual(names(unwanted(objects, [], ours, [{ kind: 'PersistentVolumeClaim' }])), ['b']);
  });

  it('tells kinds and namespaces apart, and versions of a kind not', () => {
    const wanted = [{ ...desired({}, { name: 'a' }), apiVersion: 'example.org/v2' }];
    const v1 = { ...object('a'), apiVersion: 'example.org/v1' };
    assert.deepEqual(unwanted([v1], wanted, ours), []);
    assert.equal(unwanted([{ ...v1, kind: 'Other' }], wanted, ours).length, 1);
    assert.equal(unwanted([{ ...v1, metadata: { ...v1.metadata, namespace: 'm' } }], wanted, ours).length, 1);
    assert.equal(unwanted([object('a')], wanted, ours).length, 1);
  });

  it('goes by labels alone for what outlives its owner', () => {
    assert.deepEqual(names(unwanted([object('a', { ownerReferences: [] })], [], { labels })), ['a']);
  });
});
