import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import type { Sql, Statement } from '../../../server/metadata/index.ts';
import { Writer } from '../../../server/metadata/writer.ts';

/** A database that is a list: a transaction appends all of its words or none. */
class Words {
  readonly committed: string[] = [];
  readonly batches: number[] = [];
  transactions = 0;

  readonly transaction = async <T>(work: (sql: Sql) => Promise<T>): Promise<T> => {
    this.transactions++;
    const words: string[] = [];
    const sql: Sql = {
      async query<Row>(text: string): Promise<Row[]> {
        await turn();
        words.push(text);
        return [];
      },
      async run(statements) {
        for (const [text] of statements) await sql.query(text);
      },
    };
    const result = await work(sql);
    this.committed.push(...words);
    return result;
  };

  readonly script = (statements: readonly Statement[]): Promise<void> => this.transaction((sql) => sql.run(statements));

  writer(maxBatch?: number): Writer {
    return new Writer({
      transaction: this.transaction,
      script: this.script,
      onCommit: (_ms, writes) => this.batches.push(writes),
      ...(maxBatch !== undefined && { maxBatch }),
    });
  }
}

function word(text: string): (sql: Sql) => Promise<string> {
  return async (sql) => {
    await sql.query(text);
    return text.toUpperCase();
  };
}

function failing(text: string): (sql: Sql) => Promise<never> {
  return async (sql) => {
    await sql.query(text);
    throw new Error(`no ${text}`);
  };
}

describe('group commit', () => {
  it('puts writes that come together into one transaction, in their order', async () => {
    const words = new Words();
    const writer = words.writer();
    const results = await Promise.all(['a', 'b', 'c'].map((it) => writer.write(word(it))));
    assert.deepEqual(results, ['A', 'B', 'C']);
    assert.deepEqual(words.committed, ['a', 'b', 'c']);
    assert.deepEqual(words.batches, [3]);
  });

  it('puts writes that come while a commit runs into the next one', async () => {
    const words = new Words();
    const writer = words.writer();
    const first = writer.write(async (sql) => {
      later = ['b', 'c'].map((it) => writer.write(word(it)));
      await sql.query('a');
    });
    let later: Promise<string>[] = [];
    await first;
    await Promise.all(later);
    assert.deepEqual(words.batches, [1, 2]);
  });

  it('acknowledges nothing before its transaction is committed', async () => {
    const words = new Words();
    const writer = words.writer();
    await Promise.all(
      ['a', 'b'].map(async (it) => {
        await writer.write(word(it));
        assert.ok(words.committed.includes(it));
      }),
    );
  });

  it('fails a bad write alone: its neighbours are committed, once, in their order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.boolean(), { maxLength: 20 }),
        fc.integer({ min: 1, max: 8 }),
        async (good, batch) => {
          const words = new Words();
          const writer = words.writer(batch);
          const results = await Promise.allSettled(
            good.map((isGood, index) => writer.write<string>((isGood ? word : failing)(`w${index}`))),
          );
          assert.deepEqual(
            results.map((it) => it.status),
            good.map((isGood) => (isGood ? 'fulfilled' : 'rejected')),
          );
          const kept = good.flatMap((isGood, index) => (isGood ? [`w${index}`] : []));
          assert.deepEqual(words.committed, kept);
        },
      ),
    );
  });

  it('tells each bad write its own error', async () => {
    const writer = new Words().writer();
    const [a, b] = [writer.write(failing('a')), writer.write(failing('b'))];
    await assert.rejects(a, /^Error: no a$/);
    await assert.rejects(b, /^Error: no b$/);
  });

  it('keeps its transactions small', async () => {
    const words = new Words();
    const writer = words.writer(4);
    await Promise.all(Array.from({ length: 10 }, (_, index) => writer.write(word(`w${index}`))));
    assert.deepEqual(words.batches, [4, 4, 2]);
  });

  it('is idle once nothing waits', async () => {
    const words = new Words();
    const writer = words.writer();
    const writes = ['a', 'b'].map((it) => writer.write(word(it)));
    assert.equal(writer.length, 2);
    await writer.idle();
    assert.equal(writer.length, 0);
    assert.deepEqual(words.committed, ['a', 'b']);
    await Promise.all(writes);
  });

  it('goes on when its observer throws', async () => {
    const words = new Words();
    const writer = new Writer({
      transaction: words.transaction,
      script: words.script,
      onCommit: () => {
        throw new Error('no metrics');
      },
    });
    assert.equal(await writer.write(word('a')), 'A');
    assert.equal(await writer.write(word('b')), 'B');
    await writer.idle();
    assert.deepEqual(words.committed, ['a', 'b']);
  });
});
