import assert from 'node:assert/strict';
import { ApiError } from '../../../../operator/runtime/index.ts';

const status = (reason: string, message = '', causes: object[] = []) => ({
  kind: 'Status',
  reason,
  message,
  details: { causes },
});
const error = (code: number, body: unknown = status(''), retryAfter?: string) =>
  ApiError.of('get Pod n/a', code, body, retryAfter);

describe('an error of the API', () => {
  it('says what was asked, and what the server said', () => {
    const { message, code, reason } = error(404, status('NotFound', 'pods "a" not found'));
    assert.deepEqual([message, code, reason], ['get Pod n/a: 404 pods "a" not found', 404, 'NotFound']);
    assert.equal(error(502, ' bad gateway\n').message, 'get Pod n/a: 502 bad gateway');
    assert.equal(error(502, 'x'.repeat(10_000)).message.length < 300, true);
  });

  for (const [code, transient] of [
    [0, true],
    [400, false],
    [401, true],
    [403, false],
    [404, false],
    [408, true],
    [409, false],
    [422, false],
    [429, true],
    [500, true],
    [503, true],
    [504, true],
  ] as const) {
    it(`of code ${code} is ${transient ? 'transient' : 'not transient'}`, () =>
      assert.equal(error(code).transient, transient));
  }

  it('is a conflict, or a name that is taken', () => {
    assert.ok(error(409, status('Conflict')).conflict);
    assert.ok(!error(409, status('AlreadyExists')).conflict);
    assert.ok(error(422, status('Invalid', '', [{ field: 'metadata.uid' }])).conflict);
    assert.ok(!error(422, status('Invalid', '', [{ field: 'spec.size' }])).conflict);
  });

  it('knows when to come back, by the header or the body', () => {
    assert.equal(error(429, status(''), '2').retryAfterMs, 2000);
    assert.equal(error(503, { kind: 'Status', details: { retryAfterSeconds: 3 } }).retryAfterMs, 3000);
    assert.equal(error(503).retryAfterMs, undefined);
    assert.equal(error(503, '', 'Wed, 21 Oct 2026 07:28:00 GMT').retryAfterMs, undefined);
  });

  it('tells an old schema from an ill server', () => {
    const old = error(500, status('', 'failed to create typed patch object: .spec.x: field not declared in schema'));
    assert.ok(old.isSchemaMismatch && !old.transient);
    assert.ok(!error(500, status('InternalError', 'oh')).isSchemaMismatch);
  });

  it('tells a version that the server does not know yet from one that it has forgotten', () => {
    assert.ok(error(410, status('Expired')).expired);
    const future = error(504, status('Timeout', '', [{ reason: 'ResourceVersionTooLarge' }]));
    assert.ok(future.isFromTheFuture && !future.expired);
  });
});
