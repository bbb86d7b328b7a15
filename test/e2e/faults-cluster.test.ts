/**
 * What befalls a whole cluster: names are not resolved, gateways die, the API server is killed or stands still, the node
 * falls silent and the operator's leader with it. Users push and pull through the gateway all the while.
 */
import assert from 'node:assert/strict';
import { Busy } from '../support/e2e/busy.ts';
import { haveCaches } from '../support/e2e/caches.ts';
import { Client } from '../support/e2e/client.ts';
import { conditionOf, untilCondition } from '../support/e2e/conditions.ts';
import { killContainer, ownCluster } from '../support/e2e/containers.ts';
import { saysThatItLeads, untilLeader, untilPutBack } from '../support/e2e/operators.ts';
import { assertPulls, trusting } from '../support/e2e/pulls.ts';
import { API_HOST, CA, ensureRelease, SYSTEM } from '../support/e2e/release.ts';
import { assertNothingToDo, children, lives } from '../support/e2e/settled.ts';
import { story } from '../support/e2e/story.ts';

const PROGRAMS = ['kube-apiserver', 'kubelet'];
const DNS = { namespace: 'kube-system' };
const GATEWAY = 'app.kubernetes.io/component=gateway';

story('faults-cluster', 'a cluster in trouble', (world) => {
  let cache: string;
  let busy: Busy;
  let client: Client;
  let begun: { children: Record<string, string>; lives: Record<string, string> };

  before(async function () {
    if (!world().cluster) return this.skip();
    await ensureRelease(world());
    cache = `calm-${world().suffix}`;
    const tokens = [{ name: 'push', permissions: ['Write'] }];
    await haveCaches(world(), { [cache]: { storages: [{ name: 'disk', local: { size: '1Gi' } }], tokens } });
    [busy, client] = await Promise.all([
      Busy.start(world(), { cache }),
      Client.start(world(), 'client', { configMaps: [CA], env: trusting(CA) }),
    ]);
    begun = { children: await children(world()), lives: await lives(world()) };
  });
  // Before evidence is saved, which asks the API server.
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') await restore();
  });
  after(() => restore());

  /** Whatever a test has stopped runs again. */
  async function restore(): Promise<void> {
    const cluster = world().cluster;
    if (!cluster) return;
    for (const name of PROGRAMS) {
      if (await cluster.processes.isRunning(name)) await cluster.processes.signal(name, 'SIGCONT');
      else await cluster.restart(name);
    }
    await untilApi();
    await world().kubectl(['scale', 'deployment/coredns', '--replicas=1'], DNS);
    await world().kubectl(['wait', '--for=condition=Ready', 'node', '--all', '--timeout=2m'], { namespace: '' });
    await world().kubectl(['rollout', 'status', 'deployment/coredns', '--timeout=2m'], DNS);
  }

  const untilApi = () => world().until('the API server', () => world().kubectl(['get', '--raw', '/readyz']));
  const ready = async () => conditionOf(await world().get(`binarycache/${cache}`), 'Ready');
  const resolves = async () =>
    (await client.tryRun(`node -e 'dns.lookup("${API_HOST}", (e) => process.exit(e ? 1 : 0))'`)).code === 0;

  it('without DNS the operator works on, and clients do once it is back', async () => {
    await world().kubectl(['scale', 'deployment/coredns', '--replicas=0'], DNS);
    await world().until('names to be unknown', async () => !(await resolves()));
    const leader = await untilLeader(world());
    await untilPutBack(world(), `poddisruptionbudget/${cache}`);
    assert.equal(await saysThatItLeads(leader), true);
    assert.equal((await ready())?.status, 'True', 'nothing is wrong with the cache');
    await world().kubectl(['scale', 'deployment/coredns', '--replicas=1'], DNS);
    await busy.goesOn();
  });

  it('a gateway that is killed, and all of them replaced, cost no client more than another attempt', async () => {
    const place = { namespace: SYSTEM };
    const before = await world().list('pods', ['-l', GATEWAY], place);
    await killContainer(world(), before[0]?.metadata.name ?? '', place);
    await world().kubectl(['rollout', 'restart', 'deployment/narwhal-gateway'], place);
    await world().kubectl(['rollout', 'status', 'deployment/narwhal-gateway', '--timeout=3m'], place);
    await busy.goesOn();
    await untilCondition(world(), cache, 'Exposed', 'True');
    const after = await world().list('pods', ['-l', GATEWAY], place);
    const old = new Set(before.map(({ metadata }) => metadata.uid));
    assert.ok(after.every(({ metadata }) => metadata.deletionTimestamp !== undefined || !old.has(metadata.uid)));
  });

  it('an API server that is killed is not missed by clients, nor by the operator once it is back', async () => {
    const { processes } = ownCluster(world());
    await processes.stop('kube-apiserver', 'SIGKILL');
    try {
      await busy.goesOnByItself();
    } finally {
      await ownCluster(world()).restart('kube-apiserver');
    }
    await untilApi();
    await untilLeader(world());
    await untilPutBack(world(), `poddisruptionbudget/${cache}`);
    assert.equal((await ready())?.status, 'True');
  });

  it('an API server that stands still ends the leader in time, and another one leads when it moves again', async () => {
    const { processes } = ownCluster(world());
    const leader = await untilLeader(world());
    const frozenAt = Date.now();
    await processes.signal('kube-apiserver', 'SIGSTOP');
    try {
      await world().until('the leader to step down', async () => !(await saysThatItLeads(leader)));
      await busy.goesOnByItself(frozenAt);
    } finally {
      await processes.signal('kube-apiserver', 'SIGCONT');
    }
    await untilApi();
    await untilLeader(world(), leader);
    await untilPutBack(world(), `poddisruptionbudget/${cache}`);
    await untilCondition(world(), cache, 'Ready', 'True');
  });

  it('a node that falls silent is told of by a leader that has followed a killed one', async () => {
    const { processes } = ownCluster(world());
    const leader = await untilLeader(world());
    await processes.stop('kubelet', 'SIGKILL');
    try {
      await killContainer(world(), leader.pod, { namespace: SYSTEM });
      await world().wait('node/node1', 'condition=Ready=Unknown', { namespace: '' });
      const { message } = await untilCondition(world(), cache, 'Available', 'False', 'Progressing');
      assert.equal(message, 'no pod is ready');
      // The count of the StatefulSet follows its pods a moment later.
      const unready = await untilCondition(world(), cache, 'Ready', 'False', 'Progressing');
      assert.equal(unready.message, '0 of 1 pods are ready');
      assert.notEqual((await untilLeader(world())).identity, leader.identity);
    } finally {
      await ownCluster(world()).restart('kubelet');
    }
    await world().wait('node/node1', 'condition=Ready', { namespace: '' });
    for (const type of ['Ready', 'Available', 'Exposed']) await untilCondition(world(), cache, type, 'True');
    await busy.goesOn();
  });

  it('no pod of a cache has restarted, nothing was written to its objects, and nothing is left to do', async () => {
    assert.deepEqual(await lives(world()), begun.lives);
    assert.deepEqual(await children(world()), begun.children);
    await assertNothingToDo(world());
  });

  it('everything that was acknowledged before, meanwhile and afterwards is there, signed', async () => {
    const paths = await busy.stop();
    const { status } = await world().get(`binarycache/${cache}`);
    await assertPulls(client, paths, { url: status.url, publicKeys: status.publicKeys });
  });
});
