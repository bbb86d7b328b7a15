/** Keys and tokens that are lost, found and replaced while clients pull and push. */
import assert from 'node:assert/strict';
import { pullAndVerify } from '../support/e2e/builds.ts';
import { Client } from '../support/e2e/client.ts';
import { assertTrue, untilCondition } from '../support/e2e/conditions.ts';
import { Loop } from '../support/e2e/loop.ts';
import { ensureRelease } from '../support/e2e/release.ts';
import { story } from '../support/e2e/story.ts';

const NAME = 'rotating';
const FIRST = `${NAME}-signing-key`;
const SECOND = `${NAME}-signing-2`;

story('keys', 'keys and tokens', (world) => {
  let url: string;
  let puller: Loop;
  let client: Client;
  /** Paths that were pushed and acknowledged. */
  const paths: string[] = [];
  let [firstKey, secondKey] = ['', ''];

  before(async () => {
    await ensureRelease(world());
    url = `http://${NAME}.${world().namespace}.svc`;
    await apply({});
    await world().wait(`binarycache/${NAME}`, 'condition=Ready');
    [firstKey = ''] = await publicKeys();
    client = await Client.start(world(), 'client', { secrets: [`${NAME}-token-push`] });
    await push();
    puller = await Loop.pulling(world(), 'puller', { url, key: firstKey, paths: [...paths] });
  });

  const apply = (spec: object) =>
    world().apply({
      apiVersion: 'narwhal.dev/v1alpha1',
      kind: 'BinaryCache',
      metadata: { name: NAME },
      spec: {
        storages: [{ name: 'disk', local: { size: '1Gi' } }],
        tokens: [{ name: 'push', permissions: ['Write'] }],
        ...spec,
      },
    });

  async function applied(spec: object): Promise<void> {
    await apply(spec);
    await world().wait(`binarycache/${NAME}`, 'condition=Ready');
  }

  const publicKeys = async (): Promise<string[]> => (await world().get(`binarycache/${NAME}`)).status.publicKeys;
  const podUid = async () => (await world().get(`pod/${NAME}-0`)).metadata.uid;

  /** Pushes a closure with the first token. */
  async function push(): Promise<void> {
    const script = `
      export CACHIX_AUTH_TOKEN=$(cat /secrets/${NAME}-token-push/token)
      node /app/test/support/e2e/cachix-push.ts ${url} ${NAME}`;
    paths.push(...(await client.run(script)).trim().split('\n'));
  }

  describe('of which the Secret with the signing key is deleted by mistake', () => {
    let backup: string;

    it('the cache says so by the name of the Secret, makes no other key, and serves on', async () => {
      const uid = await podUid();
      backup = await world().kubectl(['get', `secret/${FIRST}`, '-o', 'yaml']);
      await world().kubectl(['delete', `secret/${FIRST}`]);
      await world().kubectl(['annotate', `binarycache/${NAME}`, 'narwhal.dev/reconcile=1']);
      const { message } = await untilCondition(world(), NAME, 'KeysReady', 'False', 'SecretMissing');
      assert.match(message, new RegExp(`^Secret ${FIRST} \\(signing key\\) is missing and is not generated again`));
      assert.equal((await untilCondition(world(), NAME, 'Ready', 'False', 'SecretMissing')).message, message);
      await puller.goesOn();
      assert.deepEqual(await puller.failures(), []);
      assert.equal(await podUid(), uid);
      await assertTrue(world(), NAME, 'Available');
    });

    it('a pod that starts without it serves what is there and refuses pushes', async () => {
      await world().kubectl(['delete', `pod/${NAME}-0`]);
      await world().until('the new pod', () => podUid().catch(() => undefined));
      await world().wait(`pod/${NAME}-0`, 'condition=Ready');
      await pullAndVerify(client, { url, trustedKeys: [firstKey] }, paths);
      await assert.rejects(push(), /409 this cache takes no pushes: .*rotating-signing-key/);
      // The operator hears of the pod when everybody does.
      await untilCondition(world(), NAME, 'Available', 'True');
      assert.equal(await world().kubectl(['get', `secret/${FIRST}`, '--ignore-not-found']), '');
    });

    it('it is Ready again once the Secret is restored, with the same key and without a restart', async () => {
      const uid = await podUid();
      await world().kubectl(['apply', '-f', '-'], { input: backup });
      await world().until('pushes go on', () => push().then(() => true));
      await world().kubectl(['annotate', '--overwrite', `binarycache/${NAME}`, 'narwhal.dev/reconcile=2']);
      await world().wait(`binarycache/${NAME}`, 'condition=Ready');
      assert.deepEqual(await publicKeys(), [firstKey]);
      await pullAndVerify(client, { url, trustedKeys: [firstKey] }, paths);
      assert.deepEqual(await puller.wrongAnswers(), []);
      assert.equal(await podUid(), uid);
    });
  });

  describe('that are replaced under use', () => {
    let pusher: Loop;
    before(async () => {
      pusher = await Loop.pushing(world(), 'pusher', { url, secret: `${NAME}-token-push` });
      const secret = await client.run(`nix key generate-secret --key-name ${NAME}.${world().namespace}-2`);
      secondKey = await client.run('nix key convert-secret-to-public', secret);
      await world().apply({
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: SECOND },
        stringData: { 'signing-key': secret },
      });
    });

    it('a second key signs and a second token pushes beside the first ones', async () => {
      await applied({
        signing: {
          secretRefs: [
            { name: SECOND, key: 'signing-key' },
            { name: FIRST, key: 'signing-key' },
          ],
        },
        tokens: [
          { name: 'push', permissions: ['Write'] },
          { name: 'push-2', permissions: ['Write'] },
        ],
      });
      assert.deepEqual(await publicKeys(), [secondKey, firstKey]);
      await Promise.all([pusher.goesOn(), puller.goesOn()]);
    });

    it('clients come to trust the second key, and jobs move to the second token', async () => {
      await puller.trust(secondKey);
      const [moved] = await Promise.all([
        Loop.pushing(world(), 'moved', { url, secret: `${NAME}-token-push-2` }),
        puller.goesOn(),
      ]);
      assert.deepEqual(await pusher.wrongAnswers(), []);
      paths.push(...(await pusher.done()));
      await pusher.stop();
      pusher = moved;
    });

    it('the first ones go, and who has moved notices nothing but the restart', async () => {
      await applied({
        signing: { secretRefs: [{ name: SECOND, key: 'signing-key' }] },
        tokens: [{ name: 'push-2', permissions: ['Write'] }],
      });
      assert.deepEqual(await publicKeys(), [secondKey]);
      await Promise.all([pusher.goesOn(), puller.goesOn()]);
      for (const loop of [pusher, puller]) assert.deepEqual(await loop.wrongAnswers(), [], loop.name);
      await assert.rejects(push(), /401 cache rotating: this token is not known here/);
    });

    it('everything verifies by the new key, and what is new by the new one only', async () => {
      const late = (await pusher.done()).at(-1) ?? '';
      paths.push(...(await pusher.done()));
      await pullAndVerify(client, { url, trustedKeys: [secondKey] }, paths);
      await assert.rejects(pullAndVerify(client, { url, trustedKeys: [firstKey] }, [late]), /lacks a signature/);
    });
  });
});
