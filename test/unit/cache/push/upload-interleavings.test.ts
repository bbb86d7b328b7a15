import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { Verifier } from '../../../../server/cache/index.ts';
import { openCaches } from '../../../support/open-caches.ts';
import { cacheManifest, standardSpec } from '../../../support/server.ts';
import { interleave, steps } from '../../../support/upload-interleavings.ts';

const LONG = process.env.NARWHAL_LONG === '1';
const KIB = 1024;

describe('an upload in files of one server', () => {
  let folder: string;
  const verifier = new Verifier();
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-interleavings-'));
  });
  after(async () => {
    await verifier.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('publishes the bytes that were verified, whatever attempts, breaks, completions and restarts there are', async () => {
    const restart = () =>
      openCaches({
        data: folder,
        verifier,
        manifest: cacheManifest('main', standardSpec),
        settings: { maxAwakeUploads: 1, minAwakeMs: 0, transientRetryMs: 1000 },
      });
    const servers = [await restart()];
    try {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.integer({ min: 1, max: 500 * KIB }), { minLength: 1, maxLength: 3 }),
          steps,
          async (parts, list) => interleave({ servers, restart, parts }, list),
        ),
        { numRuns: LONG ? 3000 : 40 },
      );
    } finally {
      await servers[0]?.close();
    }
  }).timeout(LONG ? 3_600_000 : 120_000);
});
