/**
 * Storages on real volumes grow, come, are emptied and go, while a pod reads every narinfo and every NAR without a pause.
 *
 * What is promised with one pod: a change that needs no restart is noticed by nobody who reads. A storage that comes or
 * goes restarts the pod, and until the new one is ready connections are refused; every answer that does come is right.
 */
import assert from 'node:assert/strict';
import { pullClosure, pushClosure } from '../support/e2e/closure.ts';
import { conditionOf } from '../support/e2e/conditions.ts';
import { Follower } from '../support/e2e/follower.ts';
import { Poller } from '../support/e2e/poller.ts';
import type { KnownPath } from '../support/e2e/poller-main.ts';
import { ensureRelease } from '../support/e2e/release.ts';
import { story } from '../support/e2e/story.ts';
import type { Live } from '../support/e2e/world.ts';

const TEXTS = 80;
const BIG = [3_000_000, 4_000_000, 5_000_001];

story('storage', 'storages that grow, come and go', (world) => {
  let cellar: Follower;
  let poller: Poller;
  let paths: KnownPath[];

  before(async function () {
    // Of another cluster nobody knows whether its volumes grow.
    if (!world().cluster) return this.skip();
    await ensureRelease(world());
    await apply([disk('first', '100Mi'), disk('rigid', '100Mi', { storageClassName: 'fixed' })]);
    cellar = await Follower.start(world(), 'binarycache/cellar');
    await cellar.condition('Ready', 'True');
  });
  after(() => cellar?.stop());

  const url = () => `http://cellar.${world().namespace}.svc`;
  const disk = (name: string, size: string, local: object = {}, more: object = {}) => ({
    name,
    local: { size, ...local },
    ...more,
  });
  const apply = (storages: readonly object[]) =>
    world().apply({
      apiVersion: 'narwhal.dev/v1alpha1',
      kind: 'BinaryCache',
      metadata: { name: 'cellar' },
      spec: {
        strategy: 'RoundRobin',
        storages,
        database: { sqlite: { size: '100Mi' } },
        tokens: [{ name: 'push', permissions: ['Write'] }],
        // The volumes are small, and nobody waits a quarter of an hour for what was moved to be removed.
        limits: { diskReserve: '1Mi', moveRate: '1Mi' },
        podTemplate: {
          spec: {
            env: [
              { name: 'NARWHAL_MOVE_GRACE', value: '1' },
              { name: 'NARWHAL_HOUSEKEEPING_INTERVAL', value: '1' },
            ],
          },
        },
      },
    });
  const claim = (name: string) => world().get(`persistentvolumeclaim/cellar-${name}`);
  const storageOf = (state: Live, name: string) =>
    (state.status?.storages ?? []).find((it: { name: string }) => it.name === name);
  /** Has the operator look again and again, which otherwise has a minute between two looks at a cache that is well. */
  const lookUntil = (what: string, fits: (state: Live) => boolean) =>
    world().until(what, async () => {
      await world().kubectl(['annotate', '--overwrite', 'bc/cellar', `narwhal.dev/reconcile=${Date.now()}`]);
      return fits(cellar.now) && cellar.now;
    });
  /** What makes the pod the same one. */
  const life = async () => {
    const { metadata, status } = await world().get('pod/cellar-0');
    return { uid: metadata.uid, restarts: status.containerStatuses[0].restartCount };
  };
  /** What the server's own node answers. */
  const inPod = async (expression: string) =>
    JSON.parse(
      await world().kubectl(['exec', 'cellar-0', '--', 'node', '-p', `JSON.stringify(${expression})`]),
    ) as unknown;

  it('are claims of one writer each, on fresh file systems, and belong to the group of the pod', async () => {
    for (const name of ['db', 'first', 'rigid']) {
      const { spec, status } = await claim(name);
      assert.deepEqual([status.phase, spec.accessModes], ['Bound', ['ReadWriteOnce']]);
    }
    const folder = '/storages/rigid';
    const names = (await inPod(`fs.readdirSync('${folder}')`)) as string[];
    assert.ok(names.includes('lost+found') && names.includes('.narwhal'), names.join());
    assert.deepEqual(await inPod(`[process.getuid(), fs.statSync('${folder}').gid]`), [65532, 65532]);
  });

  it('take what a Job copies into the cache, in turns', async () => {
    const init = {
      to: `${url()}/push`,
      secret: 'cellar-token-push',
      seed: world().namespace,
      texts: TEXTS,
      bigBytes: BIG,
    };
    paths = await pushClosure(world(), 'push', init);
    assert.equal(paths.length, TEXTS + BIG.length);
    for (const name of ['first', 'rigid'])
      assert.notEqual(((await inPod(`fs.readdirSync('/storages/${name}/objects')`)) as string[]).length, 0);
    poller = await Poller.start(world(), url(), paths);
  });

  it('grow under the running pod, which nobody who reads notices', async () => {
    const before = await life();
    const from = cellar.states.length;
    await apply([disk('first', '200Mi'), disk('rigid', '100Mi', { storageClassName: 'fixed' })]);
    const { message } = await cellar.condition('StoragesReady', 'False', 'Resizing', { from });
    assert.equal(message, 'volume cellar-first grows from 100Mi to 200Mi');
    await cellar.condition('Ready', 'True', 'Ready', { from });
    const grown = await lookUntil('it has the new size', (it) => /^1[89]\dMi$/.test(storageOf(it, 'first')?.capacity));
    assert.equal(conditionOf(grown, 'StoragesReady')?.status, 'True');
    assert.equal((await claim('first')).status.capacity.storage, '200Mi');
    await poller.round();
    assert.deepEqual(await life(), before);
  });

  it('whose class does not let them grow say so and go on', async () => {
    const before = await life();
    const from = cellar.states.length;
    await apply([disk('first', '200Mi'), disk('rigid', '200Mi', { storageClassName: 'fixed' })]);
    const { message } = await cellar.condition('StoragesReady', 'False', 'ExpansionNotAllowed', { from });
    assert.match(message, /^storage rigid: .*only dynamically provisioned pvc can be resized/);
    assert.equal((await cellar.condition('Ready', 'False', 'ExpansionNotAllowed', { from })).message, message);
    assert.equal((await claim('rigid')).status.capacity.storage, '100Mi');
    await poller.round();
    assert.deepEqual(await life(), before);
  });

  it('are renamed: one of the new name comes, with a restart, and the old one is emptied while it is read', async () => {
    const before = await life();
    const from = cellar.states.length;
    const draining = { mode: 'Drain' };
    await apply([
      disk('first', '200Mi'),
      disk('rigid', '200Mi', { storageClassName: 'fixed' }, draining),
      disk('second', '200Mi'),
    ]);
    await assert.rejects(
      apply([disk('first', '200Mi'), disk('second', '200Mi')]),
      /a storage can be removed once status\.storages says Drained \(set its mode to Drain first\)/,
    );
    const moving = await cellar.condition('Draining', 'True', 'Moving', { from });
    assert.match(moving.message, /^rigid: \d+ moved, \d+ left$/);
    await world().until('the pod is another one', async () => (await life()).uid !== before.uid);
    await poller.restarted();
    await lookUntil('rigid is drained', (it) => storageOf(it, 'rigid')?.phase === 'Drained');
    await poller.round();
  });

  it('may go then, with a restart, and leave their claim behind', async () => {
    const from = cellar.states.length;
    const { metadata, spec } = await claim('rigid');
    await apply([disk('first', '200Mi'), disk('second', '200Mi')]);
    const ready = await cellar.until(
      'it is ready without rigid',
      (it) => conditionOf(it, 'Ready')?.status === 'True' && !storageOf(it, 'rigid'),
      { from },
    );
    assert.deepEqual(
      ready.status.storages.map(({ name, phase }: { name: string; phase: string }) => [name, phase]),
      [
        ['first', 'Ready'],
        ['second', 'Ready'],
      ],
    );
    await poller.restarted();
    const kept = await claim('rigid');
    assert.deepEqual(
      [kept.metadata.uid, kept.status.phase, kept.metadata.deletionTimestamp],
      [metadata.uid, 'Bound', undefined],
    );
    assert.equal((await world().get(`persistentvolume/${spec.volumeName}`, { namespace: '' })).status.phase, 'Bound');
  });

  it('have lost nothing: a client that believes the key of the cache alone gets every path', async () => {
    await poller.round();
    const [key] = cellar.now.status.publicKeys;
    await pullClosure(world(), 'pull', { from: url(), key, paths });
  });
});
