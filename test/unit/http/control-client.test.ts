import assert from 'node:assert/strict';
import { askForCheck } from '../../../server/http/index.ts';

describe('a check', () => {
  const request = { cache: undefined, contents: false, repair: false, bytesPerSecond: undefined };

  it('goes by itself where no server can have a socket, as below a path that is too long for one', async () => {
    for (const folder of ['/nosuch', `/tmp/${'long'.repeat(40)}`])
      assert.equal(await askForCheck(`${folder}/control.sock`, request), undefined, folder);
  });
});
