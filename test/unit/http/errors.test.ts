import assert from 'node:assert/strict';
import { CacheError, VerifyError } from '../../../server/cache/index.ts';
import { answerOf } from '../../../server/http/errors.ts';
import { DatabaseUnavailableError } from '../../../server/metadata/index.ts';
import { StorageFullError, StorageUnavailableError } from '../../../server/storage/index.ts';

const system = (code: string) => Object.assign(new Error(code), { code });

describe('the answer to an error', () => {
  const answers: readonly [what: string, error: unknown, status: number | undefined][] = [
    ['a full disk', new StorageFullError('disk'), 413],
    ['a full disk below the database', system('SQLITE_FULL'), 413],
    ['a full disk below PostgreSQL', system('53100'), 413],
    ['no descriptor left', system('EMFILE'), 503],
    ['a database that is away', new DatabaseUnavailableError('db'), 503],
    ['a disk that fails', new StorageUnavailableError('disk', 'EIO'), 503],
    ['wrong bytes', new VerifyError('corrupt', 'no NAR'), 400],
    ['a bomb', new VerifyError('too-large', 'too large'), 413],
    ['something that is not there', new CacheError('NotFound', 'not found'), 404],
    ['what nobody expected', new Error('a bug'), undefined],
  ];
  for (const [what, error, status] of answers)
    it(`is ${status ?? 'left to the one that asks'} for ${what}`, () => assert.equal(answerOf(error)?.status, status));

  it('says when to come back, and nothing of what happened inside', () => {
    const answer = answerOf(new StorageUnavailableError('disk', 'EIO'));
    assert.equal(answer?.retryAfterSeconds, 10);
    assert.ok(!answer?.text.includes('disk'));
  });
});
