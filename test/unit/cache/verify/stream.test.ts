import * as assert from 'node:assert/strict';
import { type Facts, Verifier, type VerifyRequest } from '../../../../server/cache/verify/index.ts';
import { COMPRESSION_NAMES, compressionSuffix } from '../../../../server/nix/index.ts';
import { compress, factsOf, hasProgram, narOf } from './support.ts';

const MAX = 2 ** 40;
const NEEDS: Record<string, string> = { bzip2: 'bzip2', lz4: 'lz4', lzma: 'xz', xz: 'xz' };

describe('the verifier, of bytes that are sent to it', () => {
  let verifier: Verifier;
  before(() => {
    verifier = new Verifier({ threads: 2 });
  });
  after(() => verifier.stop());

  async function verify(file: Buffer, claim: { narSize?: number } = {}, more: VerifyRequest | object = {}) {
    const stream = verifier.openStream({ maxNarSize: MAX, ...more });
    for (let at = 0; at < file.length; at += 60_000) await stream.write(file.subarray(at, at + 60_000));
    return stream.finish(claim);
  }

  for (const compression of COMPRESSION_NAMES) {
    const program = NEEDS[compression];
    const test = program === undefined || hasProgram(program) ? it : it.skip;
    test(`finds the facts of small and large ones in ${compression}`, async () => {
      for (const size of [100, 100_000, 3_000_000]) {
        const nar = narOf(size);
        const file = compress(compression, nar);
        const facts: Facts = await verify(file, { narSize: nar.length }, { suffix: compressionSuffix(compression) });
        assert.deepEqual(facts, factsOf(file, compression, nar));
      }
    });
  }

  it('refuses what is longer than claimed, damaged or cut off', async () => {
    for (const size of [1000, 3_000_000]) {
      const nar = narOf(size);
      const file = compress('zstd', nar);
      await assert.rejects(verify(file, { narSize: nar.length - 1 }), { name: 'VerifyError', code: 'too-large' });
      await assert.rejects(verify(file.subarray(0, -10)), { name: 'VerifyError', code: 'corrupt' });
      await assert.rejects(verify(Buffer.alloc(size)), { name: 'VerifyError' });
    }
    await assert.rejects(verify(Buffer.alloc(0)), { name: 'VerifyError' });
  });

  it('takes the rest of a bad stream without waiting, and tells at its end', async () => {
    const file = Buffer.concat([compress('none', narOf(1000)).subarray(0, 900), Buffer.alloc(8_000_000, 1)]);
    await assert.rejects(verify(file), { name: 'VerifyError', code: 'corrupt' });
  });

  it('lets the sender wait while nothing is taken in, and goes on', async () => {
    const nar = narOf(20_000_000);
    const streams = await Promise.all([verify(nar), verify(nar), verify(nar)]);
    for (const facts of streams) assert.deepEqual(facts, factsOf(nar, 'none', nar));
  });

  it('can be cancelled', async () => {
    const stream = verifier.openStream({ maxNarSize: MAX });
    await stream.write(narOf(1_000_000));
    await stream.cancel();
    await assert.rejects(stream.finish(), { name: 'VerifierFailure', code: 'cancelled' });
    assert.equal(verifier.stats().running, 0);
  });

  it('says so when its thread dies or it is stopped', async () => {
    const crashing = new Verifier({ threads: 1, workerUrl: new URL('./crashing-worker.ts', import.meta.url) });
    const dead = crashing.openStream({ maxNarSize: MAX, suffix: '.crash' });
    await assert.rejects(dead.finish(), { name: 'VerifierFailure', code: 'internal' });
    await crashing.stop();
    await assert.rejects(crashing.openStream({ maxNarSize: MAX }).finish(), { code: 'cancelled' });
  });
});
