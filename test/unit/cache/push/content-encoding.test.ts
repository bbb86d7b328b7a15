import assert from 'node:assert/strict';
import { decodeBody } from '../../../../server/cache/push/content-encoding.ts';
import { asCaller } from '../../../../server/shares/index.ts';
import { until } from '../../../support/server.ts';

describe('programs that decode bodies', () => {
  it('are not all held by one cache while another waits for one', async () => {
    const begun: string[] = [];
    const ends = new Map<string, () => void>();
    const read = (cache: string, name: string) => {
      const over = Promise.withResolvers<void>();
      ends.set(name, over.resolve);
      const body = async function* () {
        begun.push(name);
        await over.promise;
        yield Buffer.from('no bzip2');
      };
      return asCaller({ cache, client: 'x' }, async () => {
        for await (const _ of decodeBody('bzip2', body()));
      }).catch(() => {});
    };
    const first = ['1', '2', '3', '4'].map((name) => read('main', name));
    await until('four run', () => begun.length === 4);
    const late = read('main', 'late');
    const other = read('other', 'other');
    ends.get('1')?.();
    await until('one more runs', () => begun.length === 5);
    assert.equal(begun[4], 'other');
    for (const end of ends.values()) end();
    await Promise.all([...first, late, other]);
    assert.equal(begun.length, 6);
  });

  it('are not waited for by who has gone', async () => {
    const gone = AbortSignal.abort(new Error('gone'));
    const body = async function* () {
      yield Buffer.from('never asked for');
    };
    await assert.rejects(async () => {
      for await (const _ of decodeBody('bzip2', body(), { signal: gone }));
    }, /^Error: gone$/);
  });
});
