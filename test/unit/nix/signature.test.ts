import * as assert from 'node:assert/strict';
import * as util from 'node:util';
import fc from 'fast-check';
import {
  FormatError,
  fingerprint,
  generateSecretKey,
  parseHash,
  parsePublicKey,
  parseSecretKey,
  parseSignature,
} from '../../../server/nix/index.ts';
import { vectors } from './vectors.ts';

function fingerprintOf(path: (typeof vectors.paths)[number]): string {
  const references = path.references.map((reference) => reference.slice('/nix/store/'.length));
  return fingerprint({ ...path, narHash: parseHash(path.narHash), references });
}

describe('signatures', () => {
  const secretKey = parseSecretKey(vectors.secretKey);
  const publicKey = parsePublicKey(vectors.publicKey);

  it('are, byte for byte, the ones that Nix makes', () => {
    for (const path of vectors.paths) assert.ok(path.signatures.includes(secretKey.sign(fingerprintOf(path))));
  });

  it('of Nix verify, and fail for any other text', () => {
    for (const path of vectors.paths) {
      const [signature = ''] = path.signatures;
      assert.ok(publicKey.verify(fingerprintOf(path), signature));
      assert.equal(publicKey.verify(`${fingerprintOf(path)} `, signature), false);
    }
  });

  it('derives the public key that Nix derives', () => {
    assert.equal(secretKey.publicKey, vectors.publicKey);
    assert.equal(publicKey.text, vectors.publicKey);
  });

  it('of another key name do not verify', () => {
    const signature = secretKey.sign('text').replace('vectors-1', 'vectors-2');
    assert.equal(publicKey.verify('text', signature), false);
  });

  it('are refused when malformed, and never throw', () => {
    for (const text of ['garbage', 'test-1:AAAA', ':AAAA', '', `a b:${'A'.repeat(86)}==`, `a:${'A'.repeat(85)}B==`]) {
      assert.equal(parseSignature(text), undefined);
      assert.equal(publicKey.verify('text', text), false);
    }
    fc.assert(fc.property(fc.string(), (text) => publicKey.verify('text', text) === false));
  });

  it('come from generated keys too', () => {
    const text = generateSecretKey('fresh-1');
    const key = parseSecretKey(`${text}\n`);
    assert.match(text, /^fresh-1:[0-9A-Za-z+/]{86}==$/);
    assert.ok(parsePublicKey(key.publicKey).verify('text', key.sign('text')));
    assert.throws(() => generateSecretKey('a:b'), FormatError);
  });
});

describe('secret keys', () => {
  const [name = '', base64 = ''] = vectors.secretKey.split(':');

  it('do not show their secret when inspected or printed as JSON', () => {
    const key = parseSecretKey(vectors.secretKey);
    const seed = Buffer.from(base64, 'base64').subarray(0, 32);
    for (const text of [util.inspect(key, { depth: 9, showHidden: true }), JSON.stringify(key), String(key)]) {
      for (const form of ['base64', 'hex', 'latin1'] as const)
        assert.ok(!text.includes(seed.toString(form).slice(0, 30)));
    }
  });

  it('do not show it in an error either', () => {
    const broken = [
      base64,
      `${name}:${base64.slice(4)}`,
      `${name}:${base64}x`,
      `${name}:${base64.slice(0, 43)}${'A'.repeat(43)}==`,
    ];
    for (const text of broken) {
      assert.throws(
        () => parseSecretKey(text),
        (error: Error) => error instanceof FormatError && !error.message.includes(base64.slice(8, 20)),
      );
    }
    assert.throws(
      () => parsePublicKey(vectors.secretKey),
      (error: Error) => error instanceof FormatError && !error.message.includes(base64.slice(8, 20)),
    );
  });

  it('are refused when the public half belongs to another seed', () => {
    const bytes = Buffer.from(base64, 'base64');
    bytes[40] = (bytes[40] ?? 0) ^ 1;
    assert.throws(() => parseSecretKey(`${name}:${bytes.toString('base64')}`), /public half does not belong/);
  });
});
