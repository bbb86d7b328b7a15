import assert from 'node:assert/strict';
import fc from 'fast-check';
import { binaryCacheSpec } from '../../../crds/binary-cache.ts';
import { renderCacheInfo } from '../../../server/nix/index.ts';
import { NO_ACCESS, strangerAnswer } from '../../../server/wire/index.ts';

const NOT_FOUND = { status: 404, text: 'not found' };

describe('what a stranger hears', () => {
  const ask = (method: string, path: string, isApi = true, hasCredential = false) =>
    strangerAnswer({ method, path, isApi, hasCredential });

  it('is an empty cache of the default priority, to nix', () => {
    const info = ask('GET', '/push/nix-cache-info');
    assert.ok('body' in info);
    const { default: priority } = binaryCacheSpec.properties.priority;
    assert.equal(info.body.toString(), renderCacheInfo({ priority }));
    for (const isApi of [true, false]) assert.deepEqual(ask('HEAD', '/x.narinfo', isApi), NOT_FOUND);
  });

  it('is one refusal everywhere else, and on every route for who sends a credential', () => {
    const lists = ['/pin', '/pin/x', '/gc', '/gc/plan', '/explain/x', '/block', '/paths', '/path/x', '/stats'];
    for (const path of ['/', '/narurl/x', ...lists]) assert.equal(ask('GET', path), NO_ACCESS);
    assert.deepEqual(ask('GET', '/', false), NOT_FOUND);
    for (const method of ['PUT', 'POST']) assert.equal(ask(method, '/x'), NO_ACCESS);
    for (const path of ['/pin/x', '/path/x', '/block/x']) assert.equal(ask('DELETE', path), NO_ACCESS);
    fc.assert(
      fc.property(fc.constantFrom('GET', 'HEAD', 'PUT', 'POST'), fc.string(), fc.boolean(), (method, path, isApi) =>
        assert.equal(ask(method, `/${path}`, isApi, true), NO_ACCESS),
      ),
    );
  });

  it('is 405 for what no route does', () => {
    for (const method of ['DELETE', 'OPTIONS', 'PATCH'])
      assert.deepEqual(ask(method, '/x'), { status: 405, text: `${method} is not possible here` });
    for (const [path, isApi] of [
      ['/pin', true],
      ['/pin/', true],
      ['/pin/x', false],
    ] as const)
      assert.equal((ask('DELETE', path, isApi, true) as { status: number }).status, 405);
  });
});
