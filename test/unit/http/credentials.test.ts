import assert from 'node:assert/strict';
import { tokenOf } from '../../../server/wire/index.ts';

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

describe('the token of an Authorization header', () => {
  const cases: [header: string | undefined, token: string | undefined][] = [
    [undefined, undefined],
    ['', undefined],
    ['Bearer', undefined],
    ['Bearer ', undefined],
    ['Bearer nwl_1', 'nwl_1'],
    ['bearer  nwl_1 ', 'nwl_1'],
    ['BEARER nwl_1', 'nwl_1'],
    [basic('anybody:nwl_1'), 'nwl_1'],
    [basic(':nwl_1'), 'nwl_1'],
    [basic('a:b:c'), 'b:c'],
    [basic('nwl_1'), undefined],
    [basic('nwl_1:'), undefined],
    ['Basic %%%', undefined],
    ['Digest nwl_1', undefined],
    ['nwl_1', undefined],
  ];
  for (const [header, token] of cases) {
    it(`of ${header === undefined ? 'none' : `'${header}'`} is ${token ?? 'none'}`, () =>
      assert.equal(tokenOf(header), token));
  }
});
