import * as assert from 'node:assert/strict';
import {
  parseRealisation,
  type RealisationKey,
  realisationFingerprints,
  renderRealisation,
} from '../../../server/nix/index.ts';

const HASH = 'g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q';
const ID = `sha256:${'15e3c560894cbb27085cf65b5a2ecb18488c999497f4531b6907a7581ce6d527'}!baz`;
const byId: RealisationKey = { form: 'id', id: ID };
const byPath: RealisationKey = { form: 'trace', drvPath: `${HASH}-bar.drv`, outputName: 'foo' };
const SIGNATURE = `asdf:${'A'.repeat(86)}==`;

const parse = (key: RealisationKey, file: unknown) =>
  parseRealisation(key, Buffer.from(typeof file === 'string' ? file : JSON.stringify(file)));
const older = (more: object = {}) => ({
  id: ID,
  outPath: `${HASH}-foo`,
  signatures: [],
  dependentRealisations: {},
  ...more,
});

describe('a realisation', () => {
  it('of nix up to 2.34 is signed as its JSON without signatures', () => {
    const realisation = parse(byId, older({ signatures: [SIGNATURE] }));
    assert.deepEqual(realisationFingerprints(realisation), [
      `{"dependentRealisations":{},"id":"${ID}","outPath":"${HASH}-foo"}`,
    ]);
    assert.equal(
      renderRealisation(realisation),
      `{"dependentRealisations":{},"id":"${ID}","outPath":"${HASH}-foo","signatures":["${SIGNATURE}"]}`,
    );
  });

  it('with dependents is signed with them, as nix before 2.34 checks, and without, as 2.34 does', () => {
    const [a, b] = [`sha256:${'aa'.repeat(32)}!out`, `sha256:${'bb'.repeat(32)}!out`];
    const dependentRealisations = { [b]: `${HASH}-b`, [a]: `${HASH}-a` };
    assert.deepEqual(realisationFingerprints(parse(byId, older({ dependentRealisations }))), [
      `{"dependentRealisations":{"${a}":"${HASH}-a","${b}":"${HASH}-b"},"id":"${ID}","outPath":"${HASH}-foo"}`,
      `{"dependentRealisations":{},"id":"${ID}","outPath":"${HASH}-foo"}`,
    ]);
  });

  it('of nix 2.35 is signed with its key, and has signatures of either form', () => {
    const [keyName = '', sig = ''] = SIGNATURE.split(':');
    const realisation = parse(byPath, { outPath: `${HASH}-foo`, signatures: [{ keyName, sig }, SIGNATURE] });
    assert.deepEqual(realisation.signatures, [SIGNATURE]);
    // The text of nix's own test, src/libstore-tests/data/realisation/simple-fingerprint.txt.
    assert.deepEqual(realisationFingerprints(realisation), [
      `{"key":{"drvPath":"${HASH}-bar.drv","outputName":"foo"},"value":{"outPath":"${HASH}-foo"}}`,
    ]);
    assert.deepEqual(JSON.parse(renderRealisation(realisation)), {
      outPath: `${HASH}-foo`,
      signatures: [{ keyName, sig }],
    });
  });

  const refused: [why: string, key: RealisationKey, file: unknown, told: RegExp][] = [
    ['is no JSON', byId, 'not json', /^realisation: this is no JSON: [ -~]+$/],
    ['is empty', byId, '', /^realisation: the body is empty$/],
    ['is a list', byId, '[]', /^realisation: expected a JSON object$/],
    ['says nothing', byId, {}, /^id: expected sha256:[0-9a-f]{64}!baz, as in the address, got none$/],
    ['says nothing', byPath, {}, /^outPath: expected the name of a store path$/],
    ['is of another output', byId, older({ id: ID.replace('baz', 'out') }), /^id: expected/],
    ['leads elsewhere', byId, older({ outPath: '../../etc/passwd' }), /^outPath: expected 32 nix32 digits/],
    ['leads elsewhere', byPath, { outPath: '../../etc/passwd' }, /^outPath: expected 32 nix32 digits/],
    ['has a whole path, which no nix reads', byId, older({ outPath: `/nix/store/${HASH}-foo` }), /^outPath: /],
    ['has a signature of no form', byId, older({ signatures: ['asdf:AAAA'] }), /^signatures: expected name:base64/],
    ['has a signature of no form', byPath, { outPath: `${HASH}-foo`, signatures: [{}] }, /^signatures: /],
    ['has signatures that are no list', byId, older({ signatures: SIGNATURE }), /^signatures: expected a list$/],
    ['has too many signatures', byId, older({ signatures: Array(101).fill(SIGNATURE) }), /^signatures: more than 100/],
    ['has dependents without an id', byId, older({ dependentRealisations: { x: `${HASH}-a` } }), /^dependentRealis/],
    ['has dependents that are a list', byId, older({ dependentRealisations: [] }), /^dependentRealisations: /],
    ['is nested', byId, older({ more: [[[[]]]] }), /^realisation: nested deeper than 4 levels$/],
  ];
  for (const [why, key, file, told] of refused) {
    it(`that ${why} is refused (${key.form})`, () => {
      assert.throws(
        () => parse(key, file),
        (error: Error) => error.name === 'FormatError' && told.test(error.message),
      );
    });
  }
});
