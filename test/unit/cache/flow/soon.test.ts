import assert from 'node:assert/strict';
import { soon } from '../../../../server/cache/flow/soon.ts';

describe('what a database says soon', () => {
  it('is what it says', async () => {
    assert.equal(await soon(Promise.resolve(7)), 7);
  });

  it('is nothing where it fails, or never answers', async () => {
    assert.equal(await soon(Promise.reject(new Error('away'))), undefined);
    assert.equal(await soon(new Promise(() => {})), undefined);
  });
});
