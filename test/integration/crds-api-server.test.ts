// What an API server makes of our kinds: the CRDs, the examples, and every rule beside its twin in TypeScript.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { toCrd } from '../../crds/crd.ts';
import { apiVersion, kinds, loadManifests } from '../../crds/index.ts';
import { crdFolder, installCrds, pathOf } from '../support/crds.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import type { ApiAnswer, ApiObject } from '../support/kubernetes-api.ts';
import { judge, type Manifest, manifestOf } from '../support/manifests.ts';
import { describeWith } from '../support/needs.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';
import { manifestsOf, ruleExamples } from '../tables/crd-rules.ts';
import { cacheSpecs } from '../tables/crd-specs.ts';

const START_MS = 120_000;
const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url));
/** Nothing is stored, everything is judged, and a field that nobody knows is an error as with kubectl. */
const JUDGE = '?dryRun=All&fieldValidation=Strict';

interface Crd {
  readonly spec: { readonly versions: readonly { readonly schema: unknown }[] };
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] };
}

interface Cause {
  readonly field: string;
  readonly message: string;
}

let kubernetes: Kubernetes;
let namespace: string;

/** Declares tests with the shared cluster, the CRDs in it and a namespace. */
function describeWithCrds(title: string, tests: () => void): void {
  describeWith('kubernetes', title, () => {
    before(async function () {
      this.timeout(START_MS);
      kubernetes = await sharedKubernetes();
      await installCrds(kubernetes);
      namespace = await kubernetes.namespace('crds');
    });
    tests();
  });
}

const inNamespace = (...args: string[]): Promise<string> => kubernetes.kubectl([...args, '-n', namespace]);

/** Stores an object, with its status. */
async function store(manifest: Manifest): Promise<ApiObject> {
  const { kind, metadata, status } = manifest;
  const made = await kubernetes.expect(pathOf(kind, namespace), { method: 'POST', body: manifest });
  if (status === undefined) return made;
  const own = `${pathOf(kind, namespace, metadata.name)}/status`;
  return kubernetes.expect(own, { method: 'PUT', body: { ...made, status } });
}

/** What the API server finds wrong with an object, or with what it has become. */
async function judgeByServer({ now, before }: { now: Manifest; before?: Manifest }): Promise<Cause[]> {
  const all = pathOf(now.kind, namespace);
  if (before === undefined) return causesOf(await kubernetes.request(all + JUDGE, { method: 'POST', body: now }));
  const own = pathOf(now.kind, namespace, now.metadata.name);
  const { resourceVersion } = (await store(before)).metadata ?? {};
  try {
    const body = { ...now, metadata: { ...now.metadata, resourceVersion } };
    return causesOf(await kubernetes.request(own + JUDGE, { method: 'PUT', body }));
  } finally {
    await kubernetes.expect(own, { method: 'DELETE' });
  }
}

function causesOf({ status, body }: ApiAnswer): Cause[] {
  if (status === 200 || status === 201) return [];
  const { causes } = (body.details ?? {}) as { causes?: Cause[] };
  if (status === 422 && causes) return causes;
  // A field that nobody knows: the body is refused as a whole.
  const [, field] = /unknown field "([^"]+)"/.exec(body.message ?? '') ?? [];
  assert.ok(status === 400 && field, `${status}: ${body.message}`);
  return [{ field, message: body.message ?? '' }];
}

/** The API server names the place of a rule, we name the field; of the whole object it says `<nil>`. */
const isAt = (field: string, cause: Cause): boolean => cause.field === '<nil>' || field.startsWith(cause.field);

describeWithCrds('the CRDs', () => {
  const read = async (plural: string): Promise<Crd> =>
    JSON.parse(await kubernetes.kubectl(['get', 'crd', `${plural}.narwhal.dev`, '-o', 'json']));

  it('are taken from kubectl apply, on the client and on the server, in any order', async () => {
    for (const flags of [[], ['--server-side', '--force-conflicts'], []]) {
      const { code, stderr } = await kubernetes.tryKubectl(['apply', ...flags, '-f', crdFolder]);
      assert.equal(code, 0, stderr);
      // kubectl passes on what the API server finds dubious; of itself it says that it now keeps notes on the object.
      assert.doesNotMatch(stderr.replace(/Warning: resource .* is missing the .*last-applied.*/g, ''), /warning/i);
    }
  });

  for (const kind of kinds) {
    it(`are stored as they are written: ${kind.plural}`, async () => {
      const { spec } = await read(kind.plural);
      const written = JSON.parse(JSON.stringify(toCrd(kind))) as Crd;
      assert.deepEqual(spec.versions[0]?.schema, written.spec.versions[0]?.schema);
    });

    it(`are established, with a schema that is structural: ${kind.plural}`, async () => {
      const { status } = await read(kind.plural);
      const holding = status.conditions.filter((condition) => condition.status === 'True').map(({ type }) => type);
      assert.deepEqual(holding.sort(), ['Established', 'NamesAccepted']);
    });
  }
});

describeWithCrds('an API server judges specs as a process does, and', () => {
  for (const [sentence, spec, field] of cacheSpecs) {
    it(`${field ? 'refuses' : 'accepts'} ${sentence}`, async () => {
      const causes = await judgeByServer({ now: manifestOf('BinaryCache', spec) });
      if (field === undefined) assert.deepEqual(causes, []);
      else
        assert.ok(
          causes.some((cause) => isAt(field, cause)),
          JSON.stringify(causes),
        );
    });
  }
});

describeWithCrds('an API server keeps the rules as a process does, and', () => {
  for (const { kind, message, examples } of ruleExamples) {
    for (const example of examples) {
      it(`${example.field ? 'refuses' : 'accepts'} ${example.title} (${kind})`, async () => {
        const manifests = manifestsOf(kind, example);
        const causes = await judgeByServer(manifests);
        const issues = judge(manifests);
        assert.equal(causes.length, issues.length, JSON.stringify({ causes, issues }));
        for (const [index, cause] of causes.entries()) {
          const issue = issues[index];
          assert.ok(issue && isAt(issue.path, cause), JSON.stringify({ cause, issue }));
          assert.ok(cause.message.endsWith(message) && issue.message === message, cause.message);
        }
      });
    }
  }
});

describeWithCrds('the examples', () => {
  for (const file of readdirSync(EXAMPLES)) {
    const source = { file, text: readFileSync(path.join(EXAMPLES, file), 'utf8') };
    const { documents } = loadManifests([source]);

    it(`are applied as they are, and get the defaults that a process gives them: ${file}`, async () => {
      const own = await kubernetes.namespace('example');
      const apply = ['apply', '-n', own, '-f', path.join(EXAMPLES, file)];
      await kubernetes.kubectl(apply);
      const objects = [...documents.binaryCaches, ...documents.workspaces, ...documents.agents];
      const read = () =>
        Promise.all(objects.map(({ kind, metadata: { name } }) => kubernetes.expect(pathOf(kind, own, name))));
      const stored = await read();
      assert.deepEqual(
        stored.map(({ spec }) => spec),
        objects.map(({ spec }) => spec),
      );
      // kubectl says `configured`, because it sends lists without the defaults in them, but nothing changes.
      await kubernetes.kubectl(apply);
      assert.deepEqual(await read(), stored);
      for (const secret of documents.secrets) {
        const stored = await kubernetes.expect(`/api/v1/namespaces/${own}/secrets/${secret.metadata.name}`);
        const base64 = secret.keys.map((key) => [key, Buffer.from(secret.get(key) ?? []).toString('base64')]);
        assert.deepEqual(stored.data, Object.fromEntries(base64));
      }
    });
  }
});

describeWithCrds('kubectl', () => {
  const time = '2030-01-31T00:00:00Z';
  const ready = { type: 'Ready', status: 'True', reason: 'Ready', message: '', lastTransitionTime: time };
  const connected = { ...ready, type: 'Connected', status: 'False' };
  const statuses = {
    BinaryCache: {
      observedGeneration: 1,
      replicas: 1,
      readyReplicas: 1,
      selector: 'app.kubernetes.io/instance=main',
      url: 'https://nix.example.org',
      image: 'example.org/narwhal:1',
      publicKeys: [`k:${'A'.repeat(43)}=`],
      storages: [{ name: 'disk', phase: 'Ready', used: '41Gi', capacity: 1024, objects: 7, movedObjects: 0 }],
      usage: {
        ...{ bytes: '41Gi', paths: 7, waiting: 1 },
        lastGC: { run: 3, state: 'held', begunAt: time, removedPaths: 5, removedBytes: '1.5Gi' },
      },
      conditions: [{ ...ready, observedGeneration: 1 }],
    },
    Workspace: { agentCount: 1, agents: [{ name: 'web', lastSeenTime: time }], conditions: [ready] },
    Agent: {
      tokenSecretName: 'web-token',
      lastSeenTime: time,
      version: '1',
      deployment: {
        index: 12,
        storePath: `/nix/store/${'0'.repeat(32)}-a`,
        result: 'Succeeded',
        startTime: time,
        endTime: time,
      },
      conditions: [connected],
    },
  };
  const specs = {
    BinaryCache: {},
    Workspace: { cacheRef: { name: 'main' } },
    Agent: { workspaceRef: { name: 'main' } },
  };

  before(async () => {
    for (const { kind } of kinds) await store({ ...manifestOf(kind, specs[kind]), status: statuses[kind] });
  });

  for (const { kind } of kinds) {
    it(`shows a status as it was written: ${kind}`, async () => {
      const stored = await kubernetes.expect(pathOf(kind, namespace, 'main'));
      assert.deepEqual(stored.status, statuses[kind]);
    });
  }

  const columns = async (...args: string[]): Promise<string[][]> =>
    (await inNamespace('get', ...args))
      .trim()
      .split('\n')
      .map((line) => line.split(/\s{2,}/));

  it('shows what a person wants to know of each kind', async () => {
    const [heads, row] = await columns('bc', 'main', '-o', 'wide');
    assert.deepEqual(heads, ['NAME', 'READY', 'REASON', 'REPLICAS', 'URL', 'USED', 'ACCESS', 'STRATEGY', 'AGE']);
    const shown = ['main', 'True', 'Ready', '1', 'https://nix.example.org', '41Gi', 'Public', 'InOrder'];
    assert.deepEqual(row?.slice(0, -1), shown);
    assert.deepEqual((await columns('ws', 'main'))[1]?.slice(0, -1), ['main', 'main', '1', 'True', 'Ready']);
    assert.deepEqual((await columns('agents', 'main'))[1]?.slice(0, -1), ['main', 'main', 'False', '12', 'Succeeded']);
  });

  it('lists all kinds by the category nix', async () => {
    const names = (await inNamespace('get', 'nix', '-o', 'name')).trim().split('\n');
    assert.deepEqual(names.sort(), kinds.map(({ kind }) => `${kind.toLowerCase()}.narwhal.dev/main`).sort());
  });

  it('finds workspaces by their cache and agents by their workspace', async () => {
    const find = (what: string, selector: string) =>
      inNamespace('get', what, '-o', 'name', '--field-selector', selector);
    assert.match(await find('workspaces', 'spec.cacheRef.name=main'), /main/);
    assert.equal(await find('workspaces', 'spec.cacheRef.name=other'), '');
    assert.match(await find('agents', 'spec.workspaceRef.name=main'), /main/);
    assert.equal(await find('agents', 'spec.workspaceRef.name=other'), '');
  });

  it('scales a cache within the rules, and tells autoscalers of its pods', async () => {
    await inNamespace('scale', 'binarycache', 'main', '--replicas=0');
    const own = pathOf('BinaryCache', namespace, 'main');
    assert.equal(((await kubernetes.expect(own)).spec as { replicas: number }).replicas, 0);
    const { status } = await kubernetes.expect(`${own}/scale`);
    assert.deepEqual(status, { replicas: 1, selector: statuses.BinaryCache.selector });
    await assert.rejects(
      inNamespace('scale', 'bc', 'main', '--replicas=2'),
      /more than one pod needs database.postgres/,
    );
  });

  it('explains every field of every spec', async () => {
    for (const { kind, plural, spec } of kinds) {
      const explain = ['explain', plural, `--api-version=${apiVersion}`, '--recursive'];
      // The API server publishes the schema a while after the CRD is established.
      await until(`${kind} is explained`, async () => (await kubernetes.tryKubectl(explain)).code === 0);
      const text = await kubernetes.kubectl(['explain', `${plural}.spec`, `--api-version=${apiVersion}`]);
      for (const [name, field] of Object.entries(spec.properties ?? {})) {
        assert.ok(text.includes(name), name);
        assert.ok(text.replace(/\s+/g, ' ').includes((field.description ?? '').replace(/\s+/g, ' ')), name);
      }
    }
  });
});
