import assert from 'node:assert/strict';
import { keyOf, kinds, metadataOf, type Obj, ownerReference, refOf } from '../../../../operator/runtime/index.ts';
import { pathOf } from '../../../../operator/runtime/kinds.ts';

describe('the path of a kind', () => {
  it('is that of its group, of its namespace, of an object, of a subresource', () => {
    assert.equal(pathOf(kinds.Pod), '/api/v1/pods');
    assert.equal(pathOf(kinds.Pod, { namespace: 'n' }), '/api/v1/namespaces/n/pods');
    assert.equal(
      pathOf(kinds.StatefulSet, { namespace: 'n', name: 'a', sub: 'status' }),
      '/apis/apps/v1/namespaces/n/statefulsets/a/status',
    );
    assert.equal(pathOf(kinds.StorageClass, { name: 'fast' }), '/apis/storage.k8s.io/v1/storageclasses/fast');
    assert.equal(pathOf(kinds.Namespace, { name: 'n' }), '/api/v1/namespaces/n');
  });

  it('cannot be left by a name, such as a reference in somebody’s object', () => {
    assert.equal(pathOf(kinds.Pod, { namespace: 'n', name: '../x?y' }), '/api/v1/namespaces/n/pods/..%2Fx%3Fy');
    for (const name of ['.', '..', '']) {
      assert.throws(() => pathOf(kinds.Secret, { namespace: 'n', name }), TypeError);
      assert.throws(() => pathOf(kinds.Secret, { namespace: name }), TypeError);
    }
  });

  it('needs a namespace exactly where there is one', () => {
    assert.throws(() => pathOf(kinds.Pod, { name: 'a' }), TypeError);
    assert.throws(() => pathOf(kinds.StorageClass, { namespace: 'n' }), TypeError);
  });

  it('is the same for metadata alone', () => {
    assert.equal(pathOf(metadataOf(kinds.Secret)), pathOf(kinds.Secret));
  });
});

describe('a key', () => {
  it('names an object, with its namespace if it has one', () => {
    for (const ref of [{ namespace: 'n', name: 'a' }, { name: 'a' }]) assert.deepEqual(refOf(keyOf(ref)), ref);
    assert.equal(keyOf({ namespace: 'n', name: 'a' }), 'n/a');
  });
});

describe('an owner reference', () => {
  it('names the live owner as the controller, and blocks nothing', () => {
    const metadata = { name: 'a', namespace: 'n', uid: 'u', resourceVersion: '1', creationTimestamp: '' };
    const owner: Obj = { apiVersion: 'example.org/v1', kind: 'Thing', metadata };
    assert.deepEqual(ownerReference(owner), {
      apiVersion: 'example.org/v1',
      kind: 'Thing',
      name: 'a',
      uid: 'u',
      controller: true,
    });
  });
});
