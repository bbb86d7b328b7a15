import assert from 'node:assert/strict';
import { generateToken } from '../../../crds/index.ts';
import { secretsIn } from '../../../hack/lib/secrets-in-logs.mjs';
import { generateSecretKey } from '../../../server/nix/index.ts';

describe('the search for secrets in logs', () => {
  const secrets = [
    generateToken(),
    `Bearer ${'x'.repeat(20)}`,
    `basic ${Buffer.from('user:password-of-some-length').toString('base64')}`,
    generateSecretKey('main-1'),
    `/part/1?signature=${'A'.repeat(43)}`,
  ];
  for (const [index, secret] of secrets.entries()) {
    it(`finds form ${index + 1}, and does not repeat it`, () => {
      const [line = ''] = secretsIn('a.log', `{"msg":"fine"}\n{"msg":"oh ${secret}"}`);
      assert.match(line, /^a\.log:2: /);
      assert.ok(!line.includes(secret));
    });
  }

  it('takes public keys, hashes and paths for what they are', () => {
    const line = `main-1:${Buffer.alloc(32, 7).toString('base64')} sha256:${'0'.repeat(52)} /nix/store/${'a'.repeat(32)}-x`;
    assert.deepEqual(secretsIn('a.log', line), []);
  });
});
