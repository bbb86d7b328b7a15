import assert from 'node:assert/strict';
import { pino } from 'pino';
import { CrdGap } from '../../../../../operator/cache/status/crd-gap.ts';
import { ApiError } from '../../../../../operator/runtime/index.ts';

/** As an API server of 1.34 says it. */
const refusal = (place: string): ApiError =>
  new ApiError(
    500,
    'Http500',
    `apply BinaryCache a/main: 500 failed to create typed patch object (a/main; narwhal.dev/v1alpha1, Kind=BinaryCache): ${place}: field not declared in schema`,
  );

describe('the gap that an old CRD leaves', () => {
  it('grows by one field with each refusal, and names each once in the log', () => {
    const fields: unknown[] = [];
    const logger = pino({}, { write: (line) => void fields.push(JSON.parse(line).field) });
    const gap = new CrdGap({ logger, retryMs: 60_000 });
    assert.equal(gap.learn(refusal('.status.url')), true);
    assert.equal(gap.learn(refusal('.status.storages[name="disk"].movedObjects')), true);
    assert.deepEqual(gap.fields, ['storages[].movedObjects', 'url']);
    assert.equal(gap.learn(refusal('.status.url')), false);
    assert.deepEqual(fields, ['status.url', 'status.storages[].movedObjects']);
  });

  it('does not grow by what is no field of the status', () => {
    const gap = new CrdGap({ logger: pino({ enabled: false }), retryMs: 60_000 });
    assert.equal(gap.learn(refusal('.spec.template')), false);
    assert.deepEqual(gap.fields, []);
  });

  it('closes after a while, so that a new CRD is noticed', () => {
    const gap = new CrdGap({ logger: pino({ enabled: false }), retryMs: 0 });
    gap.learn(refusal('.status.url'));
    assert.deepEqual(gap.fields, []);
  });
});
