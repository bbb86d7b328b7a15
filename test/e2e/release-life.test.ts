/** The life of a release and of what it looks after: from the version before this one to nothing at all. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ensureImage } from '../../hack/image.mjs';
import { chartFolder } from '../support/chart.ts';
import { pullAndVerify } from '../support/e2e/builds.ts';
import { Client } from '../support/e2e/client.ts';
import { assertTrue } from '../support/e2e/conditions.ts';
import { Loop } from '../support/e2e/loop.ts';
import { removeEverything } from '../support/e2e/nothing.ts';
import { Page, Reader } from '../support/e2e/page.ts';
import { SYSTEM } from '../support/e2e/release.ts';
import { story } from '../support/e2e/story.ts';
import { relabelImage } from '../support/e2e/tags.ts';
import type { Live } from '../support/e2e/world.ts';

/** There is no earlier release yet: this chart and this image, under another version and with another digest. */
const BEFORE = '0.0.9';
const CACHES = ['main', 'pinned'];
/** One operator whose lease ends soon: the next one waits for that. */
const VALUES = {
  operator: {
    replicas: 1,
    env: [
      { name: 'NARWHAL_LEASE_DURATION', value: '6' },
      { name: 'NARWHAL_RENEW_DEADLINE', value: '4' },
    ],
  },
};
const OPERATORS = ['-l', 'app.kubernetes.io/component=operator'];

story('life', 'the life of a release', (world) => {
  let image: string;
  let imageBefore: string;
  let folder: string;
  let reader: Reader;
  let client: Client;
  let puller: Loop;
  let other: string;
  let otherGoes: Promise<string>;
  /** Of `main`. */
  let publicKey: string;
  const paths: string[] = [];

  before(async function () {
    // The node has to have an image that no registry has.
    if (!world().cluster) this.skip();
    await removeEverything(world());
    image = (await ensureImage('narwhal')).reference;
    imageBefore = image.replace(/:[^:]*$/, `:${BEFORE}`);
    const labels = { 'org.opencontainers.image.version': BEFORE };
    await relabelImage(world(), 'narwhal', { reference: imageBefore, labels });
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-life-'));
    reader = await Reader.at(world(), new Page('docs/install.md'));
    other = await world().makeNamespace(`${world().namespace}-other`);
  });
  after(async () => {
    reader?.leave();
    if (folder) fs.rmSync(folder, { recursive: true });
    if (world().cluster) await removeEverything(world());
  });

  /** The chart as it was. */
  function chartBefore(): string {
    const copy = path.join(folder, 'chart');
    fs.cpSync(chartFolder, copy, { recursive: true });
    const file = path.join(copy, 'Chart.yaml');
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(/^((?:v|appV)ersion): .*$/gm, `$1: ${BEFORE}`));
    return copy;
  }

  const cacheOf = (name: string, spec: object = {}, namespace = world().namespace) => ({
    apiVersion: 'narwhal.dev/v1alpha1',
    kind: 'BinaryCache',
    metadata: { name, namespace },
    spec: {
      storages: [{ name: 'disk', local: { size: '1Gi' } }],
      tokens: [{ name: 'push', permissions: ['Write'] }],
      ...spec,
    },
  });
  const urlOf = (name: string) => `http://${name}.${world().namespace}.svc`;
  const podOf = (name: string) => world().get(`pod/${name}-0`);
  const lives = async () => (await Promise.all(CACHES.map(podOf))).map(({ metadata }) => metadata.uid);
  const imageOf = ({ spec }: Live): string => spec.containers[0].image;
  const publicKeysOf = async (name: string): Promise<string[]> =>
    (await world().get(`binarycache/${name}`)).status.publicKeys;
  const operatorIsGone = () =>
    world().until(
      'no operator',
      async () => (await world().list('pods', OPERATORS, { namespace: SYSTEM })).length === 0,
    );

  /** Pushes a closure to a cache whose token the client has mounted. */
  async function push(name: string, from = client): Promise<string[]> {
    const script = `
      export CACHIX_AUTH_TOKEN=$(cat /secrets/${name}-token-push/token)
      node /app/test/support/e2e/cachix-push.ts ${urlOf(name)} ${name}`;
    return (await from.run(script)).trim().split('\n');
  }

  it('begins with the version before this one, and caches with something in them', async () => {
    const words = ['install', 'narwhal', chartBefore(), '--namespace', SYSTEM, '--create-namespace', '--wait'];
    await world().helm(words, VALUES);
    await world().apply(
      cacheOf('main'),
      cacheOf('pinned', { image: imageBefore, reclaimPolicy: 'Delete' }),
      cacheOf('main', {}, other),
    );
    await world().kubectl(['wait', '--for=condition=Ready', 'binarycache', '--all', '--timeout=3m']);
    for (const name of CACHES) assert.equal(imageOf(await podOf(name)), imageBefore);
    [publicKey = ''] = await publicKeysOf('main');
    client = await Client.start(world(), 'client', { secrets: CACHES.map((name) => `${name}-token-push`) });
    paths.push(...(await push('main')));
    await push('pinned');
    puller = await Loop.pulling(world(), 'puller', { url: urlOf('main'), key: publicKey, paths: [...paths] });
  });

  it('brings the new image to caches by `helm upgrade`; a reader meets no wrong answer, and what is pinned stays', async () => {
    const [first, pinned] = [await podOf('main'), await podOf('pinned')];
    await reader.follow('Upgrading');
    await world().kubectl(['rollout', 'status', 'deployment/narwhal-operator', '--timeout=3m'], { namespace: SYSTEM });
    await world().until('main runs the new image', async () => imageOf(await podOf('main')) === image);
    await world().wait('pod/main-0', 'condition=Ready');
    for (const namespace of [world().namespace, other])
      await world().wait('binarycache/main', 'condition=Ready', { namespace });
    const [second, stayed] = [await podOf('main'), await podOf('pinned')];
    assert.notEqual(second.status.containerStatuses[0].imageID, first.status.containerStatuses[0].imageID);
    assert.deepEqual([stayed.metadata.uid, imageOf(stayed)], [pinned.metadata.uid, imageBefore]);
    await assertTrue(world(), 'pinned', 'Ready');
    await puller.goesOn();
    assert.deepEqual(await puller.wrongAnswers(), []);
    assert.deepEqual(await publicKeysOf('main'), [publicKey]);
    paths.push(...(await push('main')));
    const kept = await world().helm(['get', 'values', 'narwhal', '--namespace', SYSTEM, '--output', 'json']);
    assert.deepEqual(JSON.parse(kept), VALUES);
  });

  it('leaves caches that nobody looks after by `helm uninstall`: they serve on, and lose nothing', async () => {
    const [before, failures] = [await lives(), await puller.failures()];
    await world().helm(['uninstall', 'narwhal', '--namespace', SYSTEM]);
    await operatorIsGone();
    await puller.goesOn();
    assert.deepEqual(await puller.failures(), failures);
    assert.deepEqual(await lives(), before);
    paths.push(...(await push('main')));
    assert.equal((await world().list('binarycaches')).length, CACHES.length);
  });

  it('finds them again by the next installation, without a restart', async () => {
    const [before, failures] = [await lives(), await puller.failures()];
    await world().helm(['install', 'narwhal', chartFolder, '--namespace', SYSTEM, '--wait'], VALUES);
    // What only an operator makes.
    await world().kubectl(['delete', 'poddisruptionbudget/main']);
    await world().until('it is made again', () => world().get('poddisruptionbudget/main'));
    // For later: it takes its time.
    otherGoes = world().kubectl(['delete', 'namespace', other, '--timeout=3m'], { namespace: '' });
    otherGoes.catch(() => {});
    for (const name of CACHES) await world().wait(`binarycache/${name}`, 'condition=Ready');
    assert.deepEqual(await publicKeysOf('main'), [publicKey]);
    await puller.goesOn();
    assert.deepEqual(await puller.failures(), failures);
    assert.deepEqual(await lives(), before);
    await pullAndVerify(client, { url: urlOf('main'), trustedKeys: [publicKey] }, paths);
    await puller.stop();
  });

  it('keeps paths and key of a cache that is deleted and made again', async () => {
    const token = async () => (await world().get('secret/main-token-push')).data.token;
    const before = await token();
    await world().kubectl(['delete', 'binarycache/main']);
    await world().wait('pod/main-0', 'delete');
    await world().apply(cacheOf('main'));
    await world().wait('binarycache/main', 'condition=Ready');
    assert.deepEqual(await publicKeysOf('main'), [publicKey]);
    assert.notEqual(await token(), before, 'who may push is not kept');
    await pullAndVerify(client, { url: urlOf('main'), trustedKeys: [publicKey] }, paths);
  });

  it('takes volumes and Secrets along with a cache that says `reclaimPolicy: Delete`', async () => {
    const kinds = 'statefulsets,pods,services,configmaps,secrets,persistentvolumeclaims,serviceaccounts';
    const left = () => world().kubectl(['get', kinds, '-l', 'narwhal.dev/cache=pinned', '-o', 'name']);
    assert.match(await left(), /^persistentvolumeclaim\/pinned-disk$/m);
    await world().kubectl(['delete', 'binarycache/pinned']);
    await world().until('nothing is left of it', async () => (await left()) === '');
    await world().until('its disks are gone', async () => {
      const volumes = await world().list('persistentvolumes', [], { namespace: '' });
      const claims = volumes.map(({ spec }) => `${spec.claimRef?.namespace}/${spec.claimRef?.name}`);
      return !claims.some((claim) => claim.startsWith(`${world().namespace}/pinned-`));
    });
  });

  it('has meanwhile let another namespace go, with the cache in it', async () => {
    await otherGoes;
  });

  it('lets a namespace go while no operator runs', async () => {
    await world().kubectl(['scale', 'deployment/narwhal-operator', '--replicas=0'], { namespace: SYSTEM });
    await operatorIsGone();
    await world().kubectl(['delete', 'namespace', world().namespace, '--timeout=3m'], { namespace: '' });
  });
});
