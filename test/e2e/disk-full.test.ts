/** Volumes that are really full: pushes are refused in words, what was acknowledged stays, and a grown volume takes more. */
import assert from 'node:assert/strict';
import { Client } from '../support/e2e/client.ts';
import { asInNarinfos, pullClosure, QUICK } from '../support/e2e/closure.ts';
import { type Condition, conditionOf } from '../support/e2e/conditions.ts';
import { Follower } from '../support/e2e/follower.ts';
import type { KnownPath } from '../support/e2e/poller-main.ts';
import { ensureRelease } from '../support/e2e/release.ts';
import { story } from '../support/e2e/story.ts';
import type { Live } from '../support/e2e/world.ts';

const SECRET = 'larder-token-push';
const PATH_BYTES = 3_000_000;

story('full', 'a cache whose disks are full', (world) => {
  let larder: Follower;
  let client: Client;
  const acknowledged: KnownPath[] = [];
  let life: unknown;

  before(async function () {
    // Of another cluster nobody knows whether its volumes are full when they should be, and grow.
    if (!world().cluster) return this.skip();
    await ensureRelease(world());
    await apply({ small: '32Mi' });
    larder = await Follower.start(world(), 'binarycache/larder');
    await larder.condition('Ready', 'True');
    client = await Client.start(world(), 'client', { secrets: [SECRET] });
    life = await lifeNow();
  });
  after(() => larder?.stop());

  const url = () => `http://larder.${world().namespace}.svc`;
  const apply = ({ database = '32Mi', ...storages }: Record<string, string>) =>
    world().apply({
      apiVersion: 'narwhal.dev/v1alpha1',
      kind: 'BinaryCache',
      metadata: { name: 'larder' },
      spec: {
        database: { sqlite: { size: database } },
        storages: Object.entries(storages).map(([name, size]) => ({ name, local: { size } })),
        tokens: [{ name: 'push', permissions: ['Write'] }],
        // To the last byte.
        limits: { diskReserve: '0' },
      },
    });
  const lifeNow = async () => {
    const { metadata, status } = await world().get('pod/larder-0');
    return { uid: metadata.uid, restarts: status.containerStatuses[0].restartCount };
  };
  const inPod = (expression: string) => world().kubectl(['exec', 'larder-0', '--', 'node', '-p', expression]);
  /** Pushes a path of random bytes with nix; what nix complains of, or nothing. */
  const push = async (bytes: number): Promise<string | undefined> => {
    const { code, stdout, stderr } = await client.tryRun(`${QUICK}
      head -c ${bytes} /dev/urandom > /tmp/file
      path=$(nix store add --mode flat --name stock /tmp/file)
      nix path-info --json --json-format 1 "$path" | node -p 'Object.entries(JSON.parse(fs.readFileSync(0, "utf8")))
        .map(([storePath, { narHash }]) => JSON.stringify([{ storePath, narHash }]))[0]'
      nix copy --netrc-file /secrets/${SECRET}/netrc --to "${url()}/push?compression=zstd" "$path"`);
    if (code !== 0) return stderr;
    acknowledged.push(...asInNarinfos(JSON.parse(stdout) as KnownPath[]));
    return undefined;
  };

  /** Fills a folder of the pod to the last byte, as others who use a disk do. */
  const fill = (folder: string) =>
    inPod(`[1 << 16, 512].map((bytes) => {
      for (;;) try { fs.appendFileSync('${folder}/filler', crypto.randomBytes(bytes)) } catch (e) { return e.code }
    }).join()`);
  const filesOn = async (storage: string) => {
    const expression = `fs.readdirSync('/storages/${storage}/objects', { recursive: true, withFileTypes: true })`;
    return Number(await inPod(`${expression}.filter((it) => it.isFile()).length`));
  };
  /** Pushes until nix complains; of what. */
  const pushUntilRefused = async (bytes: number): Promise<string> => {
    for (;;) {
      const complaint = await push(bytes);
      if (complaint !== undefined) return complaint;
    }
  };

  it('refuses what does not fit any more, in words that nix shows', async () => {
    const complaint = await pushUntilRefused(PATH_BYTES);
    assert.match(complaint, /HTTP error 413[\s\S]*no storage of this cache has room for 3\d{6} more bytes/);
    assert.ok(acknowledged.length > 3, String(acknowledged.length));
  });

  it('refuses a body of unknown length when the disk is full in the middle of it, and keeps nothing of that', async () => {
    const nar = 'push/nar/1111111111111111111111111111111111111111111111111111.nar.zst';
    const { stdout } = await client.tryRun(`head -c 6000000 /dev/urandom | curl -sS -w '%{http_code}' \\
      --netrc-file /secrets/${SECRET}/netrc -H 'Transfer-Encoding: chunked' -T - ${url()}/${nar}`);
    assert.match(stdout, /^no storage of this cache has room for \d+ more bytes\n413$/);
    assert.equal((await inPod(`fs.readdirSync('/storages/small/.staging').length`)).trim(), '0');
    assert.equal(await filesOn('small'), acknowledged.length);
  });

  it('tells how full it is, and serves on', async () => {
    const from = larder.states.length;
    await world().kubectl(['annotate', 'binarycache/larder', 'narwhal.dev/reconcile=now']);
    await larder.until(
      'the status has the numbers',
      ({ status: { storages } }) => /^2\dMi$/.test(storages[0].used) && /^2\dMi$/.test(storages[0].capacity),
      { from },
    );
    assert.equal(conditionOf(larder.now, 'Available')?.status, 'True');
    await pull('pull-full');
  });

  it('takes pushes again once the volume has grown, without a restart', async () => {
    await apply({ small: '64Mi' });
    await world().wait('pvc/larder-small', 'jsonpath={.status.capacity.storage}=64Mi');
    assert.equal(await push(PATH_BYTES), undefined);
    assert.deepEqual(await lifeNow(), life);
  });

  it('refuses pushes while its database has no room, and takes them again once that volume has grown', async () => {
    assert.equal((await fill('/data')).trim(), 'ENOSPC,ENOSPC');
    assert.match(await pushUntilRefused(1000), /HTTP error 413[\s\S]*the disk of this cache is full/);
    assert.equal(conditionOf(larder.now, 'Available')?.status, 'True');
    await apply({ database: '64Mi', small: '64Mi' });
    await world().wait('pvc/larder-db', 'jsonpath={.status.capacity.storage}=64Mi');
    assert.equal(await push(1000), undefined);
    assert.deepEqual(await lifeNow(), life);
  });

  it('goes on in a second storage, which came with a restart, when the first is full', async () => {
    const from = larder.states.length;
    await apply({ database: '64Mi', small: '64Mi', large: '64Mi' });
    await larder.until('it has both', ({ status }) => isReady(status) && status.storages.length === 2, { from });
    await fill('/storages/small');
    assert.equal(await push(PATH_BYTES), undefined);
    assert.equal(await push(1000), undefined);
    assert.equal(await filesOn('large'), 2);
  });

  it('has lost nothing that it acknowledged', () => pull('pull-all'));

  const pull = (job: string) => {
    const [key] = larder.now.status.publicKeys;
    return pullClosure(world(), job, { from: url(), key, paths: acknowledged });
  };
});

/** Ready, and every storage takes part. */
function isReady({ conditions, storages }: Live['status']): boolean {
  const isTrue = (type: string) => conditions.find((it: Condition) => it.type === type)?.status === 'True';
  return isTrue('Ready') && storages.every(({ phase }: { phase: string }) => phase === 'Ready');
}
