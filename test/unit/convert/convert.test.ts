import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Documents, loadManifests } from '../../../crds/index.ts';
import { ConvertError, convertSeedConfig } from '../../../server/convert/index.ts';

interface Converted {
  yaml: string;
  warnings: string[];
  documents: Documents;
}

/** Converts, and demands that the outcome is valid. */
function convert(text: string): Converted {
  const { yaml, warnings } = convertSeedConfig(text);
  const { documents, errors } = loadManifests([{ file: 'out.yaml', text: yaml }]);
  assert.deepEqual(errors, [], yaml);
  return { yaml, warnings, documents };
}

const convertObject = (config: unknown): Converted => convert(JSON.stringify(config));
const local = { name: 'disk', type: 'local', root: '/srv/nix' };
const withStorages = (storages: unknown[], more: object = {}): Converted =>
  convertObject({ caches: [{ name: 'main', storages, ...more }] });
const firstSpec = ({ documents }: Converted) => documents.binaryCaches[0]?.spec;
const ownWarnings = ({ warnings }: Converted): string[] =>
  warnings.filter((text) => !text.includes('not supported yet'));

const everything = `
server:
  database: "node.db"
  hostname: "0.0.0.0"
  standalone: false
  dht-port: 4222
  dht-bootstrap-host: "other"
  dht-bootstrap-port: 4223
  server-port: 5001
  deploy-port: 5002
  key: "top-secret"
  default-retention: 4
  default-port: 8080
caches:
  - name: "main"
    retention: 7
    port: 8081
    storage-strategy: "split"
    storages:
      - {name: "fast", type: "local", root: "/fast", split: 40}
      - {name: "remote", type: "s3", root: "caches/", s3_bucket: "cache-1", s3_region: "eu-central-1",
         s3_access_key: "the-access-key", s3_secret_key: "the-secret-key", split: 60}
  - name: "second"
    storages:
      - {name: "disk", type: "local", root: "/srv/nix"}
workspaces:
  - {name: "office", cache: "main"}
agents:
  - {name: "Laptop_1", workspace: "office"}
`;

describe('converting the configuration of the seed', () => {
  it('keeps caches, storages, shares and retention', () => {
    const { documents } = convert(everything);
    const [main, second] = documents.binaryCaches;
    assert.equal(main?.metadata.name, 'main');
    assert.equal(main?.spec.strategy, 'Split');
    assert.deepEqual(
      main?.spec.storages.map(({ name, weight }) => [name, weight]),
      [
        ['fast', 40],
        ['remote', 60],
      ],
    );
    assert.equal(main?.spec.storages[0]?.local?.path, '/fast/narwhal/main/fast');
    assert.equal(main?.spec.retention?.days, 7);
    assert.equal(second?.spec.retention?.days, 4);
  });

  it('moves S3 keys into a Secret that the storage refers to', () => {
    const { documents } = convert(everything);
    const s3 = documents.binaryCaches[0]?.spec.storages[1]?.s3;
    assert.equal(s3?.bucket, 'cache-1');
    assert.equal(s3?.region, 'eu-central-1');
    assert.equal(s3?.prefix, 'caches/narwhal/main/remote');
    const [secret] = documents.secrets;
    assert.equal(secret?.metadata.name, s3?.credentialsSecretRef?.name);
    const text = (key: string): string => Buffer.from(secret?.get(key) ?? []).toString();
    assert.deepEqual([text('accessKeyId'), text('secretAccessKey')], ['the-access-key', 'the-secret-key']);
  });

  it('turns workspaces and agents into documents, with the name that the machine uses', () => {
    const { documents } = convert(everything);
    assert.equal(documents.workspaces[0]?.spec.cacheRef.name, 'main');
    assert.equal(documents.agents[0]?.metadata.name, 'laptop-1');
    assert.equal(documents.agents[0]?.spec.agentName, 'Laptop_1');
    assert.equal(documents.agents[0]?.spec.workspaceRef.name, 'office');
  });

  it('prints ports as options of the server', () => {
    const { yaml } = convert(everything);
    for (const option of ['--listen 0.0.0.0:5001', '--listen main=0.0.0.0:8081', '--listen second=0.0.0.0:8080']) {
      assert.ok(yaml.includes(`#   ${option}\n`), option);
    }
  });

  it('warns of everything that has no counterpart', () => {
    const { warnings } = convert(everything);
    for (const field of [
      'database',
      'standalone',
      'dht-port',
      'dht-bootstrap-host',
      'dht-bootstrap-port',
      'deploy-port',
      'key',
    ]) {
      assert.ok(
        warnings.some((text) => text.startsWith(`server.${field}: left out`)),
        field,
      );
    }
  });

  it('warns of everything that this version refuses, with its line in the outcome', () => {
    const { yaml, warnings } = convert(everything);
    const refusal = warnings.find((text) => text.endsWith('Workspace is not supported yet'));
    const line = Number(/^line (\d+) /.exec(refusal ?? '')?.[1]);
    assert.match(yaml.split('\n')[line] ?? '', /kind: Workspace/);
    assert.ok(!warnings.some((text) => text.includes('.s3: not supported yet')));
    assert.ok(!warnings.some((text) => text.includes('spec.retention')));
    assert.ok(warnings.some((text) => text.endsWith('Agent is not supported yet')));
  });

  it('puts no secret into a warning or a comment', () => {
    const { yaml, warnings } = convert(everything);
    assert.ok(!warnings.join().includes('the-secret-key'));
    assert.ok(!`${yaml}${warnings.join()}`.includes('top-secret'));
  });

  it('warns of nothing where nothing is lost', () => {
    assert.deepEqual(withStorages([local]).warnings, []);
  });

  const strategies = { 'round-robin': 'RoundRobin', 'in-order': 'InOrder', 'least-used': 'LeastUsed', split: 'Split' };
  for (const [old, ours] of Object.entries(strategies)) {
    it(`reads the strategy ${old} as ${ours}`, () => {
      const two = [
        { ...local, split: 50 },
        { ...local, name: 'b', split: 50 },
      ];
      assert.equal(firstSpec(withStorages(two, { 'storage-strategy': old }))?.strategy, ours);
    });
  }

  it('takes turns where no strategy is named, as the seed does', () => {
    assert.equal(firstSpec(withStorages([local, { ...local, name: 'b' }]))?.strategy, 'RoundRobin');
  });

  it('warns of a strategy that the seed does not have', () => {
    const converted = withStorages([local, { ...local, name: 'b' }], { 'storage-strategy': 'random' });
    assert.equal(firstSpec(converted)?.strategy, 'InOrder');
    assert.match(converted.warnings.join(), /storage-strategy: is none of/);
  });

  const shares: [unknown[], number[]][] = [
    [
      [70, 30],
      [70, 30],
    ],
    [
      ['70', '30%'],
      [70, 30],
    ],
    [
      [1, 1, 1],
      [34, 33, 33],
    ],
    [
      [40, undefined],
      [40, 60],
    ],
    [
      [undefined, undefined],
      [50, 50],
    ],
    [
      [0, 0],
      [50, 50],
    ],
    [
      [200, 200],
      [50, 50],
    ],
    [
      [-5, 50],
      [50, 50],
    ],
    [
      [33.3, 66.7],
      [33, 67],
    ],
    [
      ['much', 100],
      [0, 100],
    ],
  ];
  for (const [given, weights] of shares) {
    it(`makes the weights ${weights.join(', ')} of the shares ${given.join(', ')}`, () => {
      const storages = given.map((share, index) => ({ ...local, name: `s${index}`, split: share }));
      const spec = firstSpec(withStorages(storages, { 'storage-strategy': 'split' }));
      assert.deepEqual(
        spec?.storages.map(({ weight }) => weight),
        weights,
      );
    });
  }

  it('always makes weights that sum to 100', () => {
    const share = fc.option(fc.double({ min: -10, max: 1e9, noNaN: true }), { nil: undefined });
    fc.assert(
      fc.property(fc.array(share, { minLength: 2, maxLength: 16 }), (given) => {
        const storages = given.map((split, index) => ({ ...local, name: `s${index}`, split }));
        const spec = firstSpec(withStorages(storages, { 'storage-strategy': 'split' }));
        return spec?.storages.reduce((sum, { weight }) => sum + (weight ?? 0), 0) === 100;
      }),
    );
  });

  const names: [string, string][] = [
    ['local-fast', 'localfast'],
    ['USB', 'usb'],
    ['1st', 's1st'],
    ['db', 'dbdisk'],
    ['a-very-long-name-indeed', 'averylongnamein'],
    ['--', 'disk'],
  ];
  for (const [old, ours] of names) {
    it(`renames the storage ${old} to ${ours} and says so`, () => {
      const converted = withStorages([{ ...local, name: old }]);
      assert.equal(firstSpec(converted)?.storages[0]?.name, ours);
      assert.match(converted.warnings.join(), new RegExp(`${ours} is written instead`));
    });
  }

  it('keeps names apart that become the same', () => {
    const converted = withStorages([
      { ...local, name: 'a-b' },
      { ...local, name: 'ab' },
      { ...local, name: 'A_B' },
    ]);
    assert.deepEqual(
      firstSpec(converted)?.storages.map(({ name }) => name),
      ['ab', 'ab2', 'ab3'],
    );
  });

  it('renames a cache and what refers to it', () => {
    const config = {
      caches: [
        { name: 'My Cache', storages: [local] },
        { name: 'api', storages: [local] },
      ],
      workspaces: [{ name: 'w', cache: 'My Cache' }],
    };
    const { documents } = convertObject(config);
    assert.deepEqual(
      documents.binaryCaches.map(({ metadata }) => metadata.name),
      ['my-cache', 'api-cache'],
    );
    assert.equal(documents.workspaces[0]?.spec.cacheRef.name, 'my-cache');
  });

  it('gives caches that shared a root folders of their own', () => {
    const { documents } = convertObject({
      caches: [
        { name: 'a', storages: [local] },
        { name: 'b', storages: [local] },
      ],
    });
    const paths = documents.binaryCaches.map(({ spec }) => spec.storages[0]?.local?.path);
    assert.deepEqual(paths, ['/srv/nix/narwhal/a/disk', '/srv/nix/narwhal/b/disk']);
  });

  it('leaves out a relative root, which means another folder each time', () => {
    const converted = withStorages([{ ...local, root: 'binary-caches' }]);
    assert.equal(firstSpec(converted)?.storages[0]?.local?.path, undefined);
    assert.match(converted.warnings.join(), /root: is no absolute path/);
  });

  it('leaves out a workspace without its cache and an agent without its workspace', () => {
    const config = {
      caches: [{ name: 'a', storages: [local] }],
      workspaces: [{ name: 'w', cache: 'gone' }],
      agents: [{ name: 'x', workspace: 'w' }],
    };
    const { documents, warnings } = convertObject(config);
    assert.deepEqual([documents.workspaces.length, documents.agents.length], [0, 0]);
    assert.ok(warnings.some((text) => text.startsWith('workspaces[0].cache: names nothing in this file')));
    assert.ok(warnings.some((text) => text.startsWith('agents[0].workspace: names nothing in this file')));
  });

  it('warns of a port that two caches share, and of one that is none', () => {
    const config = {
      server: { 'default-port': 8080 },
      caches: [
        { name: 'a', storages: [local] },
        { name: 'b', storages: [local] },
        { name: 'c', port: 'http', storages: [local] },
      ],
    };
    const { warnings } = convertObject(config);
    assert.match(warnings.join('\n'), /port 8080 is taken by a already: choose another for b/);
    assert.match(warnings.join('\n'), /caches\[2\]\.port: is no port/);
  });

  it('fills what is missing and says so', () => {
    const converted = convertObject({ caches: [{}] });
    assert.equal(converted.documents.binaryCaches[0]?.metadata.name, 'cache');
    assert.deepEqual(ownWarnings(converted), [
      'caches[0].name: is missing: cache is written instead',
      'caches[0].storages: has no storage that could be converted; a local one named "disk" is written instead',
    ]);
  });

  it('leaves out storages that cannot be understood', () => {
    const converted = withStorages([local, { name: 'x', type: 'ftp' }, { name: 'y', type: 's3' }, 'text']);
    assert.equal(firstSpec(converted)?.storages.length, 1);
    assert.equal(ownWarnings(converted).length, 3);
  });

  it('warns of fields that the seed never had', () => {
    assert.match(
      withStorages([{ ...local, speed: 1 }], { colour: 1 }).warnings.join('\n'),
      /"colour" is not a field of the seed/,
    );
  });

  it('keeps a key that looks like another type a text', () => {
    for (const s3_access_key of ['on', 'null', '0x10', '1e3', '~', 'y', '- a', 'a: b', '#']) {
      const storage = { name: 's', type: 's3', s3_bucket: 'abc', s3_access_key, s3_secret_key: 'k' };
      const { documents } = withStorages([storage]);
      assert.equal(Buffer.from(documents.secrets[0]?.get('accessKeyId') ?? []).toString(), s3_access_key);
    }
  });

  const hopeless: [string, string, RegExp][] = [
    ['an empty file', '', /the file is empty/],
    ['a file of comments', '# nothing\n', /the file is empty/],
    ['a text', 'hello', /has no fields/],
    ['a list', '- a', /has no fields/],
    ['broken YAML', 'server:\n  key: "secret\n', /^line \d+: this is not valid YAML/],
    ['a field given twice', 'server: {}\nserver: {}\n', /^line 2: this is not valid YAML/],
    ['some other file', 'services: {web: {}}', /has none of "server"/],
    ['a manifest of ours', 'apiVersion: narwhal.dev/v1alpha1\nkind: BinaryCache\n', /has none of "server"/],
  ];
  for (const [sentence, text, reason] of hopeless) {
    it(`refuses ${sentence}`, () => {
      assert.throws(
        () => convertSeedConfig(text),
        (error) => error instanceof ConvertError && reason.test(error.message),
      );
    });
  }

  it('makes valid manifests of whatever stands in the known fields', () => {
    const word = fc.oneof(
      fc.constantFrom('main', 'db', 'api', 'A B', '', '/x', 'local', 's3', 'split', 'on', '\n# x'),
      fc.string(),
    );
    const value = fc.oneof(word, fc.jsonValue({ maxDepth: 1 }), fc.integer());
    const record = (...names: string[]) =>
      fc.record(Object.fromEntries(names.map((name) => [name, value])), { requiredKeys: [] });
    const storage = record('name', 'type', 'root', 'split', 's3_bucket', 's3_region', 's3_access_key', 's3_secret_key');
    const cache = fc
      .tuple(record('name', 'retention', 'port', 'storage-strategy', 'storages'), fc.array(storage, { maxLength: 4 }))
      .map(([fields, storages]) => ({ ...fields, storages }));
    const config = fc.record({
      server: record('hostname', 'server-port', 'default-retention', 'default-port', 'key'),
      caches: fc.oneof(fc.array(cache, { maxLength: 3 }), value),
      workspaces: fc.array(record('name', 'cache'), { maxLength: 3 }),
      agents: fc.array(record('name', 'workspace'), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(config, (fields) => convertObject(fields).yaml.length > 0),
      { numRuns: 1000 },
    );
  });
});
