import * as assert from 'node:assert/strict';
import { checkContentAddress, parseContentAddress, parseHash } from '../../../server/nix/index.ts';
import { vectors } from './vectors.ts';

function claimOf(path: (typeof vectors.paths)[number]) {
  return {
    ca: path.ca ?? '',
    storePath: path.storePath,
    references: path.references.map((reference) => reference.slice('/nix/store/'.length)),
    narHash: parseHash(path.narHash),
  };
}

const claims = vectors.paths.filter((path) => path.ca !== undefined).map(claimOf);

describe('content addresses', () => {
  it('lead to the store path for every kind that Nix made', () => {
    const kinds = new Set<string>();
    for (const claim of claims) {
      assert.deepEqual(checkContentAddress(claim), { ok: true });
      kinds.add(claim.ca.replace(/:[^:]*$/, ''));
    }
    const fixed = ['md5', 'sha1', 'sha256', 'sha512'].flatMap((name) => [`fixed:${name}`, `fixed:r:${name}`]);
    assert.deepEqual([...kinds].sort(), [...fixed, 'text:sha256'].sort());
  });

  it('include paths with references and with a reference to themselves', () => {
    assert.ok(claims.some(({ ca, references }) => ca.startsWith('text:') && references.length === 2));
    assert.ok(claims.some(({ storePath, references }) => references.some((name) => storePath.endsWith(name))));
  });

  it('are refused for another name, other references, or another NAR', () => {
    const source = claims.find(({ ca }) => ca.startsWith('fixed:r:sha256:'));
    assert.ok(source);
    const renamed = { ...source, storePath: `${source.storePath}x` };
    const referring = { ...source, references: ['7rjj86a15146cq1d3qy068lml7n7ykzm-self-1.0'] };
    const changed = { ...source, narHash: parseHash(`sha256:${'00'.repeat(32)}`) };
    for (const claim of [renamed, referring]) {
      const verdict = checkContentAddress(claim);
      assert.ok(!verdict.ok);
      assert.match(verdict.reason, /^CA: fixed:r:sha256:[0-9a-z]{52} belongs to \/nix\/store\//);
    }
    assert.deepEqual(checkContentAddress(changed), { ok: false, reason: 'CA: its hash differs from NarHash' });
  });

  it('are refused with references where Nix allows none', () => {
    const flat = claims.find(({ ca }) => ca.startsWith('fixed:sha256:'));
    assert.ok(flat);
    const verdict = checkContentAddress({ ...flat, references: ['7rjj86a15146cq1d3qy068lml7n7ykzm-a'] });
    assert.deepEqual(verdict, { ok: false, reason: 'CA: only text and fixed:r:sha256 paths can have references' });
  });

  const sha1 = 'sha1:0000000000000000000000000000000g';
  for (const ca of [
    '',
    'x',
    `fixed:git:${sha1}`,
    `text:${sha1}`,
    'fixed:blake3:00',
    'fixed:r:sha256:abc',
    `fixed:r:r:${sha1}`,
  ]) {
    it(`are refused as ${JSON.stringify(ca)}`, () => {
      assert.throws(() => parseContentAddress(ca), /^FormatError: CA: /);
    });
  }
});
