import assert from 'node:assert/strict';
import { defaultSettings } from '../../../server/cache/settings.ts';
import { auxiliaryOf } from '../../../server/http/auxiliary.ts';

const HASH = '0123456789abcdfghijklmnpqrsvwxyz';
const HEX = 'ab'.repeat(32);

describe('the address of an auxiliary file', () => {
  const known: [path: string, route: string, limit: number][] = [
    [`${HASH}.ls`, 'listing', defaultSettings.maxListingBytes],
    [`log/${HASH}-hello-1.0.drv`, 'log', defaultSettings.maxLogBytes],
    [`log/${HASH}-odd+name=with?signs.drv`, 'log', defaultSettings.maxLogBytes],
    [`debuginfo/${'0f'.repeat(20)}.debug`, 'debuginfo', defaultSettings.maxDebugInfoBytes],
    [`debuginfo/${'0f'.repeat(20)}`, 'debuginfo', defaultSettings.maxDebugInfoBytes],
    [`realisations/sha256:${HEX}!out.doi`, 'realisation', defaultSettings.maxRealisationBytes],
    [`realisations/sha256:${HEX}!some-lib_2.doi`, 'realisation', defaultSettings.maxRealisationBytes],
    [`build-trace-v2/${HASH}-hello.drv/out.doi`, 'realisation', defaultSettings.maxRealisationBytes],
  ];
  for (const [path, route, limit] of known) {
    it(`${path} is a ${route}`, () => {
      const found = auxiliaryOf(path);
      assert.ok(found);
      assert.deepEqual([found.route, found.limit(defaultSettings)], [route, limit]);
      if (route !== 'debuginfo') assert.equal(found.key, path);
    });
  }

  it('is one for both names of debug information', () => {
    const id = 'debuginfo/'.concat('0f'.repeat(20));
    assert.equal(auxiliaryOf(id)?.key, `${id}.debug`);
    assert.equal(auxiliaryOf(`${id}.debug`)?.key, `${id}.debug`);
  });

  const unknown = [
    '',
    '.ls',
    `${HASH}x.ls`,
    `${'e'.repeat(32)}.ls`,
    `a/${HASH}.ls`,
    `log/${HASH}-hello`,
    `log/${HASH}.drv`,
    `log/x/${HASH}-hello.drv`,
    `log/${HASH}-${'n'.repeat(212)}.drv`,
    'debuginfo/0f.debug',
    `debuginfo/${'0F'.repeat(20)}.debug`,
    `realisations/sha256:${HEX}.doi`,
    `realisations/sha256:${HEX}!.doi`,
    `realisations/sha1:${HEX}!out.doi`,
    `realisations/sha256:${HEX}!a/b.doi`,
    `build-trace-v2/${HASH}-hello/out.doi`,
    `build-trace-v2/${HASH}-hello.drv/.doi`,
    'index.html',
  ];
  for (const path of unknown) it(`'${path}' belongs to none`, () => assert.equal(auxiliaryOf(path), undefined));
});
