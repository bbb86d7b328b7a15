import assert from 'node:assert/strict';
import { kinds } from '../../../crds/index.ts';
import { cacheText, disk, errorsOf, judge, linesOf, load, secretText, type Value } from '../../support/manifests.ts';
import { manifestsOf, ruleExamples } from '../../tables/crd-rules.ts';
import { cacheSpecs } from '../../tables/crd-specs.ts';

describe('the schema of a BinaryCache', () => {
  for (const [sentence, spec, field] of cacheSpecs) {
    it(`${field ? 'refuses' : 'accepts'} ${sentence}`, () => {
      const paths = load(cacheText(spec)).errors.map(({ path }) => path);
      assert.deepEqual(paths, field ? [field] : []);
    });
  }

  it('refuses a size beyond all numbers', () => {
    assert.match(errorsOf({ quota: { maxSize: '9Pi' } }).join(), /^spec\.quota\.maxSize: is too large/);
  });
});

describe('the rules of all kinds', () => {
  for (const { kind, at, message, examples } of ruleExamples) {
    for (const example of examples) {
      it(`${example.field ? 'refuse' : 'accept'} ${example.title} (${kind})`, () => {
        const expected = example.field ? [{ path: example.field, message }] : [];
        assert.deepEqual(judge(manifestsOf(kind, example)), expected, at);
      });
    }
  }

  it('are all in the table, each with an object that keeps it and one that breaks it', () => {
    const all = kinds.flatMap(({ kind, rules }) =>
      rules.flatMap(({ at, rules: here }) => here.map(({ message }) => `${kind} ${at}: ${message}`)),
    );
    assert.deepEqual(ruleExamples.map(({ kind, at, message }) => `${kind} ${at}: ${message}`).sort(), all.sort());
    for (const { message, examples } of ruleExamples) {
      assert.ok(
        examples.some(({ field }) => field),
        message,
      );
      assert.ok(
        examples.some(({ field }) => !field),
        message,
      );
    }
  });

  it('are written once in CEL and once as a function, of the same arguments', () => {
    for (const { kind, rules } of kinds) {
      for (const { cel, message, broken, brokenSince } of rules.flatMap((set) => set.rules)) {
        const ofChange = cel.includes('oldSelf');
        assert.deepEqual([Boolean(broken), Boolean(brokenSince)], [!ofChange, ofChange], `${kind}: ${message}`);
      }
    }
  });

  it('judge one entry although another is wrong', () => {
    const errors = errorsOf({ storages: [{ name: 'a', local: { size: 'big' } }, { name: 'b' }] });
    assert.equal(errors.length, 2);
    assert.equal(errors[1], 'spec.storages[1]: needs exactly one of local and s3');
  });

  const names: [string, boolean][] = [
    ['main', true],
    ['a', true],
    ['my-cache-2', true],
    ['2fast', false],
    ['a'.repeat(45), true],
    ['a'.repeat(46), false],
    ['api', false],
    ['api2', true],
    ['Main', false],
    ['a.b', false],
    ['-a', false],
    ['a-', false],
    ['a_b', false],
    ['', false],
    ['../a', false],
  ];
  for (const [name, fine] of names) {
    it(`${fine ? 'accept' : 'refuse'} the name ${JSON.stringify(name)}`, () => {
      const errors = load(cacheText({}, { name })).errors;
      assert.deepEqual([...new Set(errors.map(({ path }) => path))], fine ? [] : ['metadata.name']);
    });
  }

  it('have a text of their own each, so that a person can tell them apart', () => {
    for (const { rules } of kinds) {
      for (const { at, rules: here } of rules) {
        assert.equal(new Set(here.map(({ message }) => message)).size, here.length, at);
      }
    }
  });
});

describe('what a server of this version supports', () => {
  const server = (spec: Value): string[] =>
    linesOf(
      [
        cacheText(spec),
        secretText('pg', { uri: 'x' }),
        secretText('root', { 'root.key': 'x' }),
        secretText('key', { 'signing-key': 'x' }),
      ],
      { target: 'server' },
    );
  const refused: [string, Value][] = [
    ['spec.upstreams', { upstreams: [{ url: 'https://cache.nixos.org' }] }],
    ['spec.peers', { peers: {} }],
  ];
  for (const [field, spec] of refused) {
    it(`leaves out ${field}`, () => assert.deepEqual(server(spec), [`m.yaml:1: ${field}: not supported yet`]));
  }

  it('includes retention', () => assert.deepEqual(server({ retention: { days: 1 } }), []));

  for (const mode of ['Drain', 'Abandoned']) {
    it(`includes the mode ${mode}`, () => {
      assert.deepEqual(server({ storages: [disk, { name: 'old', mode, local: {} }] }), []);
    });
  }

  it('leaves out workspaces and agents, which are valid all the same', () => {
    const texts = [
      { kind: 'Workspace', metadata: { name: 'w' }, spec: { cacheRef: { name: 'main' } } },
      { kind: 'Agent', metadata: { name: 'a' }, spec: { workspaceRef: { name: 'w' } } },
    ].map((manifest) => JSON.stringify({ apiVersion: 'narwhal.dev/v1alpha1', ...manifest }));
    assert.deepEqual(linesOf(texts), []);
    assert.deepEqual(linesOf(texts, { target: 'server' }), [
      'm.yaml:1: kind: Workspace is not supported yet',
      'm.yaml:3: kind: Agent is not supported yet',
    ]);
  });

  it('includes ReadOnly storages, with a note where nothing can be written', () => {
    const { errors, notes } = load(cacheText({ storages: [{ ...disk, mode: 'ReadOnly' }] }), { target: 'server' });
    assert.deepEqual(errors, []);
    assert.match(notes.join(), /no storage has the mode ReadWrite/);
  });

  it('ignores fields for clusters with one note a manifest, and only those that are written', () => {
    const spec = {
      replicas: 1,
      reclaimPolicy: 'Delete',
      ingress: { host: 'a.b', className: 'nginx' },
      storages: [{ name: 'disk', local: { size: '1Gi' } }],
    };
    const { errors, notes } = load([cacheText(spec), cacheText({}, { name: 'other' })], { target: 'server' });
    assert.deepEqual(errors, []);
    assert.deepEqual(notes, [
      'm.yaml:1: BinaryCache main: only a cluster acts on spec.storages[0].local.size, spec.replicas, spec.ingress.className, spec.reclaimPolicy',
    ]);
  });

  it('checks fields for clusters although it ignores them', () => {
    assert.match(server({ ingress: { host: 'https://a.b' } }).join(), /spec\.ingress\.host: must be a host name/);
  });
});
