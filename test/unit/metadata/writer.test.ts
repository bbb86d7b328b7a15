import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import type { Sql, Statement } from '../../../server/metadata/index.ts';
import { type Patience, Writer } from '../../../server/metadata/writer.ts';

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

describe('group commit on a database that can be away', () => {
  const away = () => Object.assign(new Error('away'), { code: 'AWAY' });
  const conflict = () => Object.assign(new Error('conflict'), { code: 'CONFLICT' });
  const codeOf = (error: unknown) => (error instanceof Error && 'code' in error ? error.code : undefined);

  /** @param fail what an attempt at these texts fails with */
  function patientWriter(ms: number, fail: (texts: string[]) => Error | undefined) {
    const attempts: string[][] = [];
    const patience: Patience = {
      ms,
      isPassing: (error) => codeOf(error) !== undefined,
      isConflict: (error) => codeOf(error) === 'CONFLICT',
      giveUp: (error) => new Error(`gave up: ${error instanceof Error ? error.message : ''}`),
      onRetry: () => {},
    };
    const writer = new Writer({
      transaction: () => Promise.reject(new Error('only scripts here')),
      script: async (statements) => {
        const texts = statements.map(([text]) => text);
        attempts.push(texts);
        const error = fail(texts);
        if (error !== undefined) throw error;
      },
      patience,
    });
    return { writer, attempts };
  }

  it('tries a transaction again until the database is back', async () => {
    let left = 3;
    const { writer, attempts } = patientWriter(10_000, () => (left-- > 0 ? away() : undefined));
    await Promise.all([writer.script([['a']]), writer.script([['b']])]);
    assert.deepEqual(
      attempts,
      Array.from({ length: 4 }, () => ['a', 'b']),
    );
  });

  it('gives up each write after its own time', async () => {
    const { writer } = patientWriter(1500, () => away());
    const start = performance.now();
    const first = writer.script([['a']]);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const second = writer.script([['b']]);
    await assert.rejects(first, /^Error: gave up: away$/);
    const between = performance.now() - start;
    await assert.rejects(second, /^Error: gave up: away$/);
    assert.ok(between < 2400 && performance.now() - start > between + 100, `${between}`);
  });

  it('takes a batch apart that is in the way of others', async () => {
    const { writer, attempts } = patientWriter(1000, (texts) => (texts.length > 1 ? conflict() : undefined));
    await Promise.all(['a', 'b', 'c'].map((text) => writer.script([[text]])));
    assert.deepEqual(attempts, [['a', 'b', 'c'], ['a'], ['b'], ['c']]);
  });

  it('fails at once what will not pass', async () => {
    const { writer, attempts } = patientWriter(1000, (texts) => (texts.includes('bad') ? new Error('bad') : undefined));
    const results = await Promise.allSettled(['a', 'bad', 'b'].map((text) => writer.script([[text]])));
    assert.deepEqual(
      results.map((it) => it.status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.equal(attempts.length, 4);
  });
});
