/**
 * What befalls the pods of one namespace: a killed server, a pod that the operator cannot ask, a full disk, an S3 server
 * and a PostgreSQL that are killed and away for a while. They befall several caches at the same time. Users push and pull all the while.
 */
import assert from 'node:assert/strict';
import type { ServerStatus } from '../../crds/index.ts';
import { Busy } from '../support/e2e/busy.ts';
import { giveKeys, haveCaches } from '../support/e2e/caches.ts';
import { Client } from '../support/e2e/client.ts';
import { conditionOf, lookUntil, untilCondition } from '../support/e2e/conditions.ts';
import { cutOff, killContainer } from '../support/e2e/containers.ts';
import { type Acknowledged, acknowledgedIn, assertPulls, trusting } from '../support/e2e/pulls.ts';
import { API_HOST, CA, ensureRelease, SYSTEM } from '../support/e2e/release.ts';
import { startPostgres, startS3 } from '../support/e2e/services.ts';
import { assertNothingToDo, children, lives } from '../support/e2e/settled.ts';
import { story } from '../support/e2e/story.ts';

story('faults', 'caches in trouble', (world) => {
  /** Public names are one cluster's. */
  const named = (name: string) => `${name}-${world().suffix}`;
  const [killed, cut, full, remote, based] = ['killed', 'cut', 'full', 'remote', 'based'] as const;
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
      giveKeys(world(), named(based), API_HOST),
    ]);
    await haveCaches(world(), {
      [named(killed)]: disk,
      [named(cut)]: disk,
      [named(full)]: { ...disk, database: { sqlite: { size: '32Mi' } } },
      [named(remote)]: { storages: [{ name: 'bucket', s3: s3.s3 }], tokens },
      [named(based)]: { ...disk, ...given, database: { postgres: postgres.postgres } },
    });
    const init = {
      secrets: [full, killed].map((name) => `${named(name)}-token-push`),
      configMaps: [CA],
      env: trusting(CA),
    };
    [client, ...busy] = await Promise.all([
      Client.start(world(), 'client', init),
      ...[cut, remote, based].map((name) => Busy.start(world(), { cache: named(name) })),
    ]);
    begun = { children: await children(world()), lives: await lives(world()) };
  });
  after(async () => {
    for (const undo of mend) await undo();
  });

  /** @param more as in `COUNT=3` */
  const push = (name: string, more: string) => {
    const env = `HOST=https://${API_HOST} CACHE=${named(name)} TOKEN_FILE=/secrets/${named(name)}-token-push/token`;
    return client.tryRun(`${env} ${more} node /app/test/support/e2e/push-main.ts`);
  };
  const inServer = (script: string) => world().kubectl(['exec', `${named(full)}-0`, '--', 'node', '-e', script]);

  /** The pod of a StatefulSet is killed, and no other one comes. */
  async function takeAway(name: string): Promise<void> {
    await world().kubectl(['scale', `statefulset/${name}`, '--replicas=0']);
    await world().kubectl([
      'delete',
      'pod',
      `${name}-0`,
      '--force',
      '--grace-period=0',
      '--wait=false',
      '--ignore-not-found',
    ]);
  }

  let interrupted: ReturnType<typeof push>;
  it('meet with five faults at once', async () => {
    const operators = await world().list('pods', ['-l', 'app.kubernetes.io/component=operator'], { namespace: SYSTEM });
    const { status } = await world().get(`pod/${named(cut)}-0`);
    const first = await push(full, 'COUNT=3');
    assert.equal(first.code, 0, first.stderr);
    acknowledged.set(full, acknowledgedIn(first.stdout));
    // 400 parts, one after the other.
    interrupted = push(killed, 'BYTES=10000000 CHUNK_BYTES=25000 CHUNKS=1');
    let isOver = false;
    void interrupted.then(() => {
      isOver = true;
    });
    const admin = `/api/v1/namespaces/${world().namespace}/pods/${named(killed)}-0:9090/proxy/status`;
    await world().until('an upload', async () => {
      const server = JSON.parse(await world().kubectl(['get', '--raw', admin])) as ServerStatus;
      return (server.caches[0]?.uploads ?? 0) > 0;
    });
    await killContainer(world(), `${named(killed)}-0`);
    assert.equal(isOver, false, 'the push was faster than the kill');
    const [undo] = await Promise.all([
      cutOff(world(), {
        name: `cut-${world().suffix}`,
        from: operators.map((pod) => pod.status.podIP),
        to: status.podIP,
        port: 9090,
      }),
      takeAway('s3'),
      takeAway('postgres'),
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
      const { message } = await lookUntil(world(), named(remote), type, 'False', 'StorageUnavailable');
      assert.match(message, /^storage bucket: /);
    }
    assert.equal(conditionOf(await world().get(`binarycache/${named(remote)}`), 'Available')?.status, 'True');
  });

  it('a database without room refuses pushes in words, and what was pushed is pulled', async () => {
    const refused = await world().until('a refusal', async () => {
      const result = await push(full, 'COUNT=1');
      acknowledged.get(full)?.push(...acknowledgedIn(result.stdout));
      return result.code !== 0 && result;
    });
    assert.match(refused.stderr, /413 the disk of this cache is full/);
    const { status } = await world().get(`binarycache/${named(full)}`);
    await assertPulls(client, acknowledged.get(full) ?? [], { url: status.url, publicKeys: status.publicKeys });
    const { message } = await lookUntil(world(), named(full), 'Ready', 'False', 'DatabaseUnavailable');
    assert.match(message, new RegExp(`^${named(full)}-0: the disk of the database is full: \\d+ bytes are free`));
  });

  it('a server that was killed in the middle of pushes is back, and the push went on', async () => {
    const { code, stdout, stderr } = await interrupted;
    assert.equal(code, 0, stderr);
    acknowledged.set(killed, acknowledgedIn(stdout));
    await untilCondition(world(), named(killed), 'Ready', 'True');
    assert.equal(await restartsOf(killed), 1);
  });

  it('a cache without its PostgreSQL is not available, and the condition names the cause', async () => {
    await untilCondition(world(), named(based), 'Available', 'False', 'Progressing');
    const { message } = await lookUntil(world(), named(based), 'Ready', 'False', 'DatabaseUnavailable');
    assert.match(message, new RegExp(`^${named(based)}-0: the database does not answer`));
  });

  it('all is well again once the causes are gone', async () => {
    await mend.pop()?.();
    await world().kubectl(['scale', 'statefulset/s3', 'statefulset/postgres', '--replicas=1']);
    await inServer(`require('node:fs').rmSync('/data/filler')`);
    for (const name of [cut, remote, full, based]) await lookUntil(world(), named(name), 'Ready', 'True', 'Ready');
    for (const name of [cut, remote, based]) await busyWith(name).goesOn();
    const pushed = await push(full, 'COUNT=2');
    assert.equal(pushed.code, 0, pushed.stderr);
    acknowledged.get(full)?.push(...acknowledgedIn(pushed.stdout));
  });

  it('nothing was done to their objects and pods but what had to be, and nothing is left to do', async () => {
    assert.deepEqual(await children(world()), begun.children);
    const now = await lives(world());
    for (const [pod, life] of Object.entries(begun.lives))
      assert.equal(now[pod], pod === `${named(killed)}-0` ? life.replace('restarted 0', 'restarted 1') : life);
    await assertNothingToDo(world());
  });

  it('everything that was acknowledged before, meanwhile and afterwards is there, signed', async () => {
    const all = [...acknowledged].map(([name, paths]) => ({ name: named(name), paths }));
    all.push(...(await Promise.all(busy.map(async (it) => ({ name: it.cache, paths: await it.stop() })))));
    const pulls = all.map(async ({ name, paths }) => {
      const { status } = await world().get(`binarycache/${name}`);
      await assertPulls(client, paths, { url: status.url, publicKeys: status.publicKeys });
    });
    await Promise.all(pulls);
  });
});
