/**
 * What befalls the pods of one namespace: a killed server, a pod that the operator cannot ask, an S3 server that is away,
 * a full disk, a database that restarts. They befall several caches at the same time. Users push and pull all the while.
 */
import assert from 'node:assert/strict';
import { Busy } from '../support/e2e/busy.ts';
import { conditionOf, giveKeys, haveCaches, lookUntil, untilCondition } from '../support/e2e/caches.ts';
import { Client } from '../support/e2e/client.ts';
import { cutOff, killContainer } from '../support/e2e/containers.ts';
import { type Acknowledged, acknowledgedIn, assertPulls, trusting } from '../support/e2e/pulls.ts';
import { API_HOST, CA, ensureRelease, SYSTEM } from '../support/e2e/release.ts';
import { startPostgres, startS3 } from '../support/e2e/services.ts';
import { assertNothingToDo, children, lives } from '../support/e2e/settled.ts';
import { story } from '../support/e2e/story.ts';

story('faults', 'caches in trouble', (world) => {
  /** Public names are one cluster's. */
  const named = (name: string) => `${name}-${world().suffix}`;
  const [killed, cut, full, fleet] = ['killed', 'cut', 'full', 'fleet'] as const;
  const acknowledged = new Map<string, Acknowledged[]>();
  let busy: Busy[];
  let client: Client;
  let begun: { children: Record<string, string>; lives: Record<string, string> };
  const mend: (() => Promise<void>)[] = [];

  const busyWith = (name: string): Busy => {
    const found = busy.find(({ cache }) => cache === named(name));
    assert.ok(found);
    return found;
  };
  const restartsOf = async (name: string): Promise<number> => {
    const { status } = await world().get(`pod/${named(name)}-0`);
    return status.containerStatuses[0].restartCount;
  };

  before(async function () {
    if (!world().cluster) return this.skip();
    await ensureRelease(world());
    const tokens = [{ name: 'push', permissions: ['Write'] }];
    const disk = { storages: [{ name: 'disk', local: { size: '1Gi' } }], tokens };
    const [s3, postgres, given] = await Promise.all([
      startS3(world()),
      startPostgres(world()),
      giveKeys(world(), named(fleet), API_HOST),
    ]);
    await haveCaches(world(), {
      [named(killed)]: disk,
      [named(cut)]: disk,
      [named(full)]: { ...disk, database: { sqlite: { size: '32Mi' } } },
      [named(fleet)]: {
        ...given,
        database: { postgres: postgres.postgres },
        storages: [{ name: 'bucket', s3: s3.s3 }],
      },
    });
    const loads = [{ cache: named(killed), bytes: 3_000_000 }, { cache: named(cut) }, { cache: named(fleet) }];
    const init = { secrets: [`${named(full)}-token-push`], configMaps: [CA], env: trusting(CA) };
    [client, ...busy] = await Promise.all([
      Client.start(world(), 'client', init),
      ...loads.map((load) => Busy.start(world(), load)),
    ]);
    begun = { children: await children(world()), lives: await lives(world()) };
  });
  after(async () => {
    for (const undo of mend) await undo();
  });

  const push = (count: number) => {
    const env = `HOST=https://${API_HOST} CACHE=${named(full)} TOKEN_FILE=/secrets/${named(full)}-token-push/token`;
    return client.tryRun(`${env} COUNT=${count} node /app/test/support/e2e/push-main.ts`);
  };
  const inServer = (script: string) => world().kubectl(['exec', `${named(full)}-0`, '--', 'node', '-e', script]);

  let killedAt: number;
  it('meet with four faults at once', async () => {
    const operators = await world().list('pods', ['-l', 'app.kubernetes.io/component=operator'], { namespace: SYSTEM });
    const { status } = await world().get(`pod/${named(cut)}-0`);
    const first = await push(3);
    assert.equal(first.code, 0, first.stderr);
    acknowledged.set(full, acknowledgedIn(first.stdout));
    killedAt = Date.now();
    const [undo] = await Promise.all([
      cutOff(world(), {
        name: `cut-${world().suffix}`,
        from: operators.map((pod) => pod.status.podIP),
        to: status.podIP,
        port: 9090,
      }),
      killContainer(world(), `${named(killed)}-0`),
      world().kubectl(['scale', 'statefulset/s3', '--replicas=0']),
      inServer(`
        const fs = require('node:fs');
        const file = fs.openSync('/data/filler', 'w');
        for (let size = 1 << 20; size > 0; ) {
          try { fs.writeSync(file, require('node:crypto').randomBytes(size)); } catch { size >>= 1; }
        }`),
    ]);
    mend.push(undo);
  });

  it('a pod that does not answer the operator is told of, and serves on', async () => {
    const { message } = await lookUntil(world(), named(cut), 'Ready', 'Unknown', 'Progressing');
    assert.match(message, new RegExp(`^${named(cut)}-0 does not tell its state`));
    assert.match(message, /, port 9090\./);
    const found = await world().get(`binarycache/${named(cut)}`);
    assert.equal(conditionOf(found, 'Available')?.status, 'True');
    assert.equal(conditionOf(found, 'StoragesReady')?.reason, 'Unknown');
    assert.equal(conditionOf(found, 'Exposed')?.status, 'True');
    await busyWith(cut).goesOn();
  });

  it('a storage without its S3 server is told of, by its name', async () => {
    for (const type of ['StoragesReady', 'Ready']) {
      const { message } = await lookUntil(world(), named(fleet), type, 'False', 'StorageUnavailable');
      assert.match(message, /^storage bucket: /);
    }
    assert.equal(conditionOf(await world().get(`binarycache/${named(fleet)}`), 'Available')?.status, 'True');
  });

  it('a database without room refuses pushes in words, and what was pushed is pulled', async () => {
    const refused = await world().until('a refusal', async () => {
      const result = await push(1);
      acknowledged.get(full)?.push(...acknowledgedIn(result.stdout));
      return result.code !== 0 && result;
    });
    assert.match(refused.stderr, /413 the disk of this cache is full/);
    const { status } = await world().get(`binarycache/${named(full)}`);
    await assertPulls(client, acknowledged.get(full) ?? [], { url: status.url, publicKeys: status.publicKeys });
    assert.equal(await restartsOf(full), 0);
  });

  it('a server that was killed in the middle of pushes is back, and its clients have noticed a delay', async () => {
    await busyWith(killed).goesOn();
    const lines = await busyWith(killed).lines(killedAt);
    assert.ok(lines.some(({ did, text }) => did === 'waited' && text === 'push'));
    await untilCondition(world(), named(killed), 'Ready', 'True');
    assert.equal(await restartsOf(killed), 1);
  });

  it('all is well again once the causes are gone', async () => {
    await mend.pop()?.();
    await world().kubectl(['scale', 'statefulset/s3', '--replicas=1']);
    await inServer(`require('node:fs').rmSync('/data/filler')`);
    for (const name of [cut, fleet, full]) await lookUntil(world(), named(name), 'Ready', 'True', 'Ready');
    for (const name of [cut, fleet]) await busyWith(name).goesOn();
    const pushed = await push(2);
    assert.equal(pushed.code, 0, pushed.stderr);
    acknowledged.get(full)?.push(...acknowledgedIn(pushed.stdout));
  });

  it('a PostgreSQL that is killed under load is waited for', async () => {
    await killContainer(world(), 'postgres-0');
    await busyWith(fleet).goesOn();
    await lookUntil(world(), named(fleet), 'Ready', 'True', 'Ready');
  });

  it('nothing was done to their objects and pods but what had to be, and nothing is left to do', async () => {
    assert.deepEqual(await children(world()), begun.children);
    const now = await lives(world());
    for (const [pod, life] of Object.entries(begun.lives))
      assert.equal(now[pod], pod === `${named(killed)}-0` ? life.replace('restarted 0', 'restarted 1') : life);
    await assertNothingToDo(world());
  });

  it('everything that was acknowledged before, meanwhile and afterwards is there, signed', async () => {
    for (const it of busy) acknowledged.set(it.cache, await it.stop());
    for (const [name, paths] of acknowledged) {
      const { status } = await world().get(`binarycache/${name === full ? named(full) : name}`);
      await assertPulls(client, paths, { url: status.url, publicKeys: status.publicKeys });
    }
  });
});
