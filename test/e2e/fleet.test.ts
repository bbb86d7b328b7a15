/**
 * A cache of several pods on S3 and PostgreSQL, rolled, scaled and evicted while clients push to it and pull from it. No
 * client that repeats as nix and cachix do may notice, and nothing that was acknowledged may be missing.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import { generateToken } from '../../crds/index.ts';
import { root } from '../../hack/lib/places.mjs';
import { generateSecretKey } from '../../server/nix/index.ts';
import { pullClosure } from '../support/e2e/closure.ts';
import { Follower } from '../support/e2e/follower.ts';
import { LoadPod } from '../support/e2e/load.ts';
import { API_HOST, ensureRelease } from '../support/e2e/release.ts';
import { startPostgres, startS3 } from '../support/e2e/services.ts';
import { story } from '../support/e2e/story.ts';

story('fleet', 'a cache of several pods', (world) => {
  /** Its public name is its own, whatever other stories call theirs. */
  let name: string;
  let cache: Follower;
  let servers: Follower;
  const load: LoadPod[] = [];

  before(async () => {
    name = world().namespace;
    const [{ s3 }, { postgres }] = await Promise.all([
      startS3(world()),
      startPostgres(world()),
      ensureRelease(world()),
    ]);
    await makeSecrets();
    const onPostgres = exampleSpec('postgres.yaml');
    const [bucket] = exampleSpec('s3.yaml').storages as { name: string; s3: object }[];
    await world().apply({
      apiVersion: 'narwhal.dev/v1alpha1',
      kind: 'BinaryCache',
      metadata: { name },
      spec: {
        ...onPostgres,
        replicas: 3,
        autoscaling: { minReplicas: 1, maxReplicas: 4 },
        database: { postgres: { ...(onPostgres.database as { postgres: object }).postgres, ...postgres } },
        storages: [{ ...bucket, s3: { ...bucket?.s3, ...s3 } }],
      },
    });
    cache = await Follower.start(world(), `binarycache/${name}`);
    await cache.condition('Ready', 'True');
    servers = await Follower.start(world(), `statefulset/${name}`);
  });
  after(() => {
    cache?.stop();
    servers?.stop();
  });

  /** The spec of the only cache of an example. */
  const exampleSpec = (file: string) => {
    const text = fs.readFileSync(path.join(root, 'examples', file), 'utf8');
    const [first] = parseAllDocuments(text).map((it) => it.toJS() as { spec: Record<string, unknown> });
    return first?.spec ?? {};
  };
  /** Those that examples/postgres.yaml wants from elsewhere. */
  const makeSecrets = () => {
    const token = generateToken();
    const hosts = [`${name}.${API_HOST}`, `${name}.${world().namespace}.svc`];
    const netrc = hosts.map((host) => `machine ${host} login ci password ${token}\n`).join('');
    const secret = (it: string, stringData: object) => ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: it },
      stringData,
    });
    return world().apply(
      secret('main-root', { 'root.key': randomBytes(32).toString('base64') }),
      secret('main-signing', { 'signing-key': generateSecretKey(`${name}.${API_HOST}-1`) }),
      secret('main-push-token', { token, netrc }),
    );
  };
  const serviceUrl = () => `http://${name}.${world().namespace}.svc`;
  const publicUrl = () => `https://${name}.${API_HOST}`;
  const selector = () => `narwhal.dev/cache=${name}`;
  const podIds = async () => (await world().list('pods', ['-l', selector()])).map(({ metadata }) => metadata.uid);
  const patch = (spec: object) =>
    world().kubectl(['patch', 'binarycache', name, '--type=merge', '--patch', JSON.stringify({ spec })]);
  const loadGoesOn = () => Promise.all(load.map((it) => it.goesOn()));
  const readyAgain = (pods: number, from: number) =>
    cache.until(
      `it is ready with ${pods} pods`,
      ({ metadata, status }) =>
        status.observedGeneration === metadata.generation &&
        status.conditions[0].status === 'True' &&
        status.readyReplicas === pods &&
        status.replicas === pods,
      { from },
    );

  it('has three pods and no volume of its own', async () => {
    const columns = (await world().kubectl(['get', 'binarycache', name, '--no-headers'])).split(/\s+/);
    assert.deepEqual(columns.slice(0, 5), [name, 'True', 'Ready', '3', publicUrl()]);
    assert.equal((await podIds()).length, 3);
    assert.deepEqual(await world().list('persistentvolumeclaims', ['-l', selector()]), []);
    await cache.condition('Exposed', 'True');
  });

  it('is pushed to and pulled from, by the Service and by its public name', async () => {
    const secret = 'main-push-token';
    load.push(await LoadPod.ofCachix(world(), 'load-cachix', { url: serviceUrl(), cache: name, secret }));
    load.push(await LoadPod.ofNix(world(), 'load-nix', { url: publicUrl(), cache: name, secret }));
    await loadGoesOn();
  });

  it('is rolled one pod after the other when its template changes', async () => {
    const before = await podIds();
    const [from, fromServers] = [cache.states.length, servers.states.length];
    await patch({ podTemplate: { metadata: { annotations: { 'example.org/rolled': 'yes' } } } });
    await readyAgain(3, from);
    const after = await podIds();
    assert.equal(new Set([...before, ...after]).size, 6);
    const ready = servers.states.slice(fromServers).map(({ status }) => status.readyReplicas ?? 0);
    assert.ok(Math.min(...ready) >= 2, ready.join());
    await loadGoesOn();
  });

  it('gives one pod at a time to an eviction', async () => {
    const from = cache.states.length;
    const evict = (ordinal: number) => {
      const pod = `${name}-${ordinal}`;
      const body = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: pod } };
      const place = `/api/v1/namespaces/${world().namespace}/pods/${pod}/eviction`;
      return world().tryKubectl(['create', '--raw', place, '-f', '-'], { input: JSON.stringify(body) });
    };
    // It may not know yet that the pods before were replaced by ready ones.
    await world().until('the first is taken', async () => (await evict(0)).code === 0);
    const second = await evict(1);
    assert.notEqual(second.code, 0);
    assert.match(second.stderr, /violate the pod's disruption budget/);
    await readyAgain(3, from);
    await loadGoesOn();
  });

  it('is scaled down by kubectl, and up again by an autoscaler', async () => {
    let from = cache.states.length;
    await world().kubectl(['scale', `binarycache/${name}`, '--replicas=1']);
    await readyAgain(1, from);
    await loadGoesOn();
    from = cache.states.length;
    const autoscaler = `horizontalpodautoscaler/${name}`;
    await world().wait(autoscaler, 'condition=AbleToScale');
    assert.equal((await world().get(autoscaler)).spec.scaleTargetRef.kind, 'BinaryCache');
    // It knows no load here, for which a cluster needs a metrics-server; that one pod is too few it sees without.
    await patch({ autoscaling: { minReplicas: 3 } });
    await readyAgain(3, from);
    const told = await world().list('events', ['--field-selector', 'reason=SuccessfulRescale']);
    assert.match(
      told.map(({ message }) => message).join(),
      /New size: 3; reason: Current number of replicas below Spec.MinReplicas/,
    );
    await loadGoesOn();
  });

  it('has failed nobody and lost nothing: all that was acknowledged is there, and signed', async () => {
    const told = await Promise.all(load.map((it) => it.stop()));
    for (const { failures } of told) assert.deepEqual(failures, []);
    const acknowledged = told.flatMap((it) => it.acknowledged);
    for (const it of told) assert.ok(it.acknowledged.length > 10 && it.downloads > 10);
    const [key] = cache.now.status.publicKeys;
    await pullClosure(world(), 'pull', { from: serviceUrl(), key, paths: acknowledged });
  });
});
