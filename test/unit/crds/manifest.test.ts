import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { loadManifests, resolveSecret, SecretError } from '../../../crds/index.ts';
import { cacheText, disk, errorsOf, linesOf, load, secretText } from '../../support/manifests.ts';

describe('loading manifests', () => {
  it('fills in every default of the smallest manifest', () => {
    const { documents, errors } = load(cacheText());
    assert.deepEqual(errors, []);
    const spec = documents.binaryCaches[0]?.spec;
    assert.equal(spec?.priority, 41);
    assert.equal(spec?.access, 'Public');
    assert.equal(spec?.strategy, 'InOrder');
    assert.equal(spec?.compression, 'Zstd');
    assert.deepEqual(spec?.signing, { mode: 'Managed' });
    assert.deepEqual(spec?.storages, [
      { name: 'disk', mode: 'ReadWrite', local: { size: '10Gi', accessMode: 'ReadWriteOnce' } },
    ]);
    assert.equal(spec?.limits.uploadExpirySeconds, 86_400);
    assert.equal(spec?.limits.maxPartSize, '5Gi');
  });

  it('keeps the other limits when one is given', () => {
    const { documents } = load(cacheText({ limits: { maxLogSize: '1Mi' } }));
    assert.equal(documents.binaryCaches[0]?.spec.limits.maxLogSize, '1Mi');
    assert.equal(documents.binaryCaches[0]?.spec.limits.maxNarSize, '256Gi');
  });

  it('reads several documents of several files', () => {
    const { documents, errors } = loadManifests([
      { file: 'a.yaml', text: `${cacheText()}\n---\n${secretText('one', { token: 'x' })}\n---\n` },
      { file: 'b.yaml', text: `# nothing here\n---\n${cacheText({}, { name: 'other' })}` },
    ]);
    assert.deepEqual(errors, []);
    assert.deepEqual(
      documents.binaryCaches.map(({ metadata }) => metadata.name),
      ['main', 'other'],
    );
    assert.equal(documents.secrets.length, 1);
  });

  it('finds nothing in an empty file, and nothing wrong', () => {
    for (const text of ['', '\n', '# a comment', '---\n---\n', '\uFEFF']) assert.deepEqual(load(text).errors, []);
  });

  it('says file, line and field of each mistake, all at once', () => {
    const text = `apiVersion: narwhal.dev/v1alpha1
kind: BinaryCache
metadata:
  name: main
spec:
  acess: Private
  priority: high
  storages:
    - name: disk
      local: {}
    - name: other
      weight: 101
      local:
        path: relative
`;
    assert.deepEqual(linesOf(text), [
      'm.yaml:6: spec.acess: is not a known field; did you mean "access"?',
      'm.yaml:7: spec.priority: must be a whole number, but is text',
      'm.yaml:12: spec.storages[1].weight: must be between 0 and 100',
      'm.yaml:14: spec.storages[1].local.path: must be an absolute path without a slash at the end',
    ]);
  });

  it('names the line of the second document, not of the first', () => {
    const text = `${cacheText()}\n---\napiVersion: narwhal.dev/v1alpha1\nkind: BinaryCache\nmetadata:\n  name: b\nspec: {storages: []}\n`;
    assert.deepEqual(linesOf(text), ['m.yaml:7: spec.storages: needs at least 1 entry']);
  });

  it('refuses a field that is given twice', () => {
    assert.deepEqual(linesOf('apiVersion: v1\nkind: Secret\nkind: Secret\nmetadata: {name: a}\n'), [
      'm.yaml:3: not valid YAML: this field appears twice in one mapping: keep one',
    ]);
  });

  it('refuses two documents of one kind and name, and says where the other is', () => {
    assert.deepEqual(linesOf([cacheText(), cacheText()]), [
      'm.yaml:3: metadata.name: there is another BinaryCache of this name at m.yaml:1',
    ]);
    assert.deepEqual(linesOf([cacheText(), secretText('main', {})]), []);
    assert.deepEqual(linesOf([cacheText(), cacheText({}, { namespace: 'team' })]), []);
  });

  it('refuses one name in two namespaces where one server would have to serve both', () => {
    const both = [cacheText(), cacheText({}, { namespace: 'team' })];
    assert.match(linesOf(both, { target: 'server' }).join(), /one server cannot serve both/);
  });

  it('names the kinds that it knows', () => {
    assert.match(
      linesOf('kind: BinaryCaches\napiVersion: narwhal.dev/v1alpha1').join(),
      /^m\.yaml:1: kind: must be one of .*did you mean BinaryCache\?/,
    );
    assert.match(linesOf('a: 1').join(), /kind: must be one of BinaryCache, Workspace, Agent, Secret/);
    assert.match(linesOf('kind: constructor').join(), /kind: must be one of/);
    assert.match(linesOf('- a').join(), /a manifest is a mapping/);
  });

  it('refuses another apiVersion', () => {
    const text = cacheText().replace('v1alpha1', 'v1');
    assert.deepEqual(linesOf(text), ['m.yaml:1: apiVersion: must be narwhal.dev/v1alpha1 for the kind BinaryCache']);
  });

  it('takes what kubectl get -o yaml prints', () => {
    const metadata = {
      uid: 'x',
      resourceVersion: '1',
      generation: 2,
      creationTimestamp: null,
      managedFields: [],
    };
    assert.deepEqual(errorsOf({}, metadata), []);
    const { status: _, ...manifest } = JSON.parse(cacheText());
    assert.deepEqual(linesOf(JSON.stringify({ ...manifest, status: { replicas: 1 } })), []);
  });

  it('refuses words that kubectl would read as true or false', () => {
    const text = 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: on\n';
    assert.deepEqual(linesOf(text), ['m.yaml:4: put quotes around on: without them kubectl reads true or false']);
    assert.deepEqual(linesOf(text.replace(': on', ': "on"')), []);
  });

  it('refuses a field without a value', () => {
    assert.deepEqual(errorsOf({ storages: [{ name: 'disk', local: null }] }), [
      'spec.storages[0].local: has no value: give it one, remove the field, or write {}',
    ]);
  });

  it('refuses a time that does not exist', () => {
    const token = (expiresAt: string) => errorsOf({ tokens: [{ name: 'a', permissions: ['Read'], expiresAt }] });
    assert.deepEqual(token('2030-01-31T00:00:00Z'), []);
    assert.deepEqual(token('2030-01-31T00:00:00.5+02:00'), []);
    for (const wrong of [
      '2030-02-31T00:00:00Z',
      '2030-01-31',
      'tomorrow',
      '2030-01-31T25:00:00Z',
      '2030-01-31T00:00:00',
    ]) {
      assert.deepEqual(token(wrong), ['spec.tokens[0].expiresAt: must be a time such as 2030-01-31T00:00:00Z'], wrong);
    }
  });

  it('expands anchors and merges, and refuses a bomb made of them', () => {
    const bomb = [
      'a: &a [x]',
      'b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]',
      'c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]',
      'd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]',
    ];
    assert.match(linesOf(bomb.join('\n')).join(), /too many aliases/);
    const shared =
      'apiVersion: narwhal.dev/v1alpha1\nkind: BinaryCache\nmetadata: {name: a}\nspec:\n  storages:\n    - &d {name: x, local: {}}\n    - {<<: *d, name: z}\n';
    assert.deepEqual(linesOf(shared), []);
  });

  it('loads every example for the server without an error', () => {
    const folder = join(import.meta.dirname, '../../../examples');
    for (const name of ['laptop.yaml', 'private.yaml', 'two-disks.yaml', 'postgres.yaml']) {
      const text = readFileSync(join(folder, name), 'utf8');
      const { documents, errors, notes } = loadManifests([{ file: name, text }], { target: 'server' });
      assert.deepEqual([errors, notes], [[], []]);
      assert.equal(documents.binaryCaches.length, 1);
    }
  });

  it('never throws, whatever the text', () => {
    const lines = [
      'apiVersion: narwhal.dev/v1alpha1',
      'kind: BinaryCache',
      'kind: Secret',
      'apiVersion: v1',
      'metadata: {name: a}',
      'spec:',
      '  storages:',
      '  - name: a',
      '    local: {}',
      '---',
      '? [a]',
      '&x a: *x',
      '<<: *x',
      '!t',
      '\t',
      '"',
      '{',
      '%YAML',
    ];
    const text = fc.oneof(
      fc.string(),
      fc.array(fc.oneof(fc.constantFrom(...lines), fc.string()), { maxLength: 12 }).map((all) => all.join('\n')),
    );
    fc.assert(
      fc.property(text, (source) => Array.isArray(load(source, { target: 'server' }).errors)),
      { numRuns: 2000 },
    );
  });

  it('never throws, whatever stands in a spec', () => {
    const field = fc.constantFrom(
      'storages',
      'tokens',
      'signing',
      'replicas',
      'database',
      'strategy',
      'limits',
      'retention',
      'upstreams',
      '__proto__',
      'constructor',
    );
    fc.assert(fc.property(fc.dictionary(field, fc.jsonValue()), (spec) => Array.isArray(errorsOf(spec))));
  });
});

describe('the Secret of a database', () => {
  const spec = {
    database: { postgres: { secretRef: { name: 'pg' } } },
    rootSecretRef: { name: 'root' },
    signing: { secretRefs: [{ name: 'key' }] },
  };
  const others = [secretText('root', { 'root.key': 'x' }), secretText('key', { 'signing-key': 'x' })];
  const linesWith = (values: Record<string, string>) =>
    linesOf([cacheText(spec), secretText('pg', values), ...others], { target: 'server' });

  it('holds a URL, or the keys that stand for one', () => {
    assert.deepEqual(linesWith({ uri: 'postgresql://a:b@c/d' }), []);
    assert.deepEqual(linesWith({ host: 'h', username: 'u', password: 'p', dbname: 'd' }), []);
    assert.deepEqual(linesWith({ host: 'h', port: '1', user: 'u', database: 'd' }), []);
  });

  it('that holds neither is refused, and what it has is named', () => {
    assert.match(
      linesWith({ host: 'h', password: 'p' }).join(),
      /spec\.database\.postgres\.secretRef: Secret "pg" has no key "uri"; it has host, password/,
    );
  });

  it('is refused with more than one replica on a disk of this machine, by a process too', () => {
    const lines = linesOf([cacheText({ ...spec, replicas: 2 }), secretText('pg', { uri: 'x' }), ...others], {
      target: 'server',
    });
    assert.match(lines.join(), /spec\.replicas: more than one pod needs storages that all pods share/);
    const alone = linesOf(cacheText({ replicas: 2, storages: [disk] }), { target: 'server' });
    assert.match(alone.join(), /spec\.replicas: more than one pod needs database\.postgres/);
  });
});

describe('a Secret document', () => {
  const ref = { name: 'keys', key: 'token' };

  it('gives its values by reference, stringData before data', () => {
    const data = { token: Buffer.from('old').toString('base64'), other: Buffer.from([0, 255]).toString('base64') };
    const { documents } = load(secretText('keys', { token: 'new' }, { data }));
    assert.equal(Buffer.from(resolveSecret(documents, ref)).toString(), 'new');
    assert.deepEqual([...resolveSecret(documents, { ...ref, key: 'other' })], [0, 255]);
  });

  it('is not found from another namespace', () => {
    const { documents } = load(secretText('keys', { token: 'x' }));
    assert.throws(() => resolveSecret(documents, ref, 'team'), { code: 'SecretMissing' });
  });

  it('says which Secret or key is missing', () => {
    const { documents } = load(secretText('keys', { a: 'x' }));
    assert.throws(
      () => resolveSecret(documents, ref),
      new SecretError('SecretKeyMissing', 'Secret "keys" has no key "token"; it has a'),
    );
    assert.throws(
      () => resolveSecret(documents, { name: 'no', key: 'a' }),
      new SecretError('SecretMissing', 'there is no Secret "no" among the manifests'),
    );
  });

  it('refuses data that is no base64', () => {
    assert.deepEqual(linesOf(secretText('keys', {}, { data: { a: 'not base64' } })), [
      'm.yaml:1: data.a: must be base64; a plain text belongs into stringData',
    ]);
  });

  it('that a cache names must be there when a server loads it', () => {
    const cache = cacheText({ tokens: [{ name: 'a', permissions: ['Read'], secretRef: { name: 'keys' } }] });
    assert.deepEqual(linesOf(cache), []);
    assert.match(
      linesOf(cache, { target: 'server' }).join(),
      /spec\.tokens\[0\]\.secretRef: there is no Secret "keys"/,
    );
    assert.deepEqual(linesOf([cache, secretText('keys', { token: 'x' })], { target: 'server' }), []);
    assert.match(
      linesOf([cache, secretText('keys', { x: 'x' })], { target: 'server' }).join(),
      /no key "token"; it has x/,
    );
  });

  it('shows its values in no print and in no error', () => {
    const marker = 'hunter2hunter2';
    const { documents } = load(secretText('keys', { token: marker }));
    assert.ok(!inspect(documents.secrets, { depth: 9, showHidden: true }).includes(marker));
    assert.ok(!JSON.stringify(documents.secrets).includes(marker));
    const broken = [
      `apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata:\n  token: ${marker}!\n`,
      `apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: "${marker}" "${marker}"\n`,
      `apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: *${marker}\n`,
      `apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: !${marker} x\n`,
      `apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: ${marker}\n`,
      `apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: [${marker}]\n`,
      cacheText({ tokens: [{ name: 'a', permissions: ['Read'], sha256: marker }] }),
      cacheText({ upstreams: [{ url: `https://me:${marker}@example.org` }] }),
    ];
    for (const text of broken) {
      const lines = linesOf(text).join('\n');
      assert.ok(lines.length > 0, `accepted: ${text}`);
      assert.ok(!lines.includes(marker), lines);
    }
  });

  it('is not asked for where nothing refers to one', () => {
    assert.deepEqual(linesOf(cacheText({ storages: [disk] }), { target: 'server' }), []);
  });
});
