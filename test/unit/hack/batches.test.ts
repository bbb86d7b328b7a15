import assert from 'node:assert/strict';
import { batchesOf } from '../../../hack/lib/batches.mjs';

describe('test files that share a mocha', () => {
  const shared =
    "// Of something.\nimport assert from 'node:assert/strict';\nimport { shared } from '../support/shared-kubernetes.ts';\n";
  const other = "import { shared } from '../support/shared-cluster.ts';\n";
  const times = { a: 50, b: 40, c: 15, d: 10, e: 5, f: 70 };
  const textOf = (file: string) => ({ a: shared, c: shared, d: shared, e: other })[file] ?? '';

  it('are those that share a server, a minute of them at most, and the longest begin first', () => {
    assert.deepEqual(batchesOf(['a', 'b', 'c', 'd', 'e', 'f'], { times, textOf, sharing: 60 }), [
      ['f'],
      ['a', 'd'],
      ['b'],
      ['c'],
      ['e'],
    ]);
  });

  it('are others too, where that is wanted', () => {
    const batches = batchesOf(['b', 'c', 'd', 'e', 'new'], { times, textOf: () => '', together: 60 });
    assert.deepEqual(batches, [
      ['b', 'c', 'e'],
      ['new', 'd'],
    ]);
  });

  it('are all there, once', () => {
    const files = Array.from({ length: 50 }, (_, index) => `file-${index}`);
    const found = batchesOf(files, { times: {}, textOf: (file) => (file.endsWith('3') ? shared : ''), sharing: 60 });
    assert.deepEqual(found.flat().sort(), files.sort());
  });
});
