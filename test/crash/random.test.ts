import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { assertConsistent } from '../support/disk.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { isServed, type Push, pushByCachix, pushByPut, Refusal } from '../support/push.ts';
import { TestServer, until } from '../support/server.ts';

const KILLS = process.env.NARWHAL_LONG === '1' ? 200 : 20;
const PUSHERS: readonly Push[] = [
  pushByPut,
  pushByPut,
  pushByCachix,
  (server, it) => pushByCachix(server, it, { parts: 3, order: [2, 3, 1] }),
];
/** A process lives for so many acknowledged pushes at most, and then a little, so that it is at anything when it ends. */
const PUSHES = 12;
const MORE_MS = 30;

describe(`a server under load that is killed ${KILLS} times`, () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-kill-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('keeps every path that it has acknowledged, and nothing else', async function () {
    this.timeout(KILLS * 10_000);
    const acknowledged: TestPath[] = [];
    const unanswered: TestPath[] = [];
    let server = await TestServer.start({ folder, manifest: TWO_DISKS });
    for (let kill = 0; kill < KILLS; kill++) {
      let killed = false;
      const load = PUSHERS.map(async (push) => {
        // What the last process did not answer comes again first, as from a client that repeats.
        while (!killed) {
          const it = (randomInt(2) === 0 ? unanswered.pop() : undefined) ?? randomPath();
          try {
            await push(server, it);
            acknowledged.push(it);
          } catch (error) {
            unanswered.push(it);
            // An answer that refuses would be a fault of ours; a lost connection is what this is about.
            if (error instanceof Refusal) throw error;
          }
        }
      });
      const goal = acknowledged.length + randomInt(1, PUSHES);
      await Promise.race([until('some pushes', () => acknowledged.length >= goal), Promise.all(load)]);
      await delay(randomInt(MORE_MS));
      killed = true;
      await server.stop('SIGKILL');
      await Promise.all(load);
      server = await TestServer.start({ folder });
    }
    assert.ok(acknowledged.length >= KILLS, 'each life got something done');
    for (const it of acknowledged)
      assert.ok(await isServed(server, it), `${it.storePath} was acknowledged and is gone`);
    for (const it of unanswered) await isServed(server, it);
    assert.equal(await server.stop(), 0);
    await assertConsistent(server);
  });
});

const TWO_DISKS = `apiVersion: narwhal.dev/v1alpha1
kind: BinaryCache
metadata:
  name: main
spec:
  strategy: RoundRobin
  storages:
    - {name: one, local: {}}
    - {name: two, local: {}}
  tokens:
    - {name: push, permissions: [Write]}
`;

/** From a few bytes to some pieces. */
function randomPath(): TestPath {
  return makePath({ contents: randomBytes(2 ** randomInt(4, 21)) });
}
