import assert from 'node:assert/strict';
import { generateSecretKey } from '../../server/nix/index.ts';
import { makePath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import type { Pod } from '../support/pod.ts';
import {
  isFrozen,
  podKeys,
  podManifest,
  podSecrets,
  removePod,
  startPod,
  untilLost,
  untilMended,
} from '../support/pod-keys.ts';
import { PostgresServer } from '../support/postgres.ts';
import { pushByPut } from '../support/push.ts';
import { until } from '../support/server.ts';

describeWith('postgres', 'mounted Secrets of a cache on PostgreSQL', () => {
  let postgres: PostgresServer;
  let pod: Pod;
  before(async () => {
    postgres = await PostgresServer.start();
  });
  afterEach(() => removePod(pod));
  after(() => postgres.remove());

  it('freeze the cache while keys are missing, and those that are there must be the known ones', async () => {
    const url = await postgres.createDatabase('keys');
    const manifest = podManifest(`${podKeys}database: {postgres: {secretRef: {name: database}}}\n`);
    pod = await startPod({ manifest, secrets: { ...podSecrets, database: { uri: url } } });
    const published = makePath();
    await pushByPut(pod.server, published);
    for (const name of ['main-signing', 'main-root'] as const) {
      await pod.setSecret(name, {});
      await untilLost(pod);
      await isFrozen(pod, published, new RegExp(`there is no Secret "${name}"`));
      await pod.server.stop();
      await pod.server.restart();
      await isFrozen(pod, published, new RegExp(`there is no Secret "${name}"`));
      await pod.setSecret(name, podSecrets[name]);
      await untilMended(pod);
    }
    await pod.setSecret('main-root', {});
    await untilLost(pod);
    await pod.setSecret('main-signing', { key: generateSecretKey('main.cache.example.org-1') });
    await until('another key of that name is refused', async () =>
      /the signing key main\.cache\.example\.org-1 has the fingerprint/.test((await pod.status()).config.error ?? ''),
    );
    await pod.setSecret('main-signing', podSecrets['main-signing']);
    await pod.setSecret('main-root', podSecrets['main-root']);
    await untilMended(pod);
    await pushByPut(pod.server, makePath());
  });

  it('take a new password over', async () => {
    const url = new URL(await postgres.createDatabase('password'));
    await postgres.query(`CREATE ROLE rotating LOGIN PASSWORD 'first'`);
    await postgres.query('ALTER DATABASE password OWNER TO rotating');
    url.username = 'rotating';
    url.password = 'first';
    const manifest = podManifest(`${podKeys}database: {postgres: {secretRef: {name: database}}}\n`);
    pod = await startPod({ manifest, secrets: { ...podSecrets, database: { uri: url.href } } });
    await pushByPut(pod.server, makePath());
    await postgres.query(`ALTER ROLE rotating PASSWORD 'second'`);
    url.password = 'second';
    const seen = pod.server.output.length;
    await pod.setSecret('database', { uri: url.href });
    await until('it is applied', () => pod.server.output.includes('the changed manifests are applied', seen));
    // What is open stays open with the old password; connections from now on need the new one.
    await postgres.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotating'`);
    await pushByPut(pod.server, makePath());
    assert.ok(!pod.server.output.includes('second'));
  });
});
