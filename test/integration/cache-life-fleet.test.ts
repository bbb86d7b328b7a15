// Three pods of one cache on PostgreSQL and a bucket: scaled, rolled and killed under pushes and pulls.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { generateToken } from '../../crds/index.ts';
import type { Pod } from '../../operator/runtime/index.ts';
import { generateSecretKey, parseSecretKey } from '../../server/nix/index.ts';
import { LivingCache, Watcher } from '../support/living-cache.ts';
import { Load } from '../support/load.ts';
import { secretText, type Value } from '../support/manifests.ts';
import { describeWith } from '../support/needs.ts';
import { PostgresServer } from '../support/postgres.ts';
import { S3Server } from '../support/s3.ts';
import { sharedCluster } from '../support/shared-cluster.ts';

const BUCKET = 'narwhal';

describeWith(['kubernetes', 'postgres', 'versitygw'], 'the life of a cache: several pods', () => {
  let postgres: PostgresServer;
  let s3: S3Server;
  let cache: LivingCache;
  let load: Load | undefined;
  let spec: Value;
  const token = generateToken();
  const signingKey = generateSecretKey('main.example.org-1');

  before(async function () {
    this.timeout(120_000);
    const cluster = await sharedCluster();
    [postgres, s3] = await Promise.all([PostgresServer.start(), S3Server.start()]);
    await s3.createBucket(BUCKET);
    const { accessKeyId, secretAccessKey } = s3;
    spec = {
      replicas: 3,
      database: { postgres: { secretRef: { name: 'database' } } },
      rootSecretRef: { name: 'root' },
      signing: { secretRefs: [{ name: 'signing' }] },
      tokens: [{ name: 'push', permissions: ['Write'], secretRef: { name: 'push', key: 'token' } }],
      storages: [
        {
          name: 'bucket',
          s3: {
            bucket: BUCKET,
            endpoint: s3.endpoint,
            forcePathStyle: true,
            credentialsSecretRef: { name: 'credentials' },
          },
        },
      ],
    };
    cache = await LivingCache.start(cluster, spec, {
      before: [
        secretText('database', { uri: await postgres.createDatabase() }),
        secretText('root', { 'root.key': randomBytes(32).toString('base64') }),
        secretText('signing', { 'signing-key': signingKey }),
        secretText('push', { token }),
        secretText('credentials', { accessKeyId, secretAccessKey }),
      ],
    });
    load = await Load.start({
      push: { host: cache.serviceUrl, token, proxy: cluster.services.url },
      pull: cache.api(),
      pushers: 1,
      pullers: 2,
    });
  });
  after(async () => {
    await load?.stop().catch(() => {});
    await cache?.remove();
    await Promise.all([postgres?.remove(), s3?.remove()]);
  });

  const pods = () =>
    [...cache.cluster.watched.pods.all(cache.namespace)].filter(
      (pod) => 'app.kubernetes.io/instance' in (pod.metadata.labels ?? {}),
    );
  const isReady = ({ status }: Pod) => status?.conditions?.some((it) => it.type === 'Ready' && it.status === 'True');

  it('are all there, with the keys that were given', async () => {
    const line = (await cache.kubectl('get', 'bc', 'main', '--no-headers')).split(/\s+/);
    assert.deepEqual(line.slice(0, 4), ['main', 'True', 'Ready', '3']);
    assert.deepEqual(
      pods()
        .map(({ metadata }) => metadata.name)
        .sort(),
      ['main-0', 'main-1', 'main-2'],
    );
    assert.deepEqual((await cache.object()).status?.publicKeys, [parseSecretKey(signingKey).publicKey]);
    const secrets = (await cache.kubectl('get', 'secrets', '-o', 'name')).trim().split('\n').sort();
    assert.deepEqual(
      secrets,
      ['credentials', 'database', 'push', 'root', 'signing'].map((name) => `secret/${name}`),
    );
    assert.equal(await cache.kubectl('get', 'pvc', '-o', 'name'), '');
  });

  it('become one and three again by kubectl scale, under load', async () => {
    for (const replicas of [1, 3]) {
      await cache.kubectl('scale', 'bc', 'main', `--replicas=${replicas}`);
      await cache.until('Ready', 'True');
      assert.equal(pods().length, replicas);
      assert.equal((await cache.object()).status?.readyReplicas, replicas);
      await load?.goesOn();
    }
    load?.assertNoFailure();
  });

  it('are rolled one after the other, under load', async () => {
    const watcher = new Watcher(cache);
    let fewest = 3;
    const stop = cache.cluster.watched.pods.onChange(() => {
      fewest = Math.min(
        fewest,
        pods().filter((pod) => isReady(pod) && pod.metadata.deletionTimestamp === undefined).length,
      );
    });
    await cache.applied({ ...spec, podTemplate: { metadata: { annotations: { 'example.org/rolled': 'yes' } } } });
    stop();
    await watcher.stop();
    assert.equal(watcher.pods.size, 3);
    assert.equal(fewest, 2);
    await load?.goesOn();
    load?.assertNoFailure();
  });

  it('work on while one is killed, which is told and mends itself', async () => {
    const before = await cache.life(1);
    const { kubelet } = cache.cluster;
    kubelet.restarts = false;
    try {
      cache.process(1)?.signal('SIGKILL');
      const { message } = await cache.until('Ready', 'False', 'Progressing');
      assert.equal(message, '2 of 3 pods are ready');
      assert.equal((await cache.condition('Available'))?.status, 'True');
      await load?.goesOn();
    } finally {
      kubelet.restarts = true;
    }
    await cache.until('Ready', 'True');
    assert.deepEqual(await cache.life(1), {
      uid: before.uid,
      restarts: before.restarts + 1,
      pid: cache.process(1)?.pid,
    });
    load?.assertNoFailure();
  });

  it('have lost nothing that they acknowledged', async () => {
    await load?.stop();
    assert.ok((load?.acknowledged.length ?? 0) > 20);
    await load?.assertNothingLost();
  });
});
