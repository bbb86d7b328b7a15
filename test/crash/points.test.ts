import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { CRASH_POINTS, type CrashPoint } from '../../server/storage/index.ts';
import { assertConsistent } from '../support/disk.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { isServed, type Push, type PushOptions, pushByCachix, pushByPut } from '../support/push.ts';
import { cacheManifest, TestServer } from '../support/server.ts';

/** Larger than what a body is gathered to before it is written, so that it has a middle. */
const CONTENTS_BYTES = 1.2 * 2 ** 20;

interface Protocol {
  readonly name: string;
  readonly push: Push;
  readonly options?: PushOptions;
}

const put: Protocol = { name: 'a nix push', push: pushByPut };
const cachix: Protocol = { name: 'a cachix push', push: pushByCachix, options: { parts: 3 } };
const disordered: Protocol = {
  name: 'a cachix push whose parts arrive out of order',
  push: pushByCachix,
  options: { parts: 3, order: [3, 1, 2] },
};
/** A log that is pushed again replaces the first one, whose bytes are then deleted. */
const replace: Protocol = {
  name: 'a log that is replaced',
  async push(server, { storePath }) {
    const url = `${server.api()}/push/log/${path.basename(storePath)}.drv`;
    for (const body of ['first', 'second'])
      assert.equal((await fetch(url, { method: 'PUT', headers: await server.auth(), body })).status, 200);
    // The deletion runs behind the answer: the process dies during one of these, or has died.
    for (;;) await (await fetch(url)).text();
  },
};

const CASES: Readonly<Record<CrashPoint, readonly Protocol[]>> = {
  'staged-created': [put, cachix],
  'half-written': [put, cachix],
  'before-rename': [put, cachix],
  'before-sync': [put, cachix],
  'before-nar-row': [put],
  'after-nar-row': [put],
  'before-publish': [put, cachix],
  'after-sync': [put, cachix],
  'after-publish': [put, cachix],
  'before-part-row': [cachix],
  'after-part-move': [disordered],
  'during-complete': [cachix],
  'before-delete': [replace],
  'after-delete': [replace],
  // See drain.test.ts.
  'after-copy': [],
  'after-switch': [],
  // See retention.test.ts.
  'after-doom': [],
  'after-sweep': [],
  'after-expire': [],
  'before-marker': [],
  'after-marker': [],
};

describe('a server that is killed at a named point', () => {
  let folder: string;
  let server: TestServer;
  const acknowledged: TestPath[] = [];
  const attempted: TestPath[] = [];
  const storages = ['disk'];
  const manifest = () =>
    cacheManifest(
      'main',
      `storages:\n${storages.map((name) => `  - {name: ${name}, local: {}}\n`).join('')}tokens:\n  - {name: push, permissions: [Write]}\n`,
    );

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-crash-'));
    server = await TestServer.start({ folder, manifest: manifest() });
    await acknowledge(pushByPut);
    await acknowledge(pushByCachix);
    await server.stop();
  });
  afterEach(async () => {
    assert.equal(await server.stop(), 0);
    await assertConsistent(server);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  async function acknowledge(push: Push, it = makePath(), options?: PushOptions): Promise<void> {
    await push(server, it, options);
    acknowledged.push(it);
  }

  async function assertNothingLost(): Promise<void> {
    for (const it of acknowledged)
      assert.ok(await isServed(server, it), `${it.storePath} was acknowledged and is gone`);
    // A path whose client heard nothing may be there or not, but never by half.
    for (const it of attempted) await isServed(server, it);
  }

  for (const point of CRASH_POINTS) {
    for (const { name, push, options } of CASES[point]) {
      it(`loses and leaves nothing: ${point}, ${name}`, async () => {
        const armed = await TestServer.start({ folder, env: { NARWHAL_CRASH_AT: point } });
        const it = makePath({ contents: randomBytes(CONTENTS_BYTES) });
        attempted.push(it);
        await assert.rejects(push(armed, it, options), { name: 'TypeError' });
        assert.equal(await armed.ended(), null, 'the process ended by a signal');
        server = await TestServer.start({ folder });
        await assertNothingLost();
        if (push === replace.push) return;
        await acknowledge(push, it, options);
        assert.ok(await isServed(server, it));
      });
    }
  }

  for (const point of ['before-marker', 'after-marker'] as const) {
    it(`takes the new storage at the next start: ${point}`, async () => {
      storages.push(`disk${storages.length}`);
      await assert.rejects(
        TestServer.start({ folder, manifest: manifest(), env: { NARWHAL_CRASH_AT: point } }),
        /the process ended with null/,
      );
      server = await TestServer.start({ folder });
      await assertNothingLost();
      assert.match(
        await (await fetch(`${server.adminUrl}/readyz?verbose`)).text(),
        /\[\+\] cache main storage disk\d: /,
      );
    });
  }

  it('has a case for every point', () => {
    const untested = CRASH_POINTS.filter((point) => CASES[point].length === 0);
    assert.deepEqual(untested, [
      'after-copy',
      'after-switch',
      'after-doom',
      'after-sweep',
      'after-expire',
      'before-marker',
      'after-marker',
    ]);
  });
});
