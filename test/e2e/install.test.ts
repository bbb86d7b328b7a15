/** docs/install.md, followed word by word in a cluster that has never heard of Narwhal. */
import assert from 'node:assert/strict';
import { pullAndVerify } from '../support/e2e/builds.ts';
import { Client, runJob } from '../support/e2e/client.ts';
import { removeEverything } from '../support/e2e/nothing.ts';
import { Page, Reader } from '../support/e2e/page.ts';
import { SYSTEM } from '../support/e2e/release.ts';
import { story } from '../support/e2e/story.ts';
import { tagImage } from '../support/e2e/tags.ts';

const page = new Page('docs/install.md');
const PUSH = 'A Job that builds and pushes';
const PULL = 'A pod that pulls';

story('install', 'the page about installing', (world) => {
  let reader: Reader;
  before(async () => {
    await removeEverything(world());
    // Nobody has a registry here: our image of clients stands in for the public one of the page.
    const references = new Set([...page.manifests(PUSH).values()].join('').match(/(?<= image: )\S+/g));
    if (world().cluster) for (const reference of references) await tagImage(world(), 'client', reference);
    reader = await Reader.at(world(), page);
    await allowUpTo('baseline');
  });
  after(() => reader?.leave());

  function allowUpTo(standard: string): Promise<string> {
    const label = `pod-security.kubernetes.io/enforce=${standard}`;
    return world().kubectl(['label', '--overwrite', 'namespace', world().namespace, label]);
  }

  const url = () => `http://main.${world().namespace}.svc`;
  const pods = () => world().list('pods', ['-l', 'narwhal.dev/cache=main']);
  const publicKeys = async (): Promise<string[]> => (await world().get('binarycache/main')).status.publicKeys;

  it('leads from an empty cluster to a cache that is ready, and to the token to push with', async () => {
    const printed = await reader.follow('Installing in a cluster');
    assert.match(printed, /^nwl_\w+/m);
    assert.match(printed, /^TEST SUITE: +narwhal-test$[\s\S]*^Phase: +Succeeded$/m);
    assert.equal((await pods()).length, 1);
  });

  it('has a Job that builds with nix and pushes what it has built', async () => {
    const printed = await reader.follow(PUSH);
    assert.match(printed, /^\/nix\/store\/\w{32}-greeting$/m);
    assert.match(printed, /^\/nix\/store\/\w{32}-words$/m);
  });

  it('has a pod that pulls it under Pod Security `restricted`, trusting the key of the cache alone', async () => {
    await allowUpTo('restricted');
    const printed = await reader.follow(PULL);
    assert.equal(printed.trim().split('\n').at(-1), 'Hello from the cache.');
  });

  it('makes a cache that takes what a Cachix client pushes, and signs that too', async () => {
    const script = `
      export CACHIX_AUTH_TOKEN=$(cat /secrets/main-token-push/token)
      node /app/test/support/e2e/cachix-push.ts ${url()} main`;
    const [log, client] = await Promise.all([
      runJob(world(), 'cachix', script, { secrets: ['main-token-push'] }),
      Client.start(world(), 'client'),
    ]);
    const pushed = log.trim().split('\n');
    assert.equal(pushed.length, 2);
    await pullAndVerify(client, { url: url(), trustedKeys: await publicKeys() }, pushed);
    const other = [`main.${world().namespace}-1:${Buffer.alloc(32, 1).toString('base64')}`];
    await assert.rejects(pullAndVerify(client, { url: url(), trustedKeys: other }, pushed), /lacks a signature/);
  });

  it('takes caches and operator away again, and keeps volumes and keys as it says', async () => {
    await reader.follow('Uninstalling');
    assert.equal(await world().helm(['list', '--namespace', SYSTEM, '--short']), '');
    await world().until('no pod is left', async () => (await pods()).length === 0);
    const left = (await reader.follow('What is left of deleted caches')).split('\n').slice(0, -1);
    const own = left.filter((line) => line.startsWith(`${world().namespace} `)).map((line) => line.split(/ +/)[1]);
    assert.deepEqual(own.sort(), [
      'persistentvolumeclaim/main-db',
      'persistentvolumeclaim/main-disk',
      'secret/main-root-key',
      'secret/main-signing-key',
    ]);
  });

  it('takes all the rest away', async () => {
    await reader.follow('Removing all of it');
    const kinds = ['crd,clusterrole,clusterrolebinding,validatingadmissionpolicy', '-o', 'name'];
    assert.doesNotMatch(await world().kubectl(['get', ...kinds], { namespace: '' }), /narwhal/);
    assert.equal(await world().kubectl(['get', 'namespace', SYSTEM, '--ignore-not-found', '-o', 'name']), '');
    const label = ['-l', 'app.kubernetes.io/managed-by=narwhal-operator', '-o', 'name'];
    assert.equal(await world().kubectl(['get', 'pvc,secret', ...label]), '');
  });
});
