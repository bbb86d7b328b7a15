import assert from 'node:assert/strict';
import fc from 'fast-check';
import { isPinName } from '../../../../crds/index.ts';
import { CacheError } from '../../../../server/cache/errors.ts';
import { parsePin } from '../../../../server/cache/pins/index.ts';

const HASH = '04byxmv4hixvx2k9cf4kql9vgb8j2w8n';
const body = { name: 'v1.0', storePath: `/nix/store/${HASH}-act`, artifacts: [], keep: null };

const isRefused = (change: object, message: RegExp) =>
  assert.throws(
    () => parsePin({ ...body, ...change }),
    (error: Error) => {
      assert.ok(error instanceof CacheError && error.code === 'Invalid', String(error));
      assert.match(error.message, message);
      return true;
    },
  );

describe('what `cachix pin` sends', () => {
  it('is read with each of the four rules', () => {
    for (const keep of [null, { tag: 'Days', contents: 3 }, { tag: 'Revisions', contents: 2 }, { tag: 'Forever' }])
      assert.deepEqual(parsePin({ ...body, keep }), {
        name: 'v1.0',
        path: parsePin(body).path,
        artifacts: [],
        keep,
      });
    const { hashPart, name } = parsePin(body).path;
    assert.deepEqual({ hashPart, name }, { hashPart: HASH, name: 'act' });
  });

  it('may leave out what can be left out', () => {
    const { name, storePath } = body;
    assert.deepEqual(parsePin({ name, storePath }), parsePin(body));
  });

  it('has artifacts that are normalised, each once', () => {
    const artifacts = ['bin/app', '/share//x/', './share/x', 'a/./b', ' '];
    assert.deepEqual(parsePin({ ...body, artifacts }).artifacts, ['bin/app', 'share/x', 'a/b', ' ']);
    fc.assert(
      fc.property(fc.array(fc.string()), (artifacts) => {
        let once: readonly string[];
        try {
          once = parsePin({ ...body, artifacts }).artifacts;
        } catch (error) {
          return error instanceof CacheError;
        }
        assert.deepEqual(parsePin({ ...body, artifacts: once }).artifacts, once);
        return once.every((it) => !it.startsWith('/') && !it.includes('\0') && !it.split('/').includes('..'));
      }),
    );
  });

  it('is refused with the field at fault', () => {
    for (const name of [
      undefined,
      1,
      '',
      'a\nb',
      'a\0',
      'x'.repeat(201),
      'a\\b',
      '.',
      '..',
      'a/../b',
      '/a',
      'a/',
      'a//b',
      '\ud800',
    ])
      isRefused({ name }, /^name: /);
    for (const storePath of [
      undefined,
      1,
      '',
      'x',
      `/nix/store/${HASH}`,
      `/nix/store/${HASH}-act/bin`,
      `/gnu/store/${HASH}-act`,
      `/nix/store/${HASH}-act\n`,
      `${HASH}-act`,
    ])
      isRefused({ storePath }, /^storePath: /);
    for (const artifacts of [
      'x',
      {},
      [1],
      [null],
      ['..'],
      ['a/../../b'],
      ['a\0'],
      [''],
      ['/'],
      ['x'.repeat(4097)],
      ['\ud800'],
      Array(101).fill('x'),
      // Each may be, and all of them are more than a list of pins may hold in memory.
      Array.from({ length: 5 }, (_, index) => `${index}`.repeat(4000)),
    ])
      isRefused({ artifacts }, /^artifacts: /);
    for (const keep of [
      0,
      'Forever',
      [],
      {},
      { tag: 'days', contents: 1 },
      { tag: 'Days' },
      { tag: 'Days', contents: 0 },
      { tag: 'Days', contents: -1 },
      { tag: 'Days', contents: 1.5 },
      { tag: 'Days', contents: '1' },
      { tag: 'Days', contents: 36501 },
      { tag: 'Revisions', contents: 0 },
      { tag: 'Revisions', contents: 1e6 + 1 },
    ])
      isRefused({ keep }, /^keep: /);
    for (const value of [null, [], 'x', 1]) assert.throws(() => parsePin(value), /expected a JSON object/);
  });
});

describe('the name of a pin', () => {
  it('comes through a URL as it is', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: fc.constantFrom('.', '/', 'a', '%', ' ', 'é') })),
        (name) => {
          fc.pre(isPinName(name));
          const { pathname } = new URL(`http://x/pin/${name.split('/').map(encodeURIComponent).join('/')}`);
          assert.equal(decodeURIComponent(pathname), `/pin/${name}`);
        },
      ),
    );
    for (const name of ['a', '.a', '..a', '...', 'a/b', 'release-v1.2 (beta)', 'é'.repeat(200), '%2e', 'a.narinfo'])
      assert.ok(isPinName(name), name);
  });
});
